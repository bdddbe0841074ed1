"""What `equilog hardware` prints: the list of technologies, one with every number and law, the result of a check."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.markup import escape
from rich.table import Table

from equilog.hardware import Figure, Spec
from equilog.hardware.technology.check import Checked
from equilog.hardware.technology.sheet import rows


def overview(specs: list[Spec]) -> list[dict[str, Any]]:
    """Return what the list says of each technology, as plain data."""
    return [
        {
            "name": spec.name,
            "summary": spec.summary,
            "figures": len(spec.figures()),
            "assumptions": sum(figure.source.startswith("assumption") for figure in spec.figures().values()),
        }
        for spec in specs
    ]


def listing(specs: list[Spec]) -> Table:
    """Return the list of technologies."""
    table = Table("preset", "what", caption="one in full: equilog hardware NAME")
    table.add_column("numbers", justify="right")
    table.add_column("of them assumed", justify="right")
    for row in overview(specs):
        table.add_row(row["name"], escape(row["summary"]), str(row["figures"]), str(row["assumptions"]))
    return table


def sheet(spec: Spec) -> Table:
    """Return one technology with every number and law."""
    table = Table(title=f"{spec.name}: {escape(spec.summary)}")
    table.add_column("number", overflow="fold")
    table.add_column("value\nrange", no_wrap=True)
    table.add_column("source and validity")
    group = ""
    for row in rows(spec):
        if group not in ("", row.name.partition(".")[0]):
            table.add_section()
        group = row.name.partition(".")[0]
        value = row.kind if row.figure is None else f"{row.figure:g}\n{_spread(row.figure)}".strip()
        table.add_row(row.name, value, escape(row.about))
    return table


def verdict(checked: Checked) -> Iterator[str]:
    """Yield the lines that a check prints, as markup."""
    where = escape(checked.where)
    if checked.spec is None:
        count = len(checked.mistakes)
        yield f"[red]{where}: {count} mistake{'s' * (count != 1)}[/red]"
        yield from (f"  {escape(mistake)}" for mistake in checked.mistakes)
        return
    yield f"{where}: technology {checked.spec.name!r}, {len(checked.spec.figures())} numbers, no mistakes"
    for doubt in checked.doubts:
        yield f"[yellow]warning:[/yellow] {escape(', '.join(doubt.keys))}: {escape(doubt.message)}"
    if checked.unsourced:
        yield f"[yellow]warning:[/yellow] without a source: {escape(', '.join(checked.unsourced))}"


def _spread(figure: Figure) -> str:
    if figure.low is None and figure.high is None:
        return ""
    return " … ".join(f"{bound:g}" for bound in figure.bounds()[::2])
