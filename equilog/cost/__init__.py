"""Energy, latency and parts: what the chip costs, and what a digital computer would, each figure a range."""

from equilog.cost.estimate import CostReport, estimate
from equilog.cost.span import Span

__all__ = ["CostReport", "Span", "estimate"]
