"""What is recorded of one chip, and its line in ``chips.csv``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum


class Standing(StrEnum):
    """Whether a chip answers at all."""

    SETTLES = "settles"
    NO_REST = "no rest"
    """for some sample no resting point was found"""
    OUTSIDE = "outside curve"
    """for some sample a neuron rests where the activation was not measured"""
    UNSTABLE = "unstable"
    """a pole at some resting point that was looked at lies in the right half plane"""
    NEVER = "never settles"
    """stable at rest, but some watched sample did not get there while it was watched"""


@dataclass(frozen=True)
class ChipRow:
    """One chip of the study.

    Attributes:
        seed: of the chip.
        standing: whether it answers.
        score: mean over the test samples; None for a chip that does not answer.
        unsettled_samples: test samples for which no resting point was found.
        outside_samples: test samples for which a neuron rests where the activation was not measured.
        clipped_readings: fraction of the states, over all samples, beyond the range of the ADCs.
        spectral_abscissa_per_second: largest real part of any pole at the resting points that were looked at; None if
            some sample has no resting point, or one outside the curve.
        settling_mean_second: over the samples settled in time, to half an ADC code; None unless all of them settled.
        settling_worst_second: the slowest of them.
    """

    seed: int
    standing: Standing
    score: float | None
    unsettled_samples: int
    outside_samples: int
    clipped_readings: float
    spectral_abscissa_per_second: float | None
    settling_mean_second: float | None
    settling_worst_second: float | None

    def line(self) -> str:
        """Return the chip as a line of CSV; every float is written so that it reads back as itself."""
        return ",".join(_text(getattr(self, name)) for name in COLUMNS) + "\n"

    @staticmethod
    def parse(line: str) -> ChipRow:
        """Undo :meth:`line`; raises ``ValueError`` for anything else."""
        cells = line.rstrip("\n").split(",")
        if len(cells) != len(COLUMNS):
            raise ValueError(f"{len(cells)} columns instead of {len(COLUMNS)}")
        seed, standing, score, unsettled, outside, *rest = cells
        clipped, abscissa, mean, worst = (None if not cell else float(cell) for cell in rest)
        if clipped is None:
            raise ValueError("clipped_readings is missing")
        return ChipRow(
            seed=int(seed),
            standing=Standing(standing),
            score=None if not score else float(score),
            unsettled_samples=int(unsettled),
            outside_samples=int(outside),
            clipped_readings=clipped,
            spectral_abscissa_per_second=abscissa,
            settling_mean_second=mean,
            settling_worst_second=worst,
        )


COLUMNS = tuple(field.name for field in fields(ChipRow))


def _text(value: object) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)
