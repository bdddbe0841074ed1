"""Noise at rest: how long does each method take, and how near are the cheap ones?

    python benchmarks/noise_at_rest.py --json results/noise_at_rest.json
    python benchmarks/noise_at_rest.py --sizes 2048 4096 --exact-up-to 0

Monotone weights with a skew part of norm 2 on a chip of `--preset`, programmed without error: with it, large chips are
unstable. Milliseconds of processor time for a sample, on one thread, median of the repetitions, programming and
settling not counted; a batch of up to 64 where a sample is quick. Errors are relative, of rms values, against the exact
solution: the worst neuron's, and that of the root of the expected displacement. `draw` is one draw of
:func:`equilog.hardware.noise.draw.draw_noise`; its errors are those of its exact covariance at 4 steps. Prints a table
and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _harness import machine
from torch import Tensor

from equilog.equilibrium import EquilibriumLayer
from equilog.hardware import Chip, ProgrammedLayer, load_spec, program, without
from equilog.hardware.noise import NoiseAtRest, noise_at_rest
from equilog.hardware.noise.draw import draw_noise, perturbation
from equilog.hardware.noise.model import linear_circuit
from equilog.hardware.twin import static_system

BATCHES = {32: 64, 64: 32, 128: 8}


def problem(n: int, preset: str, batch: int) -> tuple[ProgrammedLayer, Tensor]:
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=random)

    one, other = normal(n, n) / n**0.5, normal(n, n) / n**0.5
    # Singular values of a Gaussian matrix reach 2, those of its skew part √2.
    weight = 0.5 * torch.eye(n) - 0.1 * one.T @ one + 2 / 2**0.5 * (other - other.T) / 2
    layer = program((weight, normal(n, 8), 0.3 * normal(n)), Chip(without(load_spec(preset), "programming-error"), 0))
    p = EquilibriumLayer().rest(static_system(layer, 0.5 * normal(batch, 8)))
    return layer, p * layer.spec.activation.v_scale_volt


def clock(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        result = call()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds), result


def errors(variance: Tensor, displacement: Tensor, exact: NoiseAtRest) -> dict[str, float]:
    # An output at its rail is still in both.
    worst = (variance.sqrt() / exact.state_rms - 1).abs().nan_to_num(0).max()
    return {
        "worst_neuron": float(worst),
        "displacement": float(((displacement / exact.expected_displacement).sqrt() - 1).abs().max()),
    }


def drawn_covariance(layer: ProgrammedLayer, v: Tensor) -> Tensor:
    """Variances of the states as drawn, exactly: every white number that is asked for is a unit vector."""
    units = iter(torch.eye(10 * layer.states, dtype=torch.float64).split(layer.states))
    return perturbation(linear_circuit(layer, v), lambda: next(units)[None, None], 4)[0].square().sum(-1)


@torch.no_grad()
def measure(n: int, preset: str, repeats: int, exact_up_to: int) -> dict[str, Any]:
    batch = BATCHES.get(n, 1)
    layer, v = problem(n, preset, batch)
    row: dict[str, Any] = {"n": n, "batch": batch}
    methods = [m for m in ("doubling", "schur", "sampled") if m == "sampled" or n <= exact_up_to]
    found = {}
    for method in methods:
        if method == "schur" and n > exact_up_to // 2:
            continue
        times = 1 if n > 256 else repeats
        second, found[method] = clock(lambda method=method: noise_at_rest(layer, v, method=method), times)
        row[f"{method}_ms"] = 1e3 * second / batch
        row[f"{method}_residual"] = float(found[method].residual.max())
    row["draw_ms"] = 1e3 * clock(lambda: draw_noise(layer, v), repeats)[0] / batch
    if "doubling" in found:
        exact, other = found["doubling"], found["sampled"]
        row["sampled_error"] = errors(other.state_rms.square(), other.expected_displacement, exact)
        if n <= 256:
            variance = drawn_covariance(layer, v[:1])
            few = noise_at_rest(layer, v[:1])
            row["draw_error"] = errors(variance, variance.sum(-1), few)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 128, 512, 1024])
    parser.add_argument("--preset", default="rram")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--exact-up-to", type=int, default=1024, help="neurons; Schur's method up to half as many")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    columns = ("doubling_ms", "schur_ms", "sampled_ms", "draw_ms")
    print(
        "    n  batch "
        + " ".join(f"{name:>11}" for name in columns)
        + "   sampled: worst, displacement   draw: likewise"
    )
    rows = []
    for n in arguments.sizes:
        row = measure(n, arguments.preset, arguments.repeats, arguments.exact_up_to)
        rows.append(row)
        line = f"{n:5d} {row['batch']:6d} " + " ".join(f"{row[c]:11.3g}" if c in row else 11 * " " for c in columns)
        for which in ("sampled_error", "draw_error"):
            if which in row:
                line += f"   {row[which]['worst_neuron']:14.2%} {row[which]['displacement']:8.2%}"
        print(line, flush=True)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        about = {"machine": machine(), "preset": arguments.preset}
        arguments.json.write_text(json.dumps(about | {"rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
