"""One stage of a curriculum, as data: what the model meets for so many epochs, and what is asked of it there."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from equilog.hardware.effects import SWITCHES
from equilog.names import Strict, nearest
from equilog.training.losses import LOSSES


class Stage(Strict):
    """The ideal model, or the twin of a chip that changes at every step.

    Attributes are in the order in which a curriculum usually turns them on.
    """

    epochs: int = Field(ge=0)
    twin: bool = False
    """meet the technology's static twin, a new chip at every step, instead of the ideal model"""
    effects: tuple[str, ...] | None = None
    """only these effects of the technology (names as of ``equilog.hardware.SWITCHES``); all of them unless given"""
    ramp: bool = False
    """effects and coarseness grow from nothing to the technology's own over the stage, in proportion to its steps"""
    reads: bool = False
    """draw read noise and converter noise anew at every step; noiseless reads otherwise"""
    thermal_noise: bool = False
    """add thermal and amplifier noise to the resting states"""
    max_age_second: float | None = Field(default=None, gt=0)
    """chips are read at an age between just programmed and this, even in the logarithm; just programmed unless given"""
    temperature_kelvin: tuple[float, float] | None = None
    """chips are read at a temperature between these; at room temperature unless given"""
    losses: dict[str, float] = Field(default_factory=dict)
    """weights λ of the regularisers of :data:`equilog.training.losses.LOSSES`, added to the task's loss"""
    losses_every: int = Field(default=1, ge=1)
    """evaluate regularisers at every so-manieth step alone, where they weigh as many times as much"""

    @field_validator("effects")
    @classmethod
    def _known_effects(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in names or ():
            if name not in SWITCHES:
                raise ValueError(
                    f"unknown effect {name!r}{nearest(name, SWITCHES)}; expected of {', '.join(sorted(SWITCHES))}"
                )
        return names

    @field_validator("losses")
    @classmethod
    def _known_losses(cls, weights: dict[str, float]) -> dict[str, float]:
        for name, weight in weights.items():
            if name not in LOSSES:
                raise ValueError(f"unknown loss {name!r}{nearest(name, LOSSES)}; expected of {', '.join(LOSSES)}")
            if weight < 0:
                raise ValueError(f"weight {weight} of loss {name!r}: expected 0 or more")
        return weights

    @field_validator("temperature_kelvin")
    @classmethod
    def _ordered(cls, span: tuple[float, float] | None) -> tuple[float, float] | None:
        if span is not None and not 0 < span[0] <= span[1]:
            raise ValueError(f"temperature_kelvin = {list(span)}: expected two temperatures above 0, the lower first")
        return span

    @model_validator(mode="after")
    def _needs_a_twin(self) -> Self:
        if not self.twin:
            plain = Stage.model_construct(epochs=self.epochs)
            if idle := [name for name in type(self).model_fields if getattr(self, name) != getattr(plain, name)]:
                raise ValueError(f"{', '.join(idle)}: only a chip has these; set twin: true")
        return self
