"""A chip at rest: where it rests, and whether the circuit would stay there.

A resting point of the equations is an answer only if the circuit is stable at it, amplifier poles included. A chip that
is not is reported and returns nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from equilog.cells.curve import check_inside
from equilog.equilibrium import EquilibriumLayer
from equilog.hardware.curve import activation_of
from equilog.hardware.programming import ProgrammedLayer
from equilog.hardware.transient import Transient, UnstableChipError
from equilog.hardware.twin import static_system

Stability = Literal["steepest", "all", "none"]
# Poles cost O(n³) a sample. Where activations are steep the loop's gain is high: if any sample oscillates, these do.
STEEPEST = 16


@dataclass(frozen=True)
class Rest:
    """Where one chip rests under a batch of drives.

    Attributes:
        p: ``v/V_a``, within the rails, shape ``(batch, n)``.
        z: ``s/V_s``, same shape.
        railed: whether the amplifier is at a rail, same shape, boolean.
        watched: samples whose poles were computed, shape ``(k,)``.
        abscissa: ``max Re λ`` of the linearised circuit at these, in 1/s, shape ``(k,)``; negative is stable.
    """

    p: Tensor
    z: Tensor
    railed: Tensor
    watched: Tensor
    abscissa: Tensor

    @property
    def margin(self) -> float:
        """Distance of the worst pole from the imaginary axis in 1/s; inf if none was computed."""
        return float(-self.abscissa.max()) if len(self.abscissa) else float("inf")


_settle = EquilibriumLayer(on_failure="raise")


@torch.no_grad()
def at_rest(
    layer: ProgrammedLayer,
    played: Tensor,
    *,
    settle: EquilibriumLayer | None = None,
    stability: Stability = "steepest",
) -> Rest:
    """Return where a chip rests, having made sure that it does.

    Args:
        layer: one chip.
        played: drives as played, shape ``(batch, m)``.
        settle: how to solve; the default solver unless given. It should raise on failure.
        stability: whose poles to compute: of the 16 samples whose activations are steepest on average, where the
            loop has most gain; of all; or of none.

    Raises:
        NotConvergedError: if a sample has no resting point that the solver finds.
        UnstableChipError: if the circuit does not stay at one, naming the worst sample and its pole.
        OutsideCurveError: if a neuron rests where the activation was not measured.
        ValueError: for another `stability`.
    """
    if stability not in get_args(Stability):
        raise ValueError(f"stability = {stability!r}: expected one of {', '.join(get_args(Stability))}")
    system = static_system(layer, played)
    p = (settle or _settle).rest(system)
    rail = activation_of(layer).rail
    check_inside(system.activation, p.clamp(-rail, rail))
    watched = _watched(system.activation.slope(p), stability)
    v_a = float(layer.spec.activation.v_scale_volt)
    if len(watched):
        moving = Transient(layer, played[watched])
        abscissa = moving.spectral_abscissa((p[watched] * v_a).double())
    else:
        abscissa = p.new_zeros(0, dtype=torch.float64)
    if not bool((abscissa < 0).all()):
        worst = int(abscissa.argmax())
        raise UnstableChipError(
            f"chip {layer.seed} of {layer.spec.name} does not stay at rest: {int((~(abscissa < 0)).sum())} of "
            f"{len(watched)} samples looked at are unstable in the circuit, worst sample {int(watched[worst])} with a "
            f"pole at {float(abscissa[worst]):+.3g} 1/s; a larger margin, a larger C_f or faster amplifiers help"
        )
    return Rest(p.clamp(-rail, rail), system.activation(p), p.abs() >= rail, watched, abscissa)


def _watched(slope: Tensor, stability: Stability) -> Tensor:
    if stability == "all":
        return torch.arange(len(slope))
    count = min(STEEPEST, len(slope)) if stability == "steepest" else 0
    return slope.mean(1).topk(count).indices
