"""A result as a range: low, typical, high."""

from __future__ import annotations

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
