"""Curricula by name: stages as data, to take as they are or to change.

``full`` is (a) the ideal model, (b) noise and coarseness ramped in, (c) the whole twin on changing chips. Transfer to
one device, (d), follows after a chip has been chosen: :mod:`equilog.training.adapt`.
"""

from __future__ import annotations

from collections.abc import Callable

from equilog.names import unknown
from equilog.training.stage import Stage

Stages = dict[str, Stage]
MONTH_SECOND = 30 * 86400.0
KELVIN = (280.0, 330.0)
# Of digits, the best of what was tried; a squared displacement of (1 %)² costs 0.003 nats.
ROBUSTNESS = 30.0


def ideal(epochs: int) -> Stages:
    """Return the ideal model for all epochs: what is trained so and then deployed is the baseline of everything."""
    return {"ideal": Stage(epochs=epochs)}


def noise_injection(epochs: int) -> Stages:
    """Return half of the epochs ideal, half with nothing but noise of the technology's size on the weights.

    This is what hardware-aware training usually means (Joshi et al., Nat. Commun. 11 (2020) 2473).
    """
    return {
        "ideal": Stage(epochs=epochs - epochs // 2),
        "noise": Stage(epochs=epochs // 2, twin=True, effects=("programming-error",)),
    }


def ideal_then_twin(epochs: int, share: float = 0.5) -> Stages:
    """Return the epochs ideal but for the last, a share of them, on changing chips."""
    twin = int(share * epochs)
    return {"ideal": Stage(epochs=epochs - twin), "twin": Stage(epochs=twin, twin=True)}


def full(epochs: int, *, stability: float = 0.0) -> Stages:
    """Return a third of the epochs ideal, a sixth ramped, half on changing chips with all that changes every read.

    Chips are from fresh to a month old and from 280 K to 330 K warm, and the expected displacement of a state by all
    that differs from chip to chip is part of the loss, at every fourth step.

    Args:
        epochs: of all stages together.
        stability: weight of :class:`~equilog.training.losses.StabilityMargin` beside it, for models that learn to turn
            faster than amplifiers follow. Poles cost: seconds a step from a few hundred states on.
    """
    losses = {"robustness": ROBUSTNESS} | ({"stability": stability} if stability else {})
    ramp, twin = epochs // 6, epochs // 2
    met = {
        "twin": True,
        "reads": True,
        "max_age_second": MONTH_SECOND,
        "temperature_kelvin": KELVIN,
        "losses": losses,
        # At every step it would double what a step takes, and chips do not become better.
        "losses_every": 4,
    }
    return {
        "ideal": Stage(epochs=epochs - ramp - twin),
        "ramp": Stage(epochs=ramp, ramp=True, **met),
        "twin": Stage(epochs=twin, thermal_noise=True, **met),
    }


CURRICULA: dict[str, Callable[[int], Stages]] = {
    "ideal": ideal,
    "noise-injection": noise_injection,
    "ideal-then-twin": ideal_then_twin,
    "full": full,
}
"""curricula that ``--curriculum`` knows; each divides a number of epochs among its stages"""


def stretched(stages: Stages, epochs: int) -> Stages:
    """Return the same stages with so many epochs altogether, shared in proportion; the last takes what rounding leaves.

    Stages of no length at all all become one ideal stage.
    """
    total = sum(stage.epochs for stage in stages.values())
    if total == 0:
        return ideal(epochs)
    ends = [0]
    for stage in stages.values():
        ends.append(ends[-1] + stage.epochs)
    at = [round(end * epochs / total) for end in ends]
    return {name: stage.model_copy(update={"epochs": b - a}) for (name, stage), a, b in zip(stages.items(), at, at[1:])}


def curriculum(name: str, epochs: int) -> Stages:
    """Return the stages of a curriculum by name; raises ``UserError`` naming the nearest for an unknown one."""
    if name not in CURRICULA:
        raise unknown("curriculum", name, CURRICULA)
    return CURRICULA[name](epochs)
