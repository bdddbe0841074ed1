"""Do the twin and ngspice agree on every circuit of the registry, and on larger ones with every effect on?

    python benchmarks/ladder.py --json results/ladder.json
    python benchmarks/ladder.py --only "every static effect" --sizes 32
    python benchmarks/ladder.py --no-registry --sizes 64 128 --no-time

Four questions a circuit, with the tolerance that the registry states: outputs at rest and along the whole transient (in
units of V_a), noise of the outputs at rest (relative), and the detector's report (in units of τ; technologies that have
one). The registry is the one of the tests, tests/golden/registry.py; the larger circuits are the registry's with all
static effects, slew and rails, at n neurons and n/4 drives, wires up to 16 neurons. Exits with 1 if anything disagrees.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _harness import prepare, progress, show, table, write
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from golden.registry import CASES, EVERY_STATIC_EFFECT, STUCK, Case

from equilog import circuit
from equilog.circuit.detector import detect, write_detector
from equilog.circuit.ngspice import Ngspice, NgspiceError, find_ngspice
from equilog.hardware import ProgrammedLayer
from equilog.hardware.detector import watch
from equilog.hardware.noise import noise_at_rest
from equilog.hardware.rest import at_rest
from equilog.hardware.transient import Transient

NOISE, DETECTOR = 1e-2, 1e-2
# Neurons up to which ngspice is given every segment of wire: beyond, one operating point takes minutes.
WIRED = 16
DYNAMIC = {"amplifier.slew_volt_per_second": 2e7, "amplifier.rail_volt": 0.25}


def large(n: int) -> Case:
    """Return a circuit with everything on; wires up to n = 16 only, a mesh whose size grows with n² in ngspice."""
    wires = {"crossbar.wires": {"word_line_ohm": 2.0, "bit_line_ohm": 1.0} if n <= WIRED else None}
    # A few stuck devices in a thousand: with the registry's eight in a hundred a large circuit has no rest to compare.
    stuck = {"crossbar.stuck": STUCK | {"low_fraction": 2e-3, "high_fraction": 5e-4}}
    changes = EVERY_STATIC_EFFECT | DYNAMIC | wires | stuck
    return Case(
        f"every effect{'' if n <= WIRED else ' but wires'}, n = {n}",
        n,
        n // 4,
        changes=changes,
        age_second=3600.0,
        kelvin=320.0,
        read_seed=1,
        norm=1.0,
    )


def rest_error(layer: ProgrammedLayer, played: Tensor, simulator: Ngspice, folder: Path) -> float:
    """Return the largest difference of outputs at rest in units of V_a."""
    circuit.write_circuit(layer, folder, rest=played)
    v, _ = circuit.rest(simulator, folder, layer.states, len(played))
    p = at_rest(layer, played, stability="none").p
    return float((v / float(layer.spec.activation.v_scale_volt) - p).abs().max())


def time_error(layer: ProgrammedLayer, played: Tensor, simulator: Ngspice, folder: Path, taus: float) -> float:
    """Return the largest difference along the transient of one sample in units of V_a."""
    circuit.write_circuit(layer, folder, settle=played, duration_second=taus * layer.time_constant_second)
    wave = circuit.settle(simulator, folder, layer.states, 0)
    twin = Transient(layer, played).at(wave.time_second).v_volt[:, 0]
    return float((wave.v_volt - twin).abs().max()) / float(layer.spec.activation.v_scale_volt)


def noise_error(layer: ProgrammedLayer, played: Tensor, simulator: Ngspice, folder: Path) -> float:
    """Return the largest relative difference of the rms noise of the first and last output that moves."""
    v = at_rest(layer, played, stability="none").p * float(layer.spec.activation.v_scale_volt)
    ours = noise_at_rest(layer, v).rms_volt[0]
    free = (ours > 0).nonzero()[:, 0]
    nodes = sorted({int(free[0]), int(free[-1])})
    circuit.write_circuit(layer, folder, noise=circuit.NoiseBench(played, nodes))
    theirs = circuit.noise(simulator, folder, len(nodes), 1)[0]
    return float((theirs / ours[nodes] - 1).abs().max())


def detector_error(layer: ProgrammedLayer, played: Tensor, simulator: Ngspice, folder: Path) -> float | None:
    """Return the difference of the report in units of τ; None where both time out, inf where one does."""
    circuit.write_circuit(layer, folder)
    write_detector(layer, folder, settle=played)
    theirs = detect(simulator, folder, 0)
    moving = Transient(layer, played)
    v = at_rest(layer, played, stability="none").p * moving.v_a
    ours = float(watch(moving, v, 0.01).report_second[0])
    if math.isinf(ours) and math.isinf(theirs):
        return None
    return abs(ours - theirs) / layer.time_constant_second


def climb(case: Case, simulator: Ngspice, args: argparse.Namespace) -> dict[str, Any]:
    """Return what one circuit shows."""
    layer, played = case.layer(), case.played()
    row: dict[str, Any] = {"circuit": case.name, "n": case.n, "preset": case.preset}
    detects = layer.spec.detector is not None and case.n <= args.detector_up_to
    with torch.no_grad(), tempfile.TemporaryDirectory() as scratch:
        questions = {
            "rest": (case.at_rest, lambda: rest_error(layer, played, simulator, Path(scratch))),
            "time": (case.in_time, lambda: time_error(layer, played[3:4], simulator, Path(scratch), args.taus)),
            "noise": (NOISE, lambda: noise_error(layer, played[3:4], simulator, Path(scratch))),
            "detector": (DETECTOR, lambda: detector_error(layer, played[3:4], simulator, Path(scratch))),
        }
        for name, (tolerance, ask) in questions.items():
            skipped = (name == "time" and (args.no_time or case.n > args.time_up_to)) or (
                name == "detector" and not detects
            )
            if skipped:
                continue
            begin = time.perf_counter()
            try:
                error = ask()
            except NgspiceError as failed:
                row[name], row[f"{name}_failed"] = math.inf, str(failed)
                continue
            row[name], row[f"{name}_tolerance"] = error, tolerance
            row[f"{name}_second"] = time.perf_counter() - begin
    return row


def main() -> None:
    """Climb, print, write."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        "--sizes", type=int, nargs="*", default=[16, 32, 64, 128], help="larger circuits, default: %(default)s"
    )
    made.add_argument("--only", nargs="+", help="of the registry, only these")
    made.add_argument("--no-registry", action="store_true")
    made.add_argument("--no-time", action="store_true", help="leave the transients out")
    made.add_argument("--time-up-to", type=int, default=64, help="no transients of more neurons, default %(default)s")
    made.add_argument(
        "--detector-up-to", type=int, default=16, help="no detectors of more neurons, default %(default)s"
    )
    made.add_argument("--taus", type=float, default=8.0, help="length of a transient in τ, default %(default)s")
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--json", type=Path)
    args = made.parse_args()
    prepare(args.threads)
    simulator = find_ngspice()
    cases = [] if args.no_registry else [c for c in CASES if args.only is None or c.name in args.only]
    cases += [replace(large(n)) for n in args.sizes]
    rows = []
    with progress(len(cases), "ladder") as step:
        for case in cases:
            step(case.name)
            rows.append(climb(case, simulator, args))
    names = ("rest", "time", "noise", "detector")
    wrong = 0
    cells = []
    for row in rows:
        line = [row["circuit"], row["preset"], str(row["n"])]
        for name in names:
            value = row.get(name)
            bad = value is not None and not value <= row.get(f"{name}_tolerance", 0.0)
            wrong += bad
            line.append("" if value is None else f"{value:.1e}" + (" ✗" if bad else ""))
        cells.append(line)
    bounds = f"rest and time in V_a (≤ 1e-6, ≤ 1e-4), noise relative (≤ {NOISE:g}), detector in τ (≤ {DETECTOR:g})"
    caption = f"{bounds}; blank: not asked"
    show([table("twin against ngspice", ["circuit", "preset", "n", *names], cells, caption)])
    worst = {name: max((r[name] for r in rows if r.get(name) is not None), default=None) for name in names}
    print("worst: " + ", ".join(f"{name} {value:.1e}" for name, value in worst.items() if value is not None))
    write(args.json, rows, args, worst=worst, ngspice=simulator.version)
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    main()
