"""What a study says, as data: what ``yield.json`` holds, the terminal prints and the page draws."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence

from equilog.hardware import Spec
from equilog.hardware.rest import STEEPEST
from equilog.names import Strict
from equilog.objective import Scored
from equilog.yields.rows import ChipRow, Standing
from equilog.yields.settings import StudyConfig
from equilog.yields.statistics import percentiles, wilson_interval

WORST = 10
ALLOWED_LOSS = 0.01
"""What a default threshold allows the chip to lose against the ideal model: of a score that is a fraction, this; of an
error with a unit, this fraction of the targets' root mean square."""


class Spread(Strict):
    """How a figure is spread over the chips that settle."""

    mean: float
    standard_deviation: float
    """of the population, estimated from these chips; 0 for a single one"""
    percentiles: dict[str, float]
    """least at "0", median at "50", largest at "100" """

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """Return the spread of some values; None if there are none."""
        if not values:
            return None
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        return cls(mean=statistics.fmean(values), standard_deviation=deviation, percentiles=percentiles(values))


class PoorChip(Strict):
    """One of the worst chips, by the seed with which it can be built."""

    seed: int
    standing: Standing
    score: float | None
    settling_worst_second: float | None
    passes: bool


class YieldReport(Scored):
    """A study of one model on many chips of one technology."""

    title: str
    hardware: str
    config: StudyConfig
    chips: int
    samples: int
    states: int
    score_ideal: float
    threshold: float
    """score from which a chip passes; of errors, up to which"""
    threshold_is_default: bool
    passing: int
    yield_fraction: float
    yield_interval_95: tuple[float, float]
    """Wilson's score interval"""
    standing: dict[Standing, int]
    """how many chips there are of each"""
    score: Spread | None
    """over the chips that settle, as everything below; None if none does"""
    settling_worst_second: Spread | None
    """of each chip's slowest watched sample"""
    settling_mean_second: Spread | None
    spectral_abscissa_per_second: Spread | None
    clipped_readings: Spread | None
    """over all chips"""
    worst: list[PoorChip]
    """worst first: those that do not settle, then by score, then by settling time"""
    remarks: list[str]
    """what else a reader must know before believing a number"""


def needed(threshold: float, samples: int) -> int:
    """Return how many correct samples reach the threshold, whatever rounding has done to it."""
    return math.ceil(threshold * samples - 1e-6)


def right(score: float, samples: int) -> int:
    """Return how many samples a fraction of right ones stands for."""
    return round(score * samples)


def passes(scored: Scored, row: ChipRow, threshold: float, samples: int) -> bool:
    """Return whether a chip answers, and answers well enough."""
    if row.score is None:
        return False
    if scored.hits:
        return right(row.score, samples) >= needed(threshold, samples)
    return scored.rank(row.score) >= scored.rank(threshold)


def summarise(
    rows: Sequence[ChipRow],
    scored: Scored,
    *,
    title: str,
    spec: Spec,
    config: StudyConfig,
    samples: int,
    states: int,
    score_ideal: float,
    threshold: float | None,
    allowed_loss: float = ALLOWED_LOSS,
) -> YieldReport:
    """Return the report of some chips.

    Args:
        rows: the chips, at least one.
        scored: what their scores are.
        title: of the report: what runs on the chips.
        spec: the technology as studied.
        config: the circumstances.
        samples: how many the scores are of.
        states: neurons of the model.
        score_ideal: of the ideal model on the same samples.
        threshold: score from which (of errors: up to which) a chip passes; None for `allowed_loss` worse than ideal.
        allowed_loss: what the default threshold allows to lose.
    """
    loss = -allowed_loss if scored.higher_is_better else allowed_loss
    limit = max(0.0, score_ideal + loss) if threshold is None else threshold
    good = sum(passes(scored, row, limit, samples) for row in rows)
    standing = Counter(row.standing for row in rows)
    return YieldReport(
        **{name: getattr(scored, name) for name in Scored.model_fields},
        title=title,
        hardware=spec.name,
        config=config,
        chips=len(rows),
        samples=samples,
        states=states,
        score_ideal=score_ideal,
        threshold=limit,
        threshold_is_default=threshold is None,
        passing=good,
        yield_fraction=good / len(rows),
        yield_interval_95=wilson_interval(good, len(rows)),
        standing={s: standing[s] for s in Standing},
        score=Spread.of([r.score for r in rows if r.score is not None]),
        settling_worst_second=Spread.of(_settled(rows, "settling_worst_second")),
        settling_mean_second=Spread.of(_settled(rows, "settling_mean_second")),
        spectral_abscissa_per_second=Spread.of(_settled(rows, "spectral_abscissa_per_second")),
        clipped_readings=Spread.of([r.clipped_readings for r in rows]),
        worst=[
            PoorChip(
                seed=r.seed,
                standing=r.standing,
                score=r.score,
                settling_worst_second=r.settling_worst_second,
                passes=passes(scored, r, limit, samples),
            )
            for r in sorted(rows, key=lambda row: _poverty(scored, row))[:WORST]
        ],
        remarks=_remarks(spec, config, samples, score_ideal if scored.hits else None),
    )


def _settled(rows: Sequence[ChipRow], name: str) -> list[float]:
    found = [getattr(r, name) for r in rows if r.standing is Standing.SETTLES]
    return [value for value in found if value is not None]


def _poverty(scored: Scored, row: ChipRow) -> tuple[float, float, int]:
    rank = -math.inf if row.score is None else scored.rank(row.score)
    return rank, -(row.settling_worst_second or 0.0), row.seed


def _remarks(spec: Spec, config: StudyConfig, samples: int, ideal: float | None) -> list[str]:
    """Say what the study did not look at, and which circumstances change nothing in this technology.

    `ideal` is the ideal model's fraction of right samples; None for another kind of score.
    """
    bar, remarks = spec.crossbar, []
    if samples > STEEPEST:
        remarks.append(
            f"On every chip stability was looked at for {STEEPEST} of {samples} samples: those whose activations are "
            "steepest, where the loop has most gain."
        )
    if config.settle_samples == 0:
        remarks.append("No sample was settled in time: there are no settling times.")
    remark = f"The yield is that on these {samples} samples"
    if ideal is not None:
        points = f"{100 * math.sqrt(ideal * (1 - ideal) / samples):.2g} points"
        remark += f", which fix an accuracy to about {points} (one standard error), alike for all chips"
    remarks.append(f"{remark}.")
    if config.age_second is not None and bar.drift is None and bar.relaxation is None:
        flicker = bar.read_noise is not None and bar.read_noise.flicker is not None and config.read_seed is not None
        if not flicker:
            remarks.append(f"{spec.name} states neither drift nor relaxation: its chips do not age here.")
    if config.temperature_kelvin != StudyConfig().temperature_kelvin and bar.temperature is None:
        remarks.append(f"{spec.name} states no temperature coefficient: the temperature changes nothing here.")
    noisy = bar.read_noise is not None or bool(spec.dac.noise_volt) or bool(spec.adc.noise_volt)
    if config.read_seed is not None and not noisy:
        remarks.append(f"{spec.name} states no read noise and no converter noise: every read is the same here.")
    if config.read_seed is None and noisy:
        remarks.append("Reads are noiseless here, though the technology states noise; draw it with --read-noise SEED.")
    return remarks
