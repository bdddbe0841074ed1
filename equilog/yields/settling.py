"""Stability and settling time of chips, on a few samples each; the one place that knows how a chip is watched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equilog.hardware import ProgrammedLayer
from equilog.hardware.quantise import half_code
from equilog.hardware.transient import Transient
from equilog.yields.population import population

# e^-12 is 6e-6 of the start, far inside half a code of any converter in use; where that is not enough, longer.
_EFOLDS = 12
# Of its time scale; a chip that takes longer than this is called one that never settles.
_LONGEST = 400
# Numbers in the matrices whose poles are computed at once.
_MATRICES = 2**22


@dataclass(frozen=True)
class Samples:
    """Samples at rest on one chip.

    Attributes:
        played: drives as its DACs play them, shape ``(samples, m)``.
        p: resting pre-activations within the rails, shape ``(samples, n)``.
    """

    played: Tensor
    p: Tensor


@dataclass(frozen=True)
class Watched:
    """How one chip comes to rest.

    Attributes:
        abscissa_per_second: largest real part of any pole at any of the resting points.
        time_second: of every sample until all activation outputs stay within half an ADC code; inf if they do not while
            watched. Empty if none was watched, as on an unstable chip.
    """

    abscissa_per_second: float
    time_second: tuple[float, ...]

    @property
    def stable(self) -> bool:
        """Whether every pole lies in the left half plane."""
        return self.abscissa_per_second < 0


def watch(
    layers: Sequence[ProgrammedLayer], poles: Sequence[Samples], settle: Sequence[Samples] | None
) -> list[Watched]:
    """Look at the stability of chips, and settle some samples on those that are stable.

    Args:
        layers: the chips, one layer each.
        poles: of every chip, the samples at which stability is looked at.
        settle: of every chip, the samples to settle in time, equally many; their stability is looked at, too. None for
            none.
    """
    abscissa = [_abscissa(*chip) for chip in zip(layers, poles)]
    if settle is None:
        return [Watched(a, ()) for a in abscissa]
    of_settled = [_abscissa(*chip) for chip in zip(layers, settle)]
    abscissa = [max(pair) for pair in zip(abscissa, of_settled)]
    stable = [k for k, a in enumerate(abscissa) if a < 0]
    times = _settled(layers, settle, stable, max((of_settled[k] for k in stable), default=0.0))
    return [Watched(a, times.get(k, ())) for k, a in enumerate(abscissa)]


def _abscissa(layer: ProgrammedLayer, samples: Samples) -> float:
    """Return the largest real part of any pole; inf where there is none to compute."""
    some = max(1, _MATRICES // (2 * layer.states) ** 2)
    worst = -math.inf
    for played, p in zip(samples.played.split(some), samples.p.split(some)):
        moving = Transient(layer, played)
        found = moving.spectral_abscissa(p.double() * moving.v_a)
        worst = max(worst, float(found.nan_to_num(math.inf).max()))
    return worst


def _settled(
    layers: Sequence[ProgrammedLayer], settle: Sequence[Samples], chips: list[int], slowest: float
) -> dict[int, tuple[float, ...]]:
    """Return the settling times of some of the chips, which are followed together; `slowest` is their last pole."""
    times: dict[int, tuple[float, ...]] = {}
    duration = math.inf if slowest >= 0 else _EFOLDS / -slowest
    while chips:
        played = torch.stack([settle[k].played for k in chips])
        moving = Transient(population([layers[k] for k in chips]), played)
        rest_volt = torch.stack([settle[k].p for k in chips]).double() * moving.v_a
        longest = _LONGEST * moving.time_scale_second
        duration = min(duration, longest)
        band = half_code(layers[0].spec)
        time, v = moving.settle(rest_volt, band, duration)
        away = (moving.activation(v) - moving.activation(rest_volt)).abs().amax((1, 2))
        # Well inside the band at the end, with only decaying modes left: there it stays. The others: once more, longer.
        done = [bool(a <= band / 10) or duration >= longest for a in away]
        times |= {k: tuple(t.tolist()) for k, t, ready in zip(chips, time, done) if ready}
        chips = [k for k, ready in zip(chips, done) if not ready]
        duration *= 4
    return times


def mean_and_worst(watched: Watched) -> tuple[float, float] | None:
    """Return both settling times in seconds; None unless some sample was watched and all settled."""
    times = watched.time_second
    if not times or not all(math.isfinite(t) for t in times):
        return None
    return sum(times) / len(times), max(times)
