"""What `equilog hardware` prints: the list of technologies, one with every number and law, the result of a check."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from equilog.hardware import Figure, Spec
from equilog.hardware.technology.blocks import ClampedLog, MeasuredCurve, Polynomial
from equilog.hardware.technology.check import Checked
from equilog.names import Strict

SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))


@dataclass(frozen=True)
class Row:
    """A number or a law of a technology, as text."""

    name: str
    value: str
    spread: str
    about: str
    """formula if it is a law, source, validity"""


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
        table.add_row(row.name, f"{row.value}\n{row.spread}".strip(), escape(row.about))
    return table


def rows(block: Strict, prefix: str = "") -> Iterator[Row]:
    """Yield every number and law in file order, nested blocks included, under its dotted name."""
    for key in type(block).model_fields:
        value, name = getattr(block, key), prefix + key
        match value:
            case Figure():
                yield Row(name, f"{value:g}", _spread(value), _about(value.source, valid=value.valid))
            case Polynomial():
                yield Row(name, "f(x)", "", _about(polynomial(value), value.source, valid=value.valid))
            case ClampedLog():
                yield Row(name, "f(x)", "", _about(clamped_log(value), value.source, valid=value.valid))
            case MeasuredCurve():
                yield Row(name, "curve", "", _about(curve(value), value.source, valid=value.valid))
            case Strict():
                yield from rows(value, f"{name}.")


def polynomial(law: Polynomial) -> str:
    """Return ``f(x) = c₀ + c₁ x … µS, x = G/G_max``, in the unit that suits its largest coefficient."""
    largest = max(abs(c) for c in law.coefficients_siemens)
    scale, prefix = next(((s, p) for s, p in PREFIXES if largest >= s), PREFIXES[-1])
    text = ""
    for k, c in enumerate(law.coefficients_siemens):
        if c or len(law.coefficients_siemens) == 1:
            power = ("", " x")[k] if k < 2 else f" x{str(k).translate(SUPERSCRIPT)}"
            sign = ("−" if c < 0 else "") if not text else (" − " if c < 0 else " + ")
            text += f"{sign}{abs(c) / scale:g}{power}"
    text = text or "0"
    return f"f(x) = {text if ' ' not in text.strip() else f'({text})'} {prefix}S, x = G/G_max"


def clamped_log(law: ClampedLog) -> str:
    """Return ``f(x) = a ln x + b, at least … and at most …, x = G/G_max``."""
    if law.slope == 0 or law.low == law.high:
        return f"f(x) = {min(max(law.intercept, law.low), law.high):g}"
    sign = "−" if law.intercept < 0 else "+"
    slope = f"{law.slope:g}".replace("-", "−")
    return (
        f"f(x) = {slope} ln x {sign} {abs(law.intercept):g}, at least {law.low:g} and at most {law.high:g}, x = G/G_max"
    )


def curve(law: MeasuredCurve) -> str:
    """Return how many points there are and what they span."""
    x, y = law.input_volt, law.output_volt
    return f"{len(x)} points, {x[0]:g} V to {x[-1]:g} V in, {y[0]:g} V to {y[-1]:g} V out"


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


def _about(*parts: str, valid: str) -> str:
    return "; ".join([*filter(None, parts), *([f"valid: {valid}"] if valid else [])])
