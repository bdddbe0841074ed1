"""A law as it stands and multiplied by its inverse: what a chip's errors do to −ν u'' = f between two walls, untrained.

    python benchmarks/inverted_law.py --json results/inverted_law.json

As it stands the law is a chain of neurons, whose margin falls with the square of their number; multiplied by its
inverse every neuron is alone, u = A⁻¹ f, and conductances come from the drives. Drives are the values of f, one a
neuron, or the amplitudes of its four sines. Forcings are those of the task burgers-steady; the error is the mean over
100 of them of ‖û − u‖/‖u‖ against the law's own answer, median and worst over chips, without hidden states.
"""

from __future__ import annotations

import argparse
import math
import statistics
from itertools import product
from pathlib import Path
from typing import Any

import _harness
import torch
from rich.console import Console
from rich.table import Table

from equilog.hardware import Chip, load_spec
from equilog.pipeline.measured import predictor
from equilog.priors import Grid, LinearLaw, poisson
from equilog.tasks.lawful import lawful_model
from equilog.tasks.measures import relative_error
from equilog.tasks.physics.burgers_steady import FASTEST, PATTERNS, VISCOSITY, amplitudes, forcings
from equilog.tasks.task import ModelConfig

SAMPLES, SEED = 100, 7


def law_of(cells: int, inverted: bool) -> LinearLaw:
    chain = poisson(Grid((cells,), 1 / cells))
    a, eye = VISCOSITY * torch.from_numpy(chain.a.toarray()), torch.eye(cells, dtype=torch.float64)
    held = (eye, torch.linalg.inv(a)) if inverted else (a, eye)
    return LinearLaw(*held, state=chain.state, sources=chain.sources)


def row(technology: str, cells: int, inverted: bool, by: str, damping: float, chips: int) -> dict[str, Any]:
    law, spec = law_of(cells, inverted), load_spec(technology)
    c = amplitudes(forcings(SAMPLES, SEED), PATTERNS)
    x = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    sines = torch.sin(math.pi * torch.arange(1, PATTERNS + 1, dtype=torch.float64) * x[:, None])
    f = c @ sines.T
    given, patterns = (f, torch.eye(cells, dtype=torch.float64)) if by == "values" else (c, sines)
    largest = given.abs().amax(0).clamp(min=1e-9).float()
    config = ModelConfig(states=cells, drives=given.shape[1])
    model = lawful_model(
        law, config, scale=FASTEST, input_scale=1.05 * largest, patterns=patterns, damping=damping, apart=True
    )
    u = law.solve(f)
    errors = [relative_error(predictor(model, Chip(spec, k))(given), u) for k in range(chips)]
    return {
        "technology": technology, "cells": cells, "inverted": inverted, "drives": by, "damping": damping,
        "margin": model.cell.fixed.margin, "median": statistics.median(errors), "worst": max(errors),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--technology", default="rram")
    parser.add_argument("--cells", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--damping", type=float, nargs="+", default=[1.0, 2.0, 8.0])
    parser.add_argument("--chips", type=int, default=10)
    parser.add_argument("--json", type=Path, help="also write the rows here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ways = product((False, True), ("values", "amplitudes"))
    rows = [
        row(arguments.technology, cells, *way, damping, arguments.chips)
        for cells, way, damping in product(arguments.cells, tuple(ways), arguments.damping)
    ]
    _harness.write(arguments.json, rows, arguments)
    table = Table("cells", "law", "drives", "damping", "margin", "error, median", "worst")
    for r in rows:
        held = "inverse" if r["inverted"] else "chain"
        table.add_row(
            str(r["cells"]), held, r["drives"], f"{r['damping']:g}", f"{r['margin']:.2g}", f"{r['median']:.1%}",
            f"{r['worst']:.1%}",
        )  # fmt: skip
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
