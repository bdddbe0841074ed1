"""Between two grid points: outputs as cubics, the same outputs lagged, and every crossing of a threshold.

For ``w l̇ = v − l`` the difference ``d = v − l`` obeys ``ḋ = v̇ − d/w``. With ``v̇ = q₀ + q₁ s + q₂ s²`` from the start
of a step, and the φ functions of exponential integrators at ``−s/w``,

    d(s) = d₀ e^{−s/w} + q₀ s φ₁ + q₁ s² φ₂ + 2 q₂ s³ φ₃.

``e^{s/w} d̈`` is monotone, because its derivative is ``2 q₂ e^{s/w}``. So d has at most one inflection and two extrema
in a step, between which it is monotone: no crossing can hide, however short the stay on the other side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# A root is found to this fraction of its step.
_ROOT_TOLERANCE = 1e-10
# Below this the φ functions come from their series, above from their recursion.
_SERIES_BELOW = 0.5


@dataclass(frozen=True)
class Step:
    """Outputs from one instant to the next, all of one shape.

    Attributes:
        start: first instant, in seconds.
        end: last instant.
        v: outputs at the start.
        slopes: Bernstein coefficients of the quadratic v̇, stacked in front, shape ``(3, ...)``; v̇ stays between them.
    """

    start: float
    end: float
    v: Tensor
    slopes: Tensor

    @property
    def length(self) -> float:
        """Seconds from start to end."""
        return self.end - self.start

    def pick(self, flat: Tensor) -> Step:
        """Return the step of the outputs with these flat indices."""
        return Step(self.start, self.end, self.v.flatten()[flat], self.slopes.flatten(1)[:, flat])

    def powers(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the coefficients of ``v̇ = q₀ + q₁ s + q₂ s²``."""
        (b0, b1, b2), h = self.slopes, self.length
        return b0, 2 * (b1 - b0) / h, (b0 - 2 * b1 + b2) / h**2

    def __call__(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Return v and v̇, a time `s` into the step."""
        q0, q1, q2 = self.powers()
        return self.v + s * (q0 + s * (q1 / 2 + s * q2 / 3)), q0 + s * (q1 + s * q2)


class Follower:
    """Remembers the last instant of many transients, and joins it to the next by a cubic.

    Attributes:
        time: the last instant; −inf before the first.
        samples: leading shape of what it was fed.
        v: the last outputs, shape ``(all samples, n)``.
        slope: the last v̇, same shape.
    """

    def __init__(self) -> None:
        self.time = -math.inf
        self.samples = torch.Size()
        self.v = self.slope = torch.empty(0, 0, dtype=torch.float64)

    def advance(self, time: float, v: Tensor, slope: Tensor) -> Step | None:
        """Take an instant, v and v̇ of shape ``(..., n)``; return the step that led to it, None for the first.

        Raises:
            ValueError: if time does not advance.
        """
        time = float(time)
        if not time > self.time:
            raise ValueError(f"time must advance, got {time} s after {self.time} s")
        samples, n = v.shape[:-1], v.shape[-1]
        v, slope = v.reshape(-1, n).to(torch.float64), slope.reshape(-1, n).to(torch.float64)
        step = None
        if self.time == -math.inf:
            self.samples = samples
        else:
            middle = 3 * (v - self.v) / (time - self.time) - self.slope - slope
            step = Step(self.time, time, self.v, torch.stack([self.slope, middle, slope]))
        self.time, self.v, self.slope = time, v, slope
        return step


class Lag:
    """``d = v − l`` through a step.

    Args:
        step: the outputs.
        gap: d at the start, same shape.
        window: time constant w of the lag, in seconds.
    """

    def __init__(self, step: Step, gap: Tensor, window: float) -> None:
        self.step, self.gap, self.window = step, gap, window

    def pick(self, flat: Tensor) -> Lag:
        """Return the lag of the outputs with these flat indices."""
        return Lag(self.step.pick(flat), self.gap.flatten()[flat], self.window)

    def __call__(self, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return d, ḋ and d̈, a time `s` into the step."""
        q0, q1, q2 = self.step.powers()
        decay, p1, p2, p3 = _phi(s / self.window)
        d = self.gap * decay + s * (q0 * p1 + s * (q1 * p2 + 2 * s * q2 * p3))
        first = q0 + s * (q1 + s * q2) - d / self.window
        return d, first, q1 + 2 * s * q2 - first / self.window

    def end(self) -> Tensor:
        """Return d at the end."""
        return self(torch.tensor(self.step.length, dtype=torch.float64))[0]

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Return what d neither falls below nor exceeds: it relaxes from its start towards values of w v̇."""
        reached = -math.expm1(-self.step.length / self.window)
        least = self.gap + reached * (self.window * self.step.slopes.amin(0) - self.gap)
        most = self.gap + reached * (self.window * self.step.slopes.amax(0) - self.gap)
        return torch.minimum(self.gap, least), torch.maximum(self.gap, most)

    def crossings(self, limits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Find where d or −d reach a limit, for outputs in a vector of length k.

        Args:
            limits: of d and of −d, shape ``(2, k)``.

        Returns:
            for each crossing, in no order: index of the output, time into the step, and +1 if the limit is reached
            or −1 if it is left.
        """
        ends = self._turning_points()
        levels = torch.stack([limits[0], -limits[1]])
        d = self(ends)[0]
        out = torch.stack([d >= levels[0], d <= levels[1]], dim=1)  # (4 ends, 2 limits, k)
        piece, limit, which = (out[1:] != out[:-1]).nonzero(as_tuple=True)
        part, level = self.pick(which), levels[limit, which]

        def above(s: Tensor) -> tuple[Tensor, Tensor]:
            d, first, _ = part(s)
            return d - level, first

        when = root(above, ends[piece, which], ends[piece + 1, which])
        return which, when, out[piece + 1, limit, which].long() * 2 - 1

    def _turning_points(self) -> Tensor:
        """Return four instants, start and end among them, between which d is monotone; shape ``(4, k)``."""
        _, _, q2 = self.step.powers()
        start, end = torch.zeros_like(self.gap), torch.full_like(self.gap, self.step.length)
        inflection = self.window * torch.log1p(-self(start)[2] / (2 * q2 * self.window))
        inflection = torch.where((inflection > 0) & (inflection < end), inflection, start)
        turns = []
        for low, high in ((start, inflection), (inflection, end)):
            turned = (self(low)[1] < 0) != (self(high)[1] < 0)
            # Without an extremum the piece need not be cut; its start stands in.
            turns.append(torch.where(turned, root(lambda s: self(s)[1:], low, torch.where(turned, high, low)), low))
        return torch.stack([start, *turns, end])


def root(function: Callable[[Tensor], tuple[Tensor, Tensor]], low: Tensor, high: Tensor) -> Tensor:
    """Return where a function changes sign between `low` and `high`: Newton's method within a shrinking bracket.

    Args:
        function: returns value and slope, elementwise.
        low: one end, shape ``(k,)``.
        high: the other end; the sign there is another, or high equals low.
    """
    if not len(low):
        return low
    fine = _ROOT_TOLERANCE * (high - low)
    negative = function(low)[0] < 0
    s = (low + high) / 2
    done = torch.zeros_like(negative)
    for _ in range(60):
        value, slope = function(s)
        same = (value < 0) == negative
        low, high = torch.where(same, s, low), torch.where(same, high, s)
        newton = s - value / slope
        guess = torch.where((newton > low) & (newton < high), newton, (low + high) / 2)
        # An element that is done stays, so that it does not depend on its company.
        done |= (guess - s).abs() <= fine
        s = torch.where(done, s, guess)
        if done.all():
            break
    return s


def _phi(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return ``e^{−x}, φ₁(−x), φ₂(−x), φ₃(−x)`` for x ≥ 0, without cancellation near zero."""
    p3 = torch.full_like(x, 1 / math.factorial(15))
    for k in range(14, 2, -1):
        p3 = 1 / math.factorial(k) - x * p3
    p2 = 0.5 - x * p3
    p1 = 1 - x * p2
    large = x.clamp(min=_SERIES_BELOW)
    r1 = -torch.expm1(-large) / large
    r2 = (1 - r1) / large
    r3 = (0.5 - r2) / large
    series = x < _SERIES_BELOW
    return torch.exp(-x), torch.where(series, p1, r1), torch.where(series, p2, r2), torch.where(series, p3, r3)
