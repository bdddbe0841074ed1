"""From data set to verified circuit: the accuracy at every rung, and what training through the twin buys.

    python benchmarks/foundation.py --task digits --seeds 0 1 2 --json results/digits.json

For each seed two models of equal budget are trained: one with the task's curriculum (ideal, ramped, then the twin on
changing chips), one ideal for all its epochs and only then put on chips. Both meet the same unseen chips; the chip that
is built is settled in ngspice. Prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from equilog.pipeline import run
from equilog.runs import RunConfig

COLUMNS = (
    "accuracy_ideal",
    "accuracy_twin",
    "accuracy_ngspice",
    "max_error_at_rest",
    "max_error_in_time",
    "settling_time_max_second",
)


def measure(task: str, hardware: str, seed: int, way: str, folder: Path) -> dict[str, Any]:
    config = RunConfig.for_task(task, {"hardware": hardware, "seed": seed})
    if way == "ideal, then deployed":
        config = config.with_curriculum("ideal", None)
    begin = time.perf_counter()
    metrics = run(config, folder).metrics()
    chips = metrics["accuracy_twin_unseen_chips"]
    return {
        "way": way,
        "seed": seed,
        **{key: metrics[key] for key in COLUMNS},
        "verified": metrics["verified"],
        "chips": chips["chips"],
        "chips_mean": chips["mean"],
        "chips_worst": chips["worst"],
        "cost_verdict": metrics["cost_verdict"],
        "seconds": time.perf_counter() - begin,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="digits")
    parser.add_argument("--hardware", default="rram")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path, help="write the rows here")
    arguments = parser.parse_args()
    rows = []
    for seed in arguments.seeds:
        for way in ("full curriculum", "ideal, then deployed"):
            with tempfile.TemporaryDirectory() as scratch:
                rows.append(measure(arguments.task, arguments.hardware, seed, way, Path(scratch) / "run"))
            print(f"{way}, seed {seed}: {rows[-1]['seconds']:.0f} s", file=sys.stderr)
    table = Table("training", "seed", "ideal", "this chip", "unseen chips", "worst", "ngspice", "at rest", "in time")
    for r in rows:
        table.add_row(
            r["way"],
            str(r["seed"]),
            *(f"{r[key]:.4f}" for key in ("accuracy_ideal", "accuracy_twin", "chips_mean", "chips_worst")),
            *("–" if r[key] is None else f"{r[key]:{form}}" for key, form in zip(COLUMNS[2:5], (".3f", ".0e", ".0e"))),
        )
    table.title = f"{arguments.task} on {arguments.hardware}"
    table.caption = "accuracy on the test set; ngspice on its first samples; errors in units of full scale"
    Console().print(table)
    if arguments.json:
        machine = {
            "cpus": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "platform": platform.platform(),
        }
        command = " ".join(["python", *sys.argv])
        data = {"command": command, "task": arguments.task, "hardware": arguments.hardware, "machine": machine}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(data | {"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
