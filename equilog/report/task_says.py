"""What a task measures and draws of its model besides the score: a table, and pictures beside what is trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from equilog.drawing.style import Plate, framed
from equilog.drawing.units import MISSING
from equilog.report.findings import Findings
from equilog.runs.folder import RunFolder


@dataclass(frozen=True)
class TaskSays:
    """The section of a page.

    Attributes:
        rows: quantity, unit, ideal, this chip, trusted, remark.
        plates: the pictures.
    """

    rows: list[list[str]]
    plates: list[Plate]


def task_says(run: Findings, folder: RunFolder) -> TaskSays | None:
    """Return the section; None for a task that says nothing.

    Raises:
        UserError: for pictures that are there and cannot be read.
    """
    plates = [
        Plate(f"fig-{about['key']}", about["title"], [framed(svg, about["title"])], about["caption"])
        for about, svg in folder.pictures()
    ]
    rows = measure_rows(run.metrics)
    return TaskSays(rows, plates) if rows or plates else None


def measure_rows(metrics: dict[str, Any]) -> list[list[str]]:
    """Return a row of text for every quantity: name, unit, ideal, this chip, trusted, remark."""
    of = metrics.get("measures") or {}
    ideal, twin = ({m["name"]: m for m in of.get(where, [])} for where in ("ideal", "twin"))
    rows = []
    for name in dict.fromkeys([*ideal, *twin]):
        told = ideal.get(name) or twin[name]
        on_both = [(which.get(name) or {}).get("value") for which in (ideal, twin)]
        notes = dict.fromkeys(which[name]["note"] for which in (ideal, twin) if name in which)
        remark = "; ".join(note for note in notes if note)
        rows.append([name, told["unit"], *map(_number, [*on_both, told["reference"]]), remark])
    return rows


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.4g}"
