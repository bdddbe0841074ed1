"""What a board of discrete parts costs in accuracy: rounding to a series, tolerance, parts that are no ideal blocks.

Monotone layers of random weights; errors of the states at rest, of full scale. The last column settles the board's own
parts in ngspice, transistors and all, against the twin with the same resistors.

    python benchmarks/board.py [--json board.json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from equilog.cells import MonotoneWeight
from equilog.circuit import find_ngspice, rest
from equilog.circuit.board import design
from equilog.circuit.board.bom import power_watt
from equilog.circuit.board.deck import write_rest_bench
from equilog.equilibrium import Auto, EquilibriumLayer
from equilog.hardware import Chip, ProgrammedLayer, Spec, load_spec, program, without
from equilog.hardware.effects import NEURON_EFFECTS
from equilog.hardware.twin import static_system

SAMPLES, LAYERS = 16, 8


def states(layer: ProgrammedLayer, played: Tensor) -> Tensor:
    p = EquilibriumLayer(Auto(rtol=1e-10)).rest(static_system(layer, played))
    return torch.tanh(p)


def rms(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean().sqrt())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    out = parser.parse_args().json
    torch.set_num_threads(1)
    board_spec = load_spec("board")
    quiet = without(board_spec, "temperature", *(e.name for e in NEURON_EFFECTS))
    simulator = find_ngspice()
    rows = []
    print("neurons drives parts     W |   E24   E96  E192  tolerance |  parts in ngspice: rms, worst")
    for n, m in ((4, 2), (8, 4), (8, 16), (16, 8)):
        errors: dict[str, list[float]] = {key: [] for key in ("E24", "E96", "E192", "tolerance", "spice", "worst")}
        for seed in range(LAYERS):
            matrices, played = draw(n, m, seed)

            def settled(spec: Spec, chip: int = 0) -> Tensor:
                return states(program(matrices, Chip(spec, chip)), played)  # noqa: B023  # called at once

            exact = settled(without(quiet, "e-series", "programming-error"))
            rounded = without(quiet, "programming-error")
            for series in ("E24", "E96", "E192"):
                errors[series].append(rms(settled(rounded.changed(crossbar={"e_series": series})), exact))
            errors["tolerance"].append(rms(settled(quiet, seed), settled(rounded)))
            board = design(program(matrices, Chip(board_spec, seed)))
            with tempfile.TemporaryDirectory() as folder:
                write_rest_bench(board, Path(folder), played)
                _, s = rest(simulator, Path(folder), n, SAMPLES)
            expected = states(board.nominal, played)
            errors["spice"].append(rms(s, expected))
            errors["worst"].append(float((s - expected).abs().max()))
        mean = {key: sum(found) / len(found) for key, found in errors.items() if key != "worst"}
        row = {"neurons": n, "drives": m, "parts": len(board.components), "watt": sum(power_watt(board).values())}
        row |= mean | {"worst": max(errors["worst"])}
        rows.append(row)
        print(
            f"{n:7} {m:6} {row['parts']:5} {row['watt']:5.2f} | {mean['E24']:5.2%} {mean['E96']:5.2%} "
            f"{mean['E192']:5.2%} {mean['tolerance']:10.2%} | {mean['spice']:8.2%} {row['worst']:8.2%}"
        )
    if out:
        out.write_text(json.dumps(rows, indent=2), encoding="utf-8")


def draw(n: int, m: int, seed: int) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """Return random weights and drives."""
    torch.manual_seed(seed)
    weight = MonotoneWeight(n, 0.3, scale=0.5, dtype=torch.float64)().detach()
    generator = torch.Generator().manual_seed(seed)
    u, b = (torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((n, m), (n,)))
    played = 2 * torch.rand(SAMPLES, m, dtype=torch.float64, generator=generator) - 1
    return (weight, u, 0.3 * b), played


if __name__ == "__main__":
    main()
