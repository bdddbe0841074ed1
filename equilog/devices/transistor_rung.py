"""The ladder's rung of transistors: the model's weights on a chip of SKY130 amplifiers and activations.

That chip is of another technology than the run's, the one that ``benchmarks/blocks.py`` measured the blocks for; its
seed is the run's. So this rung is compared with a twin of its own, made of the blocks' measured figures, and says
whether these foretell what real device models do. What it compares is what the ADCs read, activation outputs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from equilog.circuit.ngspice import Ngspice
from equilog.circuit.sky130 import characterised_spec, require, transistor_count, transistors_at_rest, twin_layer
from equilog.circuit.sky130.circuit import check_drivable
from equilog.devices.ladder_report import TOLERANCE_OF_TRANSISTORS, TRANSISTORS, Rung, TransistorFindings
from equilog.devices.twin import TwinDevice
from equilog.hardware import Chip, ProgrammedLayer
from equilog.hardware.rest import Rest, at_rest
from equilog.hardware.transient import UnstableChipError
from equilog.hardware.twin import adc, dac
from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.objective import Objective

AGAINST = "twin of its blocks"


@dataclass(frozen=True)
class TransistorOutputs:
    """Activation outputs at rest in units of V_s, each of shape ``(samples, n)``."""

    twin: Tensor
    ngspice: Tensor


@dataclass(frozen=True)
class TransistorRung:
    """What climbing found."""

    rung: Rung
    findings: TransistorFindings
    outputs: TransistorOutputs


def on_transistors(model: HybridDEQ, seed: int) -> ProgrammedLayer:
    """Return the model programmed on a chip of the transistors' technology.

    Raises:
        Sky130MissingError: if the transistor models are not installed.
        UserError: if the crossbar is more than the transistors drive.
    """
    require()
    device = TwinDevice(Chip(characterised_spec(), seed))
    device.program(model.cell)
    try:
        check_drivable(device.layer)
    except ValueError as error:
        raise UserError(f"transistors cannot make this model: {error}") from None
    return device.layer


@torch.no_grad()
def climb_transistors(
    model: HybridDEQ,
    layer: ProgrammedLayer,
    x: Tensor,
    y: Tensor | None,
    objective: Objective | None,
    simulator: Ngspice,
    folder: Path | None,
    tell: Callable[[str, float], None],
) -> TransistorRung:
    """Settle samples in transistors and in their twin.

    Args:
        model: the trained model.
        layer: of :func:`on_transistors`.
        x: inputs, one at least.
        y: what outputs are compared with, None for neither a score nor classes.
        objective: how they are, and whether two outputs are the same answer.
        simulator: ngspice.
        folder: where to keep the circuit; a temporary folder otherwise.
        tell: progress.

    Raises:
        NgspiceError: if the simulator fails.
        NotConvergedError, OutsideCurveError: if the twin has no resting point.
    """
    phrase = f"settling {transistor_count(layer):,} transistors in ngspice"
    tell(phrase, 0.0)
    played = dac(layer, model.parameterize(x).double())
    twin, stable = _twin(layer, played)
    with tempfile.TemporaryDirectory(prefix="equilog-transistors-") as scratch:
        v, s = transistors_at_rest(
            simulator,
            layer,
            played,
            twin,
            folder or Path(scratch),
            progress=lambda done: tell(phrase, done / len(played)),
        )
    block = layer.spec.activation
    z, off = s / float(block.v_out_volt), v / float(block.v_scale_volt) - twin.p
    gap = z - twin.z
    kind = next(model.parameters()).dtype
    same = score = None
    if y is not None and objective is not None:
        theirs, ours = (model.readout(adc(layer, states).to(kind)) for states in (z, twin.z))
        same, score = objective.same_answer(theirs, ours), float(objective.score(theirs, y)) / len(x)
    findings = TransistorFindings(
        technology=layer.spec.name,
        chip_seed=_seed(layer),
        samples=len(x),
        neurons=layer.states,
        transistors=transistor_count(layer),
        same_class=same,
        amplifier_max_error=float(off.abs().max()),
        amplifier_rms_error=float(off.square().mean().sqrt()),
        stable=stable,
    )
    worst = float(gap.abs().max())
    rung = Rung(
        rung=TRANSISTORS,
        compared_with=AGAINST,
        max_error=worst,
        rms_error=float(gap.square().mean().sqrt()),
        tolerance=TOLERANCE_OF_TRANSISTORS,
        agrees=worst <= TOLERANCE_OF_TRANSISTORS and findings.enough_classes and stable,
        score=score,
    )
    return TransistorRung(rung, findings, TransistorOutputs(twin.z, z))


def _twin(layer: ProgrammedLayer, played: Tensor) -> tuple[Rest, bool]:
    ours = twin_layer(layer)
    try:
        return at_rest(ours, played), True
    except UnstableChipError:
        return at_rest(ours, played, stability="none"), False


def _seed(layer: ProgrammedLayer) -> int:
    return layer.seed if isinstance(layer.seed, int) else layer.seed[0]
