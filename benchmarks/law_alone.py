"""How far is a law on a chip from its own answer: in resistors alone, beside a crossbar that has nothing to do?

    python benchmarks/law_alone.py --json results/law_alone.json

A Poisson equation on a square grid of n × n nodes, a neuron a node, its source any mixture of eight patterns, as a
cell of which nothing is trained: with an idle crossbar behind every row of the law (`beside`), or none (`alone`,
CircuitCell(apart=True)). The largest error of a state against LinearLaw.solve, over the largest state, in the twin:
median and worst of ten chips. `resistors`: of the same chips with amplifiers that have neither offset nor finite gain,
so that what conductances do, and the rounding of the DACs, is seen by itself.

One chip is also settled in ngspice; the difference from the twin is in units of V_a. Seconds of one core.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _harness import prepare, show, table, write
from torch import Tensor

from equilog import circuit
from equilog.cells import CircuitCell
from equilog.circuit.ngspice import find_ngspice
from equilog.hardware import Chip, Spec, load_spec, program_cell, without
from equilog.hardware.rest import at_rest
from equilog.hardware.twin import dac
from equilog.priors import Grid, poisson

PRESETS = ("ideal", "rram", "cmos-sky130", "pcm", "board")
PATTERNS, SAMPLES = 8, 4
Row = dict[str, Any]


def problem(side: int) -> tuple[dict[str, CircuitCell], Tensor, Tensor]:
    """Return both cells, drives ``(samples, patterns)`` and the law's answer in units of the state."""
    law = poisson(Grid((side, side), spacing_metre=1 / side), unit="V")
    generator = torch.Generator().manual_seed(side)
    patterns = torch.randn(side**2, PATTERNS, dtype=torch.float64, generator=generator)
    drive = 2 * torch.rand(SAMPLES, PATTERNS, dtype=torch.float64, generator=generator) - 1
    exact = law.solve((drive @ patterns.T).unflatten(1, (side, side))).flatten(1)
    scale = float(exact.abs().max())
    coupling = law.coupling(scale=scale, drives=patterns)
    cells = {}
    for name in ("beside", "alone"):
        torch.manual_seed(0)
        cell = CircuitCell(side**2, PATTERNS, fixed=coupling, apart=name == "alone").double()
        cells[name] = cell.requires_grad_(False)
    return cells, drive, exact / scale


def errors(cell: CircuitCell, spec: Spec, drive: Tensor, exact: Tensor, chips: int) -> dict[str, float | int]:
    """Return median and worst error over chips, in units of the largest state, and how many come to no rest."""
    found: list[float] = []
    for seed in range(chips):
        layer = program_cell(cell, Chip(spec, seed))
        try:
            z = at_rest(layer, dac(layer, drive), stability="steepest" if seed == 0 else "none").z
        except RuntimeError:  # no rest, or an unstable one
            continue
        found.append(float((z - exact).abs().max()))
    lost = chips - len(found)
    if not found:
        return {"median": float("nan"), "worst": float("nan"), "lost": lost}
    return {"median": statistics.median(found), "worst": max(found), "lost": lost}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return seconds and result."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def in_ngspice(cell: CircuitCell, spec: Spec, drive: Tensor) -> Row:
    """Return seconds of every stage for one chip and how far ngspice is from the twin."""
    programming, layer = timed(lambda: program_cell(cell, Chip(spec, 0)))
    played = dac(layer, drive)
    twin, rest = timed(lambda: at_rest(layer, played))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        writing, _ = timed(lambda: circuit.write_circuit(layer, folder, rest=played))
        spice, found = timed(lambda: circuit.rest(find_ngspice(), folder, layer.states, len(drive)))
    gap = float((found[0] / float(spec.activation.v_scale_volt) - rest.p).abs().max())
    seconds = {"program": programming, "twin": twin, "netlist": writing, "ngspice": spice}
    return {"against_ngspice": gap, "seconds": seconds, "parts": circuit.component_count(layer)}


def measure(side: int, preset: str, chips: int) -> Row:
    """Return a row of the table."""
    cells, drive, exact = problem(side)
    spec = load_spec(preset)
    bare = without(spec, "amplifier-offset", "finite-gain")
    law = cells["alone"].fixed
    assert law is not None  # problem() gives this cell one
    row: Row = {"side": side, "preset": preset, "margin": law.margin}
    for name, cell in cells.items():
        row[name] = errors(cell, spec, drive, exact, chips)
        row[f"{name}, resistors"] = errors(cell, bare, drive, exact, chips)
    return row | in_ngspice(cells["alone"], spec, drive)


def main() -> None:
    """Measure and print."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--chips", type=int, default=10)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    prepare(1)
    rows = [measure(side, preset, args.chips) for side in args.sides for preset in args.presets]
    kinds = ("beside", "alone", "beside, resistors", "alone, resistors")
    lines = []
    for row in rows:
        found = [f"{row[kind]['median']:.2g} ({row[kind]['worst']:.2g})" for kind in kinds]
        ends = f"{row['against_ngspice']:.1e}", f"{sum(row['seconds'].values()):.2f}"
        lines.append([f"{row['side']}×{row['side']}", row["preset"], *found, *ends])
    columns = ["grid", "preset", *kinds, "off ngspice", "seconds"]
    show([table("Error over the largest state, median and worst of chips", columns, lines)])
    write(args.json, rows, args)


if __name__ == "__main__":
    main()
