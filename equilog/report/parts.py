"""What the chip is made of, block by block, as rows of text: count, components, area and power, and their sources."""

from __future__ import annotations

from dataclasses import dataclass

from equilog.cost import Span
from equilog.cost.parts import BlockCost, table_total
from equilog.drawing.units import MISSING, area, engineering, plain

PARTS = ("resistors", "capacitors", "controlled sources", "transistors")
"""kinds of component that have a column, where any block has them"""


@dataclass(frozen=True)
class PartsTable:
    """A table ready to be set.

    Attributes:
        kinds: headings of the components.
        rows: block, count, components, and low, typical and high of area and of power.
        total: the last row likewise.
        sources: block, source of its area, source of its power.
    """

    kinds: list[str]
    rows: list[list[str]]
    total: list[str]
    sources: list[list[str]]


def parts_table(parts: list[BlockCost]) -> PartsTable:
    """Return the table of a chip's blocks."""
    kinds = [kind for kind in PARTS if any(row.components.get(kind) for row in parts)]

    def components(row: BlockCost) -> list[str]:
        return [plain(row.components[kind]) if row.components.get(kind) else "" for kind in kinds]

    every_area, every_watt = table_total(parts)
    sums = [sum(row.components.get(kind, 0) for row in parts) for kind in kinds]
    return PartsTable(
        kinds=kinds,
        rows=[[row.name, plain(row.count), *components(row), *_area(row.area_m2), *_watt(row.watt)] for row in parts],
        total=["in all", "", *map(plain, sums), *_area(every_area), *_watt(every_watt)],
        sources=[[row.name, row.area_source, row.watt_source] for row in parts],
    )


def _area(span: Span | None) -> list[str]:
    if span is None or not span.high:
        return [MISSING] * 3
    return [area(value) for value in (span.low, span.typical, span.high)]


def _watt(span: Span | None) -> list[str]:
    if span is None:
        return [MISSING] * 3
    return [engineering(value, "W") for value in (span.low, span.typical, span.high)]
