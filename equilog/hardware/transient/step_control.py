"""Every sample its own steps, all samples in one batch; values at any instant in between.

Steps are a longest one divided by powers of √2, so that weights of the exponential method are looked up, not computed.
A step is accepted if, in units of V_a,

    what it adds to the error, by the embedded method, stays below tolerance · h/2T, T the neurons' own time scale;
    the cubic through its ends misses the state half-way by less than the tolerance;
    a neuron that began or ceased to slew, or met or left its rail, displaces it by less than the tolerance.

The first is a budget per unit of time, because errors add up along the way; the others do not. Within a step v is the
polynomial of fourth degree through value and slope at both ends and the value half-way, clipped to the rails.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from equilog.hardware.programming import ProgrammedLayer
from equilog.hardware.transient import etd
from equilog.hardware.transient.dynamics import Dynamics, Point, some_chips, time_scale_second
from equilog.hardware.transient.limits import Forcing, Listed, land, merge

LEVELS_PER_OCTAVE = 2
# Outputs integrated at a time: in these quantities arrays stay in the cache, and memory stays with the process.
_BLOCK = 2**14
# Samples may run ahead of the slowest of their block by this many bytes of values.
_AHEAD_BYTES = 2**23
_LARGEST_GROWTH, _LARGEST_CUT = LEVELS_PER_OCTAVE, 6 * LEVELS_PER_OCTAVE
# Half of the longest step that a Runge–Kutta method of fourth order would bear on the imaginary axis.
_STABLE = 1.4


@dataclass
class Statistics:
    """What the last pass over a transient took, for every sample; shapes ``(batch,)`` or ``(chips, batch)``.

    Attributes:
        steps: accepted steps.
        rejected: steps that had to be tried again, shorter.
        slewed: whether any of its amplifiers was at its slew limit, at the end of any step.
        at_rail: whether any of its outputs was at a rail, likewise.
    """

    steps: Tensor
    rejected: Tensor
    slewed: Tensor
    at_rail: Tensor

    def first(self) -> Statistics:
        """Return those of the first chip."""
        return Statistics(self.steps[0], self.rejected[0], self.slewed[0], self.at_rail[0])


@dataclass
class _Piece:
    """The last accepted step of every sample: times in seconds, ends, slopes and the half-way deviation from the cubic.

    Tensors ``(planes, samples, n)``; planes are v, or v and x.
    """

    begin: Tensor
    length: Tensor
    left: Tensor
    right: Tensor
    left_slope: Tensor
    right_slope: Tensor
    bulge: Tensor

    def where(self, chosen: Tensor, other: _Piece) -> _Piece:
        """Return this piece for the samples `chosen`, the `other` for the rest."""
        times = (torch.where(chosen, a, b) for a, b in ((self.begin, other.begin), (self.length, other.length)))
        names = ("left", "right", "left_slope", "right_slope", "bulge")
        planes = (torch.where(chosen[:, None], getattr(self, name), getattr(other, name)) for name in names)
        return _Piece(*times, *planes)

    def polynomial(self) -> tuple[Tensor, ...]:
        """Return the coefficients in ``u``, from 0 at the beginning of the step to 1 at its end; constant first."""
        h = self.length.to(self.left.dtype)[:, None]
        rise, fourth = self.right - self.left, 16 * self.bulge
        first, last = h * self.left_slope, h * self.right_slope
        second = torch.sub(rise, first, alpha=2 / 3).mul_(3).sub_(last).add_(fourth)
        third = torch.sub(first + last, rise, alpha=2).sub_(fourth, alpha=2)
        return self.left, first, second, third, fourth

    def at(
        self, polynomial: tuple[Tensor, ...], rows: Tensor, instant: Tensor, slope: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Return values, and the slope of plane 0 if wanted, of samples `rows` at instants within their steps."""
        h = self.length[rows]
        u = ((instant - self.begin[rows]) / h).to(self.left.dtype)[:, None]
        powers = [part.index_select(1, rows) for part in polynomial]
        rate = None
        if slope:
            rate = 4 * powers[4][0] * u
            rate.add_(powers[3][0], alpha=3).mul_(u).add_(powers[2][0], alpha=2).mul_(u).add_(powers[1][0])
            rate.div_(h.to(rate.dtype)[:, None])
        value = powers[4].mul_(u)
        for part in powers[3:0:-1]:
            value.add_(part).mul_(u)
        return value.add_(powers[0]), rate


@dataclass
class _Pass:
    """How far all samples have come.

    Attributes:
        point: where they are.
        piece: their last accepted steps.
        now: their times in seconds, shape ``(samples,)``.
        level: of their next steps, shape ``(samples,)``.
        smooth: whether the last steps ended as they went on: at no rail and under the law under which they began.
        tally: what it took so far.
    """

    point: Point
    piece: _Piece
    now: Tensor
    level: Tensor
    smooth: bool
    tally: Statistics


class Stepper:
    """Integrates the equations of a chip, or of every chip of a population, from discharged capacitors.

    Args:
        dynamics: the equations.
        scale_second: T, the neurons' own time scale, of every chip, shape ``(chips,)``.
        tolerance: as above, in units of V_a; None for equal steps, after a start in growing ones.
        longest_second: longest step; a fraction of T that is stable and accurate unless given.
    """

    def __init__(
        self, dynamics: Dynamics, scale_second: Tensor, tolerance: float | None, longest_second: float | None = None
    ) -> None:
        self.of, self.tolerance = dynamics, tolerance
        self.chips, self.batch, self.n = dynamics.shape
        self.chip = torch.arange(self.chips).repeat_interleave(self.batch)
        longest = torch.minimum(scale_second / 2, _STABLE / dynamics.fastest_coupling())
        if longest_second is not None:
            longest = longest.clamp(max=longest_second)
        first = 0.05 / dynamics.omega.amax((1, 2))
        level = (LEVELS_PER_OCTAVE * (longest / first).log2()).ceil().clamp(min=0).long()
        self.scale, self.first_level = scale_second[self.chip], level[self.chip]
        self.last_level = max(int(level.max()), 20 * LEVELS_PER_OCTAVE) + 4 * LEVELS_PER_OCTAVE
        halvings = torch.arange(self.last_level + 1, dtype=torch.float64) / LEVELS_PER_OCTAVE
        self.lengths = longest * 2.0 ** -halvings[:, None]
        self.tables = [_Table(self, dynamics.rates, dynamics.per_spread)]
        if dynamics.limited:
            self.tables.append(_Table(self, dynamics.rates_held, torch.ones_like(dynamics.per_spread)))
        self.statistics = self._no_statistics()

    def _no_statistics(self) -> Statistics:
        count = torch.zeros(self.chips, self.batch, dtype=torch.int64)
        return Statistics(count, count.clone(), count > 0, count > 0)

    def follow(self, grid: Tensor, *, ground: bool = False, slope: bool = False) -> Iterator[tuple[Tensor, ...]]:
        """Yield what is asked for at every instant of `grid`, each of shape ``(chips, batch, n)``.

        v; then, if asked for, the virtual grounds x or the slope ``v̇``.
        """
        of, samples = self.of, self.chips * self.batch
        end = torch.cat([grid, grid.new_tensor([-math.inf])])
        most = max(32, _AHEAD_BYTES // (samples * self.n * of.constant.element_size()))
        kept = torch.empty(min(most, len(grid)), 1 + ground + slope, samples, self.n, dtype=of.dtype)
        following = torch.zeros(samples, dtype=torch.int64)  # per sample the next instant of the grid
        given, at = 0, self._start(ground)
        self.statistics = at.tally
        while True:
            upto = torch.searchsorted(grid, at.now, right=True).clamp_(max=given + len(kept))
            self._keep(kept, at.piece, grid, following, upto, slope)
            following = upto
            for k in range(given, int(following.min())):
                yield tuple(kept[k % len(kept)].view(-1, self.chips, self.batch, self.n).clone())
                given = k + 1
            if given == len(grid):
                return
            moving = at.now < end[following]
            if bool(moving.any()):
                self._advance(at, moving)

    def _start(self, ground: bool) -> _Pass:
        now = torch.zeros(self.chips * self.batch, dtype=torch.float64)
        point = self.of.start()
        value, rate = self._planes(point, ground)
        piece = _Piece(now, torch.ones_like(now), value, value, rate, rate, torch.zeros_like(value))
        return _Pass(point, piece, now, self.first_level, True, self._no_statistics())

    def _keep(self, kept: Tensor, piece: _Piece, grid: Tensor, first: Tensor, end: Tensor, slope: bool) -> None:
        """Write the values at every sample's instants from `first` to before `end` to their places."""
        count = end - first
        rows = torch.arange(len(count)).repeat_interleave(count)
        if not len(rows):
            return
        begin = count.cumsum(0) - count
        instant = torch.arange(len(rows)) - begin[rows] + first[rows]
        polynomial = piece.polynomial()
        slots, planes, samples, n = kept.shape
        for these, those in zip(rows.split(samples), instant.split(samples)):
            value, rate = piece.at(polynomial, these, grid[those], slope)
            v = value[0].clamp(-self.of.rail, self.of.rail)
            asked = [v]
            if len(value) == 2:
                asked.append(value[1].sub_(value[0]).add_(v))
            if rate is not None:
                asked.append(rate if self.of.rail == math.inf else torch.where(v == value[0], rate, 0.0))
            place = (those % slots) * planes
            for k, part in enumerate(asked):
                kept.view(-1, n).index_copy_(0, (place + k) * samples + these, part)

    def _planes(self, point: Point, ground: bool) -> tuple[Tensor, Tensor]:
        """Return v, or v and x, and their slopes, shape ``(planes, samples, n)``."""
        v_slope, x_slope = self.of.slopes(point, ground)
        values = [self.of.output(point.state, point.regime)]
        slopes = [v_slope]
        if x_slope is not None:
            values.append(self.of.ground(point.state, point.regime))
            slopes.append(x_slope)
        return torch.stack(values).flatten(1, 2), torch.stack(slopes).flatten(1, 2)

    def _advance(self, at: _Pass, moving: Tensor) -> None:
        """Try one step with all samples that are `moving`."""
        of, point, ground = self.of, at.point, len(at.piece.right) == 2
        h = self.lengths[at.level, self.chip]
        weights, error_weight = self._weights(at.level, point)
        forcing = Forcing(of, point.regime)
        step = etd.take(point.state, point.now, weights, forcing)
        new, unseen = land(of, point, step, forcing)

        value, rate = self._planes(Point(step.end, step.at_end, point.regime), ground)
        left, left_rate = (at.piece.right, at.piece.right_slope) if at.smooth else self._planes(point, ground)
        half = [of.output(step.half, point.regime)] + ([of.ground(step.half, point.regime)] if ground else [])
        eighth = (h / 8).to(of.dtype)[:, None]
        bulge = torch.stack(half).flatten(1, 2) - (left + value) / 2 - eighth * (left_rate - rate)

        if self.tolerance is None:
            passed, at.level = moving, (at.level - 1).clamp_(min=0)
        else:
            error = self._largest(error_weight * (step.at_end - step.at_c)) * (2 * self.scale / h)
            error = torch.maximum(error, bulge[0].abs().amax(-1).double() / of.v_a)
            if forcing.kinks:
                where = torch.cat([kink.where for kink in forcing.kinks])
                weight = error_weight.flatten(1).index_select(1, where)
                kinks = (weight * torch.cat([kink.value for kink in forcing.kinks], 1)).abs().amax(0)
                error = self._raised(error, Listed(where, kinks))
            if unseen is not None:
                error = self._raised(error, unseen)
            error = error.nan_to_num(math.inf, math.inf)
            passed = moving & ((error <= self.tolerance) | (at.level == self.last_level))
            room = (0.8 * self.tolerance / error.clamp_min(1e-30)).log2() * (LEVELS_PER_OCTAVE / 3)
            change = room.floor().clamp_(-_LARGEST_CUT, _LARGEST_GROWTH).long()
            at.level = torch.where(moving, (at.level - change).clamp_(0, self.last_level), at.level)

        shape = (self.chips, self.batch)
        at.tally.steps += passed.view(shape)
        at.tally.rejected += (moving & ~passed).view(shape)
        fresh = _Piece(at.now, h, left, value, left_rate, rate, bulge)
        everyone = bool(passed.all())
        if everyone:
            at.point, at.piece, at.now = new, fresh, at.now + h
        else:
            at.point = merge(passed.view(shape), new, point)
            at.piece = fresh.where(passed, at.piece)
            at.now = torch.where(passed, at.now + h, at.now)
        at.smooth = forcing.quiet and (at.smooth or everyone)
        if (regime := at.point.regime) is not None:
            sample = regime.where // self.n
            at.tally.slewed.view(-1)[sample[regime.law != 0]] = True
            at.tally.at_rail.view(-1)[sample[regime.side != 0]] = True

    def _largest(self, error_volt: Tensor) -> Tensor:
        """Return the largest error of every sample in units of V_a, shape ``(samples,)``, float64."""
        return error_volt.abs().amax((0, -1)).flatten().double() / self.of.v_a

    def _raised(self, error: Tensor, by: Listed) -> Tensor:
        """Return the error with every sample's raised to that of its listed neurons, which are in volts."""
        return error.scatter_reduce(0, by.where // self.n, by.value.double() / self.of.v_a, "amax")

    def _weights(self, level: Tensor, point: Point) -> tuple[etd.Weights, Tensor]:
        """Return the weights of every sample's step, and those with which N makes the error of v."""
        found = self.tables[0].rows(level)
        if point.regime is not None:
            where = point.regime.where
            found.flatten(2).index_copy_(2, where, self.tables[1].listed(level, where))
        *weights, error = found.unbind(0)
        return etd.Weights(*weights), error


class Blocks:
    """Steppers of one chip, or of a population, each for as many samples as are best taken at a time.

    Args:
        layer: the chip, or a population, in float64 and without gradients.
        played: drives as played, shape ``(batch, m)`` or ``(chips, batch, m)``, float64.
        dtype: to compute in.
        tolerance: as in :class:`Stepper`.
        longest_second: as in :class:`Stepper`.
    """

    def __init__(
        self,
        layer: ProgrammedLayer,
        played: Tensor,
        dtype: torch.dtype,
        tolerance: float | None,
        longest_second: float | None,
    ) -> None:
        batch = max(1, min(played.shape[-2], _BLOCK // layer.states))
        chips = max(1, _BLOCK // (layer.states * batch))
        self.rows = []
        for first in range(0, layer.chips or 1, chips):
            part = layer if layer.chips is None else some_chips(layer, slice(first, first + chips))
            drives = played[first : first + chips] if played.ndim == 3 else played
            scale = time_scale_second(part)
            parts = [Dynamics(part, some, dtype) for some in drives.split(batch, dim=-2)]
            self.rows.append([Stepper(of, scale, tolerance, longest_second) for of in parts])

    def follow(self, grid: Tensor, *, ground: bool = False, slope: bool = False) -> Iterator[tuple[Tensor, ...]]:
        """Yield as :meth:`Stepper.follow` does, for all samples of all chips."""
        passes = [[stepper.follow(grid, ground=ground, slope=slope) for stepper in row] for row in self.rows]
        for _ in grid:
            found = [[next(part) for part in row] for row in passes]
            yield tuple(_joined([[part[k] for part in row] for row in found]) for k in range(len(found[0][0])))

    @property
    def statistics(self) -> Statistics:
        """What the latest pass took."""
        tallies = [[vars(stepper.statistics) for stepper in row] for row in self.rows]
        return Statistics(**{name: _joined([[t[name] for t in row] for row in tallies]) for name in tallies[0][0]})


def _joined(parts: list[list[Tensor]]) -> Tensor:
    """Join rows along the batch, then along the chips."""
    rows = [row[0] if len(row) == 1 else torch.cat(row, dim=1) for row in parts]
    return rows[0] if len(rows) == 1 else torch.cat(rows)


class _Table:
    """Weights by level, computed when first asked for."""

    def __init__(self, stepper: Stepper, rates: Tensor, to_output: Tensor) -> None:
        self.lengths, self.chip, self.n = stepper.lengths, stepper.chip, stepper.n
        self.rates, self.to_output = rates[:, :, 0], to_output[:, 0].to(torch.float64)
        kinds, levels, chips = len(etd.Weights._fields) + 1, *self.lengths.shape
        self.values = torch.empty(kinds, 2, levels, chips, self.n, dtype=stepper.of.dtype)
        self.known = torch.zeros(levels, dtype=torch.bool)
        # Filled again for every step: the largest arrays of all, and not to be had from the system each time.
        self.found = torch.empty(kinds, 2, len(self.chip), self.n, dtype=stepper.of.dtype)
        self.shape = (kinds, 2, *stepper.of.shape)

    def rows(self, level: Tensor) -> Tensor:
        """Return the weights for every sample's level, the last for the error; ``(kinds, 2, chips, batch, n)``."""
        self._learn(level)
        place = level * self.lengths.shape[1] + self.chip
        torch.index_select(self.values.flatten(2, 3), 2, place, out=self.found)
        return self.found.view(self.shape)

    def listed(self, level: Tensor, where: Tensor) -> Tensor:
        """Return the same for neurons at flat indices `where`, shape ``(kinds, 2, k)``."""
        sample = where // self.n
        level = level[sample]
        self._learn(level)
        place = (level * self.lengths.shape[1] + self.chip[sample]) * self.n + where % self.n
        return self.values.flatten(2).index_select(2, place)

    def _learn(self, level: Tensor) -> None:
        for missing in level[~self.known[level]].unique().tolist():
            w = etd.weights(self.rates, self.lengths[missing, :, None])
            self.values[:, :, missing] = torch.stack([*w, w.end_c * self.to_output]).to(self.values.dtype)
            self.known[missing] = True
