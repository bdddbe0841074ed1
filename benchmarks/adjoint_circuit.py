"""Gradients measured on the adjoint circuit: how far are they from the implicit gradient, and what does it hang on?

    python benchmarks/adjoint_circuit.py --json results/adjoint_circuit.json

Monotone weights of norm 2 on a chip of `--preset` with the open-loop gain A₀ of each row, rounding, programming error
and mismatch included; `--samples` random drives and loss gradients. Relative errors ‖λ − λ*‖/‖λ*‖ over the batch, λ* by
the implicit function theorem on the twin of the same chip. `plain` and `calibrated` are measured in ngspice at
operating points. The others are the calibrated circuit, the first two by its equations, which ngspice confirms in
tests: `wires` has `--segment-ohm` in every segment of every line, `slope 8 bit` rounds the slopes to a multiplying DAC
of 8 bits, `lambda 8 bit` reads λ by an ADC of 8 bits. `ms` is the time for one gradient, most of it two operating
points in ngspice. Prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from _harness import show, table, write
from torch import Tensor

from equilog.circuit import find_ngspice
from equilog.circuit.adjoint import adjoint_circuit, adjoint_gradient, adjoint_twin
from equilog.equilibrium import Auto, EquilibriumLayer
from equilog.equilibrium.reference_problems import monotone_weight
from equilog.hardware import Chip, ProgrammedLayer, Spec, load_spec, program
from equilog.hardware.technology.spec import spec_from_data
from equilog.hardware.twin import static_system

SETTLE = EquilibriumLayer(Auto(rtol=1e-13, atol=1e-14), on_failure="raise")
COLUMNS = ("plain", "calibrated", "wires", "slope_8_bit", "lambda_8_bit")


def technology(preset: str, gain: float, segment_ohm: float) -> Spec:
    data = load_spec(preset).model_dump(mode="json")
    data["amplifier"]["dc_gain"] = gain
    data["crossbar"]["wires"] = {"word_line_ohm": segment_ohm, "bit_line_ohm": segment_ohm} if segment_ohm else None
    return spec_from_data(data, "benchmark")


def problem(n: int, spec: Spec, samples: int, seed: int) -> tuple[ProgrammedLayer, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=random)

    weight = monotone_weight(n, 2.0, seed)
    played = 2 * torch.rand(samples, 8, dtype=torch.float64, generator=random) - 1
    return program((weight, normal(n, 8) / 8**0.5, 0.3 * normal(n)), Chip(spec, seed)), played, normal(samples, n)


def implicit(layer: ProgrammedLayer, played: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    system = static_system(layer, played)
    u = system.injection.requires_grad_()
    p = SETTLE.rest(replace(system, injection=u))
    (lam,) = torch.autograd.grad((g * system.activation(p)).sum(), u)
    return lam, system.activation.slope(p.detach())


def rounded(x: Tensor, bits: int) -> Tensor:
    step = x.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    return (x / step).round() * step


def measure(n: int, gain: float, arguments: argparse.Namespace) -> dict[str, float]:
    simulator = find_ngspice()
    row: dict[str, float] = {"n": n, "gain": gain}
    layer, played, g = problem(n, technology(arguments.preset, gain, 0.0), arguments.samples, arguments.seed)
    truth, slope = implicit(layer, played, g)

    def error(found: Tensor, of: Tensor = truth) -> float:
        return float(torch.linalg.norm(found - of) / torch.linalg.norm(of))

    row["plain"] = error(adjoint_gradient(layer, played, g, simulator, calibrated=False, amplitude=0.1))
    begin = time.perf_counter()
    lam = adjoint_gradient(layer, played, g, simulator, amplitude=0.1)
    row["ms"] = 1e3 * (time.perf_counter() - begin) / len(g)
    row["calibrated"], row["lambda_8_bit"] = error(lam), error(rounded(lam, 8))
    circuit = adjoint_circuit(layer)
    coarse = (slope * 255).round() / 255
    y = [circuit.rest_volt(coarse, sign * g)[:, n:] for sign in (1, -1)]
    row["slope_8_bit"] = error(circuit.read(coarse, *y))
    wired, _, _ = problem(
        n, technology(arguments.preset, gain, arguments.segment_ohm), arguments.samples, arguments.seed
    )
    row["wires"] = error(adjoint_twin(wired, played, g, amplitude=0.1), implicit(wired, played, g)[0])
    return row


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 32, 64])
    parser.add_argument("--gains", type=float, nargs="+", default=[1e3, 1e4, 1e5, 1e6])
    parser.add_argument("--preset", default="rram")
    parser.add_argument("--segment-ohm", type=float, default=1.0)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(given)
    torch.set_num_threads(1)
    rows = [measure(n, gain, arguments) for n in arguments.sizes for gain in arguments.gains]
    names = ("n", "A0", *(c.replace("_", " ") for c in COLUMNS), "ms")
    cells = [[str(r["n"]), f"{r['gain']:.0e}", *(f"{r[c]:.1e}" for c in COLUMNS), f"{r['ms']:.0f}"] for r in rows]
    show([table("Relative error of λ", names, cells)])
    write(arguments.json, rows, arguments)


if __name__ == "__main__":
    main()
