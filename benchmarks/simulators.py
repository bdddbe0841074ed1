"""ngspice at rest, as a program and as a library: what does a sample cost each way, and do they agree?

    python benchmarks/simulators.py --json results/simulators.json

A circuit is written once; then the same samples are settled in one run of the program (`program, batch`), one run each
(`program, one by one`), and in a library session that is already open (`library, batch` and `library, one by one`).
Milliseconds of wall clock a sample, median of the repetitions, which take turns. `own time` is what a sample's
operating point takes within ngspice, `overhead` what the library's way adds to it in a batch: setting the drives,
reading the voltages, and passing both through the pipe. `start` opens the session. Disagreement is the largest
difference of any voltage. EQUILOG_NGSPICE and EQUILOG_LIBNGSPICE choose the simulator. Prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _harness import machine
from rich.console import Console
from rich.table import Table
from torch import Tensor

from equilog.circuit import Library, LibrarySession, Ngspice, find_library, find_ngspice, rest, write_circuit
from equilog.hardware import Chip, ProgrammedLayer, load_spec, program, without

COLUMNS = {
    "n": "n",
    "program_one_ms": "program, one by one",
    "program_batch_ms": "program, batch",
    "library_one_ms": "library, one by one",
    "library_batch_ms": "library, batch",
    "own_ms": "own time",
    "overhead_ms": "overhead",
    "start_ms": "start",
    "disagreement_volt": "disagreement (V)",
}


def problem(n: int, drives: int, samples: int) -> tuple[ProgrammedLayer, Tensor]:
    """Return a chip with monotone weights and drives in [-1, 1]."""
    random = torch.Generator().manual_seed(n)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=random)

    one, other = normal(n, n) / n**0.5, normal(n, n) / n**0.5
    weight = 0.5 * torch.eye(n) - 0.1 * one.T @ one + (other - other.T) / 2
    chip = Chip(without(load_spec("rram"), "programming-error"), 0)
    played = 2 * torch.rand(samples, drives, dtype=torch.float64, generator=random) - 1
    return program((weight, normal(n, drives) / drives**0.5, 0.3 * normal(n)), chip), played


def in_turns(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Return the median seconds of each call."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def measure(
    simulator: Ngspice, library: Library, n: int, drives: int, samples: int, repeats: int, folder: Path
) -> dict[str, float]:
    layer, played = problem(n, drives, samples)
    volts = played * float(layer.spec.dac.full_scale_volt)
    single = folder / "single"
    write_circuit(layer, folder, rest=played)
    write_circuit(layer, single, rest=played[:1])
    start = time.perf_counter()
    with LibrarySession(folder, library) as session:
        opened = time.perf_counter() - start
        own: list[float] = []

        def batch() -> None:
            session.rest(volts)
            own.append(session.session.own_second)

        found = in_turns(
            {
                "program, batch": lambda: rest(simulator, folder, n, samples),
                "program, one by one": lambda: rest(simulator, single, n, 1),
                "library, batch": batch,
                "library, one by one": lambda: [session.rest(row) for row in volts.split(1)],
            },
            repeats,
        )
        pairs = zip(rest(simulator, folder, n, samples), session.rest(volts))
        gap = max(float((theirs - ours).abs().max()) for theirs, ours in pairs)
    each = 1e3 / samples
    return {
        "n": n,
        "program_one_ms": 1e3 * found["program, one by one"],
        "program_batch_ms": each * found["program, batch"],
        "library_one_ms": each * found["library, one by one"],
        "library_batch_ms": each * found["library, batch"],
        "own_ms": each * statistics.median(own),
        "overhead_ms": each * (found["library, batch"] - statistics.median(own)),
        "start_ms": 1e3 * opened,
        "disagreement_volt": gap,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[2, 8, 32, 64], metavar="N", help="default: %(default)s"
    )
    parser.add_argument("--drives", type=int, default=8, help="DACs; default: %(default)s")
    parser.add_argument("--repeats", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    simulator, library = find_ngspice(), find_library()
    rows = []
    for n in options.sizes:
        samples = 100 if n <= 16 else 10 if n <= 32 else 4
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(simulator, library, n, options.drives, samples, options.repeats, Path(folder)))
    table = Table(title=f"ngspice {simulator.version}, libngspice {library.version}: milliseconds a sample")
    for label in COLUMNS.values():
        table.add_column(label, justify="right")
    for row in rows:
        table.add_row(*(f"{row[key]:.3g}" for key in COLUMNS))
    Console().print(table)
    if options.json is not None:
        content = {"machine": machine(), "ngspice": simulator.version, "libngspice": library.version, "rows": rows}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
