"""The convergence detector: the circuit that says when the network has come to rest, and how often it is wrong.

Each output v is compared with itself lagged by a first-order low pass behind a buffer, ``w l̇ = v − l`` from l = 0 with
w = `window_second`. Two comparators with offsets of their own find it still while

    v − l < ε + o_high    and    l − v < ε + o_low.

All comparators are wired to one AND. While it is high, a constant current charges the timer's capacitor; whenever it is
low, the capacitor is discharged at once. After `hold_second` of uninterrupted charging the detector reports. At t = 0
nothing has moved yet and every output looks still: the timer is held empty until t = w. What has not reported by
`timeout_second` has failed.

Between two grid points v is a cubic Hermite polynomial, for which the lag and all crossings of a threshold are found
exactly (:mod:`equilog.hardware.detector.lag`): nothing depends on the grid but how well the cubic follows v.

Thermal noise on v is not in it: a threshold within a few σ of the noise of v − l misses more than is said here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from equilog.hardware.chip import Chip, Population
from equilog.hardware.detector.lag import Follower, Lag, root
from equilog.hardware.programming import ProgrammedLayer
from equilog.hardware.technology.blocks import Detector
from equilog.hardware.transient import Transient

# What a grid's last instant may fall short of the end it was made for, relative.
_SHORT = 1e-9


@dataclass(frozen=True)
class Detection:
    """What the detector said of every sample, and what was true.

    Attributes:
        report_second: when it reported rest; inf where it did not.
        timed_out: whether `timeout_second` passed without a report.
        settled_second: the time after which every activation output stayed within its band as long as it was watched;
            inf where it did not.
        timeout_second: of the detector.
    """

    report_second: Tensor
    timed_out: Tensor
    settled_second: Tensor
    timeout_second: float

    @property
    def false_settle(self) -> Tensor:
        """Where it reported while an activation output was outside its band, or was to leave it again."""
        return self.report_second < self.settled_second

    @property
    def missed(self) -> Tensor:
        """Where it timed out although all had been within the band for good before that."""
        return self.timed_out & (self.settled_second <= self.timeout_second)

    @property
    def late_second(self) -> Tensor:
        """Report minus settling: negative for a false settle, −inf if it never settled; nan without a report."""
        return torch.where(self.report_second.isfinite(), self.report_second - self.settled_second, torch.nan)


def detector_of(layer: ProgrammedLayer) -> Detector:
    """Return the detector of a layer's technology; raises ``ValueError`` if it has none."""
    if layer.spec.detector is None:
        raise ValueError(f"technology {layer.spec.name!r} has no detector: give its spec a `detector` block")
    return layer.spec.detector


def comparator_limits(layer: ProgrammedLayer) -> Tensor:
    """Return this chip's thresholds in volts, first of ``v − l`` (ε + o_high), then of ``l − v`` (ε + o_low).

    Shape ``(2, n)``, for a population ``(2, chips, 1, n)``; float64. An offset beyond −ε makes a threshold negative: a
    neuron at rest never counts as still then, and the detector never reports. Raises ``ValueError`` without a detector.
    """
    detector = detector_of(layer)
    if isinstance(layer.seed, int):
        offset = Chip(layer.spec, layer.seed).standard_normal("detector.offset", 2, layer.states)
    else:
        drawn = Population(layer.spec, layer.seed).standard_normal("detector.offset", 2, layer.states)
        offset = drawn.movedim(1, 0)[:, :, None]
    return detector.threshold_volt + detector.offset_sigma_volt * offset


def watch(transient: Transient, rest_volt: Tensor, tolerance: float, duration_second: float | None = None) -> Detection:
    """Let a chip's own detector watch it come to rest.

    Args:
        transient: the chip under its drives; its technology has a detector.
        rest_volt: resting outputs ``v*``, shape ``(batch, n)``, for a population ``(chips, batch, n)``.
        tolerance: half-width of the band around rest, in units of the state (1 is V_s).
        duration_second: how long to watch; until the timeout unless given. Watched longer, a sample that leaves its
            band after the timeout counts too; watched shorter, none times out.

    Returns:
        tensors of the shape of `rest_volt` without its last dimension.

    Raises:
        ValueError: if the technology has no detector.
    """
    detector = detector_of(transient.layer)
    duration = float(detector.timeout_second) if duration_second is None else duration_second
    says = DetectorWatch(detector, comparator_limits(transient.layer))
    truth = SettlingWatch(*band(transient.activation, rest_volt, tolerance, 100 * transient.v_a))
    grid = transient.grid(duration)
    for instant, w in zip(grid.tolist(), transient.states(grid)):
        v, slope = w[..., 1], transient.slope(w)[..., 1]
        says.feed(instant, v, slope)
        truth.feed(instant, v, slope)
    return Detection(says.report_second, says.timed_out, truth.settled_second, float(detector.timeout_second))


class DetectorWatch:
    """The detector, fed one instant of many transients after another; it keeps the last one only.

    Args:
        detector: its figures.
        limit_volt: thresholds as from :func:`comparator_limits`, broadcast over the samples.
    """

    def __init__(self, detector: Detector, limit_volt: Tensor) -> None:
        self._window = self._armed = float(detector.window_second)
        self._hold = float(detector.hold_second)
        self._timeout = float(detector.timeout_second)
        self._limits = limit_volt.to(torch.float64)
        self._track = Follower()
        # Per output d and its limits; per sample since when all comparators have been in, inf while one is out.
        self._gap = self._high = self._low = torch.empty(0, 0, dtype=torch.float64)
        self._since = self._report = torch.empty(0, dtype=torch.float64)

    @property
    def report_second(self) -> Tensor:
        """When each sample was reported at rest, inf where it was not (yet)."""
        return self._report.view(self._track.samples)

    @property
    def timed_out(self) -> Tensor:
        """Whether each sample has been watched until the timeout and was not reported."""
        over = self._track.time >= self._timeout * (1 - _SHORT)
        return self.report_second.isinf() & over

    @torch.no_grad()
    def feed(self, time_second: float, v_volt: Tensor, slope_volt_per_second: Tensor) -> None:
        """Take the next instant.

        Args:
            time_second: the instant; the first one is power-on, with the lags' capacitors discharged.
            v_volt: amplifier outputs, shape ``(..., n)``: batch, chips and batch, or any other leading dimensions.
            slope_volt_per_second: ``v̇``, same shape.

        Raises:
            ValueError: if time does not advance.
        """
        step = self._track.advance(time_second, v_volt, slope_volt_per_second)
        if step is None:
            self._start(v_volt)
            return
        pending = self._report.isinf()
        if step.start >= self._timeout or not pending.any():
            return
        lag = Lag(step, self._gap, self._window)
        gap, self._gap = self._gap, lag.end()
        low, high = lag.bounds()
        # Certain for the whole step, from bounds alone: true of nearly all neurons in nearly all steps.
        in_all = (high < self._high) & (low > -self._low)
        out_all = ((low >= self._high) | (high <= -self._low)).any(1)
        still = in_all.all(1)
        since = torch.where(self._since.isfinite(), self._since, step.start)
        self._charge(still & pending, since, step.end)
        self._since = torch.where(still, since, torch.inf)
        rows = (~still & ~out_all & pending).nonzero()[:, 0]
        if len(rows):
            self._sweep(rows, in_all, gap, lag, since)

    def _start(self, v: Tensor) -> None:
        n = v.shape[-1]
        self._high, self._low = (limit.expand(v.shape).reshape(-1, n) for limit in self._limits)
        self._gap = v.reshape(-1, n).to(torch.float64)
        still = ((self._gap < self._high) & (self._gap > -self._low)).all(1)
        self._report = torch.full_like(self._gap[:, 0], torch.inf)
        self._since = torch.where(still, self._track.time, self._report)

    def _charge(self, mask: Tensor, since: Tensor, end: float) -> None:
        """Report the masked samples that have been still from `since` to `end` for long enough."""
        full = since.clamp(min=self._armed) + self._hold
        self._report = torch.where(mask & (full <= min(end, self._timeout)), full, self._report)

    def _sweep(self, rows: Tensor, in_all: Tensor, gap: Tensor, lag: Lag, since: Tensor) -> None:
        """Follow the AND of some samples through all the crossings of a step."""
        sample, neuron = (~in_all[rows]).nonzero(as_tuple=True)
        flat = rows[sample] * in_all.shape[1] + neuron
        limits = torch.stack([self._high.flatten()[flat], self._low.flatten()[flat]])
        first = gap.flatten()[flat]
        out = torch.zeros(len(rows), dtype=torch.long)
        out.index_add_(0, sample, (first >= limits[0]).long() + (-first >= limits[1]).long())
        which, when, change = lag.pick(flat).crossings(limits)
        # Every sample's events in order of time, beginning with the comparators that are out at the start.
        owner = torch.cat([torch.arange(len(rows)), sample[which]])
        when = torch.cat([when.new_zeros(len(rows)), when])
        change = torch.cat([out, change])
        order = when.argsort(stable=True)
        order = order[owner[order].argsort(stable=True)]
        owner, when, change = owner[order], when[order], change[order]
        new = torch.ones(len(owner), dtype=torch.bool)
        new[1:] = owner[1:] != owner[:-1]
        last = torch.cat([new[1:], new.new_ones(1)])
        total = change.cumsum(0)
        count = total - (total - change)[new][owner]
        begin = torch.where(new, since[rows][owner], lag.step.start + when)
        end = torch.where(last, lag.step.end, lag.step.start + torch.cat([when[1:], when[:1]]))
        full = begin.clamp(min=self._armed) + self._hold
        good = (count == 0) & (full <= end) & (full <= self._timeout)
        reported = torch.full((len(rows),), torch.inf, dtype=torch.float64)
        reported.scatter_reduce_(0, owner, torch.where(good, full, torch.inf), "amin")
        self._report[rows] = reported
        self._since[rows] = torch.where(count[last] == 0, begin[last], torch.inf)


class SettlingWatch:
    """The truth beside the detector: since when every output has stayed within its band, between grid points too.

    Args:
        low_volt: lower ends of the bands, shape ``(..., n)``.
        high_volt: upper ends, same shape; both as from :func:`band`.
    """

    def __init__(self, low_volt: Tensor, high_volt: Tensor) -> None:
        n = low_volt.shape[-1]
        self._low, self._high = (end.reshape(-1, n).to(torch.float64) for end in (low_volt, high_volt))
        self._track = Follower()
        self._settled = torch.zeros(len(self._low), dtype=torch.float64)

    @property
    def settled_second(self) -> Tensor:
        """Since when each sample has been within its band; inf for one that is outside."""
        return self._settled.view(self._track.samples)

    @torch.no_grad()
    def feed(self, time_second: float, v_volt: Tensor, slope_volt_per_second: Tensor) -> None:
        """Take the next instant; as :meth:`DetectorWatch.feed`.

        An output that leaves the band and is back at the next instant has not left it.
        """
        step = self._track.advance(time_second, v_volt, slope_volt_per_second)
        v = self._track.v
        outside = ((v < self._low) | (v > self._high)).any(1)
        if step is None:
            self._settled = torch.where(outside, torch.inf, torch.full_like(v[:, 0], time_second))
            return
        returned = self._settled.isinf() & ~outside
        self._settled = torch.where(outside, torch.inf, self._settled)
        rows = returned.nonzero()[:, 0]
        if not len(rows):
            return
        before, low, high = step.v[rows], self._low[rows], self._high[rows]
        sample, neuron = ((before < low) | (before > high)).nonzero(as_tuple=True)
        level = torch.where(before < low, low, high)[sample, neuron]
        part = step.pick(rows[sample] * v.shape[1] + neuron)

        def above(s: Tensor) -> tuple[Tensor, Tensor]:
            v, slope = part(s)
            return v - level, slope

        inside = root(above, torch.zeros_like(level), torch.full_like(level, step.length))
        latest = torch.zeros(len(rows), dtype=torch.float64).scatter_reduce_(0, sample, inside, "amax")
        self._settled[rows] = step.start + latest


def band(
    activation: Callable[[Tensor], Tensor], rest_volt: Tensor, tolerance: float, reach_volt: float
) -> tuple[Tensor, Tensor]:
    """Return the amplifier outputs between which a rising activation stays within `tolerance` of its value at rest.

    Shapes of `rest_volt`; −inf or inf where no output within `reach_volt` of rest leaves the band, as in saturation.
    """
    rest = activation(rest_volt)
    ends = []
    for sign in (-1.0, 1.0):

        def outside(distance: Tensor, sign: float = sign) -> Tensor:
            return (activation(rest_volt + sign * distance) - rest).abs() > tolerance

        inner, outer = torch.zeros_like(rest_volt), torch.full_like(rest_volt, reach_volt)
        endless = ~outside(outer)
        for _ in range(60):
            middle = (inner + outer) / 2
            beyond = outside(middle)
            inner, outer = torch.where(beyond, inner, middle), torch.where(beyond, middle, outer)
        ends.append(torch.where(endless, sign * torch.inf, rest_volt + sign * inner))
    return ends[0], ends[1]
