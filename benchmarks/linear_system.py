"""Is a linear system on a chip off by what the twin predicts? The prediction is checked, not fitted.

    python benchmarks/linear_system.py --json results/linear_system.json

The steady state of `linear-system` in resistors, nothing trained. The prediction is computed before any chip is drawn,
from the technology's numbers, to first order: `gain`, the rest of a chip without mismatch against the exact answer
(finite gains, rounding of the DACs, what wires cost), and for every state a standard deviation, `spread`, of what
differs from chip to chip (tolerances of resistors, offsets, gains of outputs, non-linearity of the converters), of
thermal noise, and of the ADC's rounding. Then so many chips are drawn, each read once with noise; z is
(read − exact − gain)/spread of each chip, sample and state. If the prediction holds, z has mean 0, rms 1 and 95 % lie
within ±2 (of one chip they hang together: the interval is over chips). Some chips are also settled in ngspice, whose
reading takes the place of the twin's.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _harness import prepare, show, table, write
from torch import Tensor

from equilog import circuit
from equilog.circuit.ngspice import find_ngspice
from equilog.hardware import Chip, Spec, load_spec, without
from equilog.hardware.noise import draw_noise, noise_at_rest
from equilog.hardware.quantise import half_code
from equilog.hardware.twin import adc, dac
from equilog.model import HybridDEQ
from equilog.tasks import get_task
from equilog.tasks.dynamics.linear import SIZE, steady_state
from equilog.training.losses.displacement import mismatch
from equilog.training.losses.response import all_probed

PRESETS = ("ideal", "rram", "pcm", "cmos-sky130", "board")
DIFFER = ("amplifier-offset", "activation-gain", "activation-offset", "dac-inl", "dac-noise", "adc-inl", "adc-noise")
"""what is not alike in all chips of a technology, besides the resistors"""
SAMPLES = 8
Row = dict[str, Any]


def predicted(model: HybridDEQ, spec: Spec, drive: Tensor) -> tuple[Tensor, Tensor]:
    """Return where chips rest in the mean, and the standard deviation of a reading, each ``(samples, states)``."""
    alike = without(spec, *DIFFER).changed(fixed_network={"tolerance": 0})
    rest = model.on_chip(drive, Chip(alike, 0))
    # The same chip, of a technology that says how its parts spread.
    state = replace(rest, layer=replace(rest.layer, spec=spec))
    variance = torch.stack(mismatch(state, all_probed(state))).sum(0).T
    noise = noise_at_rest(rest.layer, rest.p * float(spec.activation.v_scale_volt), amplifier_noise=amplifier(spec))
    rounding = (2 * half_code(spec)) ** 2 / 12
    return rest.z, (variance + noise.state_rms.square() + rounding).sqrt()


def amplifier(spec: Spec) -> float:
    """Return e_n in V/√Hz."""
    return float(spec.amplifier.noise_volt_per_rthz or 0.0)


def readings(model: HybridDEQ, spec: Spec, drive: Tensor, chips: int) -> Tensor:
    """Return what the ADCs of so many chips report, noise included, ``(chips, samples, states)``."""
    found = []
    for seed in range(chips):
        state = model.on_chip(drive, Chip(spec, seed))
        generator = torch.Generator().manual_seed(seed)
        found.append(
            adc(
                state.layer, state.z + draw_noise(state.layer, state.p * float(spec.activation.v_scale_volt), generator)
            )
        )
    return torch.stack(found)


def in_ngspice(model: HybridDEQ, spec: Spec, drive: Tensor, chips: int) -> Tensor:
    """Return what the ADCs would report of the circuits at rest in ngspice, without noise."""
    found = []
    for seed in range(chips):
        layer = model.program(Chip(spec, seed))
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            circuit.write_circuit(layer, folder, rest=dac(layer, drive))
            _, out = circuit.rest(find_ngspice(), folder, layer.states, len(drive))
        found.append(adc(layer, out / float(spec.activation.v_out_volt)))
    return torch.stack(found)


def z_scores(read: Tensor, centre: Tensor, spread: Tensor) -> dict[str, float]:
    """Return mean, rms and share within 2 of all z, and the interval of the rms over chips."""
    z = (read - centre) / spread
    each = z.square().mean((1, 2))
    error = float(each.std() / len(each) ** 0.5) if len(each) > 1 else float("nan")
    rms = float(each.mean().sqrt())
    within = float((z.abs() <= 2).double().mean())
    return {"mean": float(z.mean()), "rms": rms, "rms_error": error / (2 * rms), "within_2": within}


@torch.no_grad()
def measure(preset: str, chips: int, settled: int) -> Row:
    """Return a row of the table."""
    task = get_task("linear-system")
    model = task.build(task.model_defaults).double()
    x = task.load().test_x[:SAMPLES].double()
    exact = steady_state(x) / SIZE
    spec = load_spec(preset)
    centre, spread = predicted(model, spec, x)
    read = readings(model, spec, x, chips)
    off = (read - exact).square().mean().sqrt()
    return {
        "preset": preset,
        "ideal": float((model(x) - steady_state(x)).abs().max()),
        "gain_rms": float((centre - exact).square().mean().sqrt()),
        "spread_rms": float(spread.square().mean().sqrt()),
        "predicted_rms": float(((centre - exact).square() + spread.square()).mean().sqrt()),
        "measured_rms": float(off),
        "twin": z_scores(read, centre, spread),
        "ngspice": z_scores(in_ngspice(model, spec, x, settled), centre, spread),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--chips", type=int, default=200)
    parser.add_argument("--settled", type=int, default=20, help="chips that ngspice settles as well; default 20")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    prepare(1)
    rows = [measure(preset, args.chips, args.settled) for preset in args.presets]
    lines = []
    for row in rows:
        of = [f"{row[key]:.2e}" for key in ("ideal", "gain_rms", "spread_rms", "predicted_rms", "measured_rms")]
        scores = [f"{row['twin'][k]:.2f}" for k in ("mean", "rms", "within_2")]
        lines.append([row["preset"], *of, *scores, f"{row['ngspice']['rms']:.2f}", f"{row['ngspice']['within_2']:.2f}"])
    columns = [
        "preset", "ideal, largest", "gain error", "spread", "rms predicted", "rms measured", "z mean", "z rms",
        "within 2", "ngspice z rms", "within 2",
    ]  # fmt: skip
    show([table(f"Steady states in units of V_s, {args.chips} chips, {SAMPLES} inputs", columns, lines)])
    write(args.json, rows, args)


if __name__ == "__main__":
    main()
