"""Does a run that is killed again and again end with the same numbers, bit for bit?

    python benchmarks/killed.py --kills 10 --json results/killed.json

Trains with the full curriculum in a process of its own, once undisturbed and once killed (SIGKILL) at random moments
and started again, then compares every weight and every row of the two.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _harness import prepare, show, table, write

JOB = """
import sys, torch
from pathlib import Path
from safetensors.torch import save_file
from equilog.hardware import load_spec
from equilog.tasks import get_task
from equilog.training import TrainConfig, curriculum, fit
folder, task, hardware, epochs, threads = Path(sys.argv[1]), *sys.argv[2:]
torch.set_num_threads(int(threads))
task = get_task(task)
data = task.load()
torch.manual_seed(0)
model = task.build(task.model_defaults)
config = task.train_defaults.model_copy(update={"stages": curriculum("full", int(epochs))})
options = dict(seed=0, augment=task.augment, state=folder, progress=False)
rows = fit(model, data.train_x, data.train_y, load_spec(hardware), config, **options)
save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors")
(folder / "rows.txt").write_text(repr(rows))
"""


def start(folder: Path, args: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Start the training process, or go on with it."""
    words = [str(folder), args.task, args.hardware, str(args.epochs), str(args.threads)]
    return subprocess.Popen([sys.executable, "-c", JOB, *words], stderr=subprocess.DEVNULL)


def epochs_done(folder: Path) -> int:
    """Return how many epochs the checkpoint holds."""
    path = folder / "last.ckpt"
    return int(torch.load(path, weights_only=True)["epoch"]) + 1 if path.exists() else 0


def main() -> None:
    """Train undisturbed, train and kill, compare."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--task", default="digits")
    made.add_argument("--hardware", default="rram")
    made.add_argument("--epochs", type=int, default=60)
    made.add_argument("--kills", type=int, default=10)
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--seed", type=int, default=0, help="of the moments")
    made.add_argument("--json", type=Path)
    args = made.parse_args()
    prepare(args.threads)
    moments = random.Random(args.seed)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        whole, torn = Path(scratch) / "whole", Path(scratch) / "torn"
        whole.mkdir()
        torn.mkdir()
        begin = time.perf_counter()
        if start(whole, args).wait():
            sys.exit("training failed undisturbed")
        undisturbed = time.perf_counter() - begin
        for kill in range(args.kills):
            process = start(torn, args)
            # Long enough to get somewhere, mostly: what it takes to begin is not what is to be tested.
            wait = moments.uniform(0.2, 1.0 + 1.6 * undisturbed / args.kills + 3.0)
            try:
                process.wait(wait)
                sys.exit(f"finished before kill {kill}: ask for more epochs")
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
            rows.append({"kill": kill, "after_second": wait, "epochs_done": epochs_done(torn)})
        if start(torn, args).wait():
            sys.exit("training failed after the kills")
        same_weights = (whole / "model.safetensors").read_bytes() == (torn / "model.safetensors").read_bytes()
        same_rows = (whole / "rows.txt").read_text() == (torn / "rows.txt").read_text()
    cells = [[str(r["kill"]), f"{r['after_second']:.1f}", str(r["epochs_done"])] for r in rows]
    show([table("killed", ["kill", "after s", "epochs in the checkpoint"], cells)])
    print(f"undisturbed {undisturbed:.0f} s; weights equal bit for bit: {same_weights}; rows equal: {same_rows}")
    write(args.json, rows, args, weights_equal=same_weights, rows_equal=same_rows, undisturbed_second=undisturbed)
    if not (same_weights and same_rows):
        sys.exit("a killed run ended with other numbers")


if __name__ == "__main__":
    main()
