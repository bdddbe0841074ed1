"""A result as a range: low, typical, high."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import model_validator

from equilog.hardware.technology.figure import Figure
from equilog.names import Strict


class Span(Strict):
    """Low, typical and high value of one quantity; sums and products of positive spans stay ordered."""

    low: float
    typical: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Span:
        if not 0 <= self.low <= self.typical <= self.high:
            raise ValueError(f"expected 0 <= low <= typical <= high, got {self.low}, {self.typical}, {self.high}")
        return self

    @classmethod
    def of(cls, value: float | Figure | Span) -> Span:
        """Return a span from a number (no spread), a figure (its bounds) or a span."""
        if isinstance(value, Span):
            return value
        low, typical, high = value.bounds() if isinstance(value, Figure) else (value, value, value)
        return cls(low=low, typical=typical, high=high)

    def __add__(self, other: Span | float) -> Span:
        o = Span.of(other)
        return Span(low=self.low + o.low, typical=self.typical + o.typical, high=self.high + o.high)

    def __mul__(self, other: Span | Figure | float) -> Span:
        o = Span.of(other)
        return Span(low=self.low * o.low, typical=self.typical * o.typical, high=self.high * o.high)

    def __truediv__(self, other: Span | Figure | float) -> Span:
        o = Span.of(other)
        return Span(low=self.low / o.high, typical=self.typical / o.typical, high=self.high / o.low)


def total(spans: list[Span]) -> Span:
    """Return the sum, as if all lows (and all highs) occurred together: the widest honest range."""
    return sum(spans, Span.of(0.0))


def larger(a: Span, b: Span) -> Span:
    """Return the range of the larger of two quantities."""
    return Span(low=max(a.low, b.low), typical=max(a.typical, b.typical), high=max(a.high, b.high))


def dominant(parts: Mapping[str, Span]) -> tuple[str, float]:
    """Return the name of the part that is largest at typical values, and its share of their sum.

    Raises:
        ValueError: without parts.
    """
    if not parts:
        raise ValueError("no parts: expected at least one")
    name = max(parts, key=lambda key: parts[key].typical)
    whole = total(list(parts.values())).typical
    return name, parts[name].typical / whole if whole else 0.0
