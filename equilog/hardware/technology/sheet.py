"""A technology as a sheet: every number and every law under its dotted name, in file order, ready to be shown.

How numbers look is for whoever shows them; laws read the same everywhere, as formulas.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from equilog.hardware.technology.blocks import ClampedLog, MeasuredCurve, Polynomial
from equilog.hardware.technology.figure import Figure
from equilog.names import Strict

SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))


@dataclass(frozen=True)
class Row:
    """One number or law of a technology.

    Attributes:
        name: dotted, ``crossbar.g_max_siemens``.
        figure: the number; None of a law or a choice.
        kind: what stands for a law where there is room for a word: ``f(x)``, ``curve``; empty for a number.
        formula: the law as people write it; empty for a number.
        source: where it comes from.
        valid: where it holds; empty if nothing is known.
    """

    name: str
    figure: Figure | None
    kind: str
    formula: str
    source: str
    valid: str

    @property
    def about(self) -> str:
        """Formula if it is a law, source, validity."""
        return "; ".join(filter(None, [self.formula, self.source, self.valid and f"valid: {self.valid}"]))


def rows(block: Strict, prefix: str = "") -> Iterator[Row]:
    """Yield every number and law in file order, nested blocks included, under its dotted name."""
    for key in type(block).model_fields:
        value, name = getattr(block, key), prefix + key
        match value:
            case Figure():
                yield Row(name, value, "", "", value.source, value.valid)
            case Polynomial():
                yield Row(name, None, "f(x)", polynomial(value), value.source, value.valid)
            case ClampedLog():
                yield Row(name, None, "f(x)", clamped_log(value), value.source, value.valid)
            case MeasuredCurve():
                yield Row(name, None, "curve", curve(value), value.source, value.valid)
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
