"""What a crossbar loses in its wires, by equilog and by badcrossbar: do they agree, and how long does each take?

    pip install badcrossbar==1.1.0         # needs: apt-get install libcairo2-dev pkg-config
    python benchmarks/ir_drop.py --json results/ir_drop.json

Random conductances, uniform over the range of the technology; the same resistance for word and bit line segments. Both
compute the full matrix of effective conductances; badcrossbar is asked for output currents only. In turns, in one
process, median of the repetitions. Prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import badcrossbar
import numpy as np
import torch

from equilog.hardware import load_spec
from equilog.hardware.wires import effective_conductance


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def theirs(g: np.ndarray, ohm: float) -> np.ndarray:
    with contextlib.redirect_stdout(io.StringIO()):
        solution = badcrossbar.compute(np.eye(len(g)), 1 / g, r_i=ohm, node_voltages=False, all_currents=False)
    return solution.currents.output


def measure(size: int, ohm: float, repeats: int) -> dict[str, Any]:
    bar = load_spec("rram").crossbar
    span = bar.g_max_siemens - bar.g_min_siemens
    g = bar.g_min_siemens + span * torch.rand(
        size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    leaf = g.clone().requires_grad_()
    clock: dict[str, list[float]] = {"equilog": [], "gradient": [], "badcrossbar": []}
    for _ in range(repeats):
        second, ours = timed(lambda: effective_conductance(leaf, ohm, ohm))
        clock["equilog"].append(second)
        clock["gradient"].append(timed(lambda ours=ours: torch.autograd.grad(ours.sum(), leaf))[0])
        second, other = timed(lambda: theirs(g.numpy(), ohm))
        clock["badcrossbar"].append(second)
    ours = ours.detach()
    gap = (ours / torch.from_numpy(other) - 1).abs()
    return {
        "size": size,
        "segment_ohm": ohm,
        "largest_relative_difference": float(gap.max()),
        "worst_loss": float((1 - ours / g).max()),
        "mean_loss": float((1 - ours / g).mean()),
        "equilog_second": statistics.median(clock["equilog"]),
        "equilog_gradient_second": statistics.median(clock["gradient"]),
        "badcrossbar_second": statistics.median(clock["badcrossbar"]),
        "repeats": repeats,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128], help="rows and columns")
    parser.add_argument("--ohms", type=float, nargs="+", default=[1.0, 5.0], help="resistance of a segment")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    torch.set_num_threads(1)
    rows = [measure(size, ohm, arguments.repeats) for size in arguments.sizes for ohm in arguments.ohms]
    print(" size   ohm  difference  worst loss  equilog s  gradient s  badcrossbar s")
    for row in rows:
        print(
            f"{row['size']:5d} {row['segment_ohm']:5g} {row['largest_relative_difference']:11.1e} "
            f"{row['worst_loss']:11.3f} {row['equilog_second']:10.3g} {row['equilog_gradient_second']:11.3g} "
            f"{row['badcrossbar_second']:14.3g}"
        )
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        about = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "versions": {name: version(name) for name in ("badcrossbar", "numpy", "scipy", "torch")},
        }
        arguments.json.write_text(json.dumps(about | {"rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
