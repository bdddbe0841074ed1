"""What one inference costs, hybrid against digital: ranges on a logarithmic axis, part by part."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes

from equilog.cost import CostReport, Span
from equilog.cost.span import dominant, total
from equilog.drawing.style import ANALOG, DIGITAL, INK, MUTED, SERIES, Plate, canvas, drawing, log_ticks, to_svg
from equilog.drawing.units import engineering, percent

SMALLEST = 0.03
"""Parts below this share of every bar are drawn as one."""
REST = "everything else"


@dataclass(frozen=True)
class Line:
    """One row of a cost drawing or table."""

    label: str
    side: str
    span: Span
    strong: bool = False


_COLOURS = {"hybrid": ANALOG, "digital": DIGITAL, "both": INK}


def cost_lines(hybrid: dict[str, Span], digital: dict[str, Span]) -> list[Line]:
    """Return totals, what only one side pays, and the parts, in the order in which they are read."""
    shared = [name for name in hybrid if name in digital]
    only_hybrid = {name: span for name, span in hybrid.items() if name not in digital}
    only_digital = {name: span for name, span in digital.items() if name not in hybrid}
    lines = [
        Line("hybrid, total", "hybrid", total(list(hybrid.values())), strong=True),
        Line("all digital, total", "digital", total(list(digital.values())), strong=True),
    ]
    if shared and only_hybrid and only_digital:
        lines += [
            Line("equilibrium alone, on the chip", "hybrid", total(list(only_hybrid.values())), strong=True),
            Line("equilibrium alone, digital", "digital", total(list(only_digital.values())), strong=True),
        ]
    lines += [Line(name, "both", hybrid[name]) for name in shared]
    lines += [Line(name, "hybrid", span) for name, span in only_hybrid.items()]
    if len(only_digital) > 1:
        lines += [Line(name, "digital", span) for name, span in only_digital.items()]
    return lines


def cost_plates(cost: CostReport) -> list[Plate]:
    """Return energy and latency."""
    energy = cost_lines(cost.hybrid_energy_joule, cost.digital_energy_joule)
    latency = cost_lines(cost.hybrid_latency_second, cost.digital_latency_second)
    hybrid, digital = energy[0].span, energy[1].span
    rows = (
        f" An inference is a sample of {cost.rows} rows, one after the other on the chip; the share of one is "
        f"{engineering(hybrid.typical / cost.rows, 'J')} and {engineering(digital.typical / cost.rows, 'J')}."
        if cost.rows > 1
        else ""
    )
    return [
        Plate(
            "fig-energy",
            "Energy of one inference",
            [_draw("fig-energy", "Energy of one inference", energy, "J")],
            "Dot: typical; line: from everything low to everything high. "
            f"{engineering(hybrid.typical, 'J')} hybrid against {engineering(digital.typical, 'J')} digital. The axis "
            "is logarithmic: one grid line is ten times the one before. Dark rows are digital layers that both sides "
            f"run.{rows}",
        ),
        Plate(
            "fig-latency",
            "Latency of one inference",
            [_draw("fig-latency", "Latency of one inference", latency, "s")],
            "The same for time. The chip is charged the settling time of the slowest verified sample; conversions do "
            "not overlap with anything.",
        ),
        Plate(
            "fig-energy-shares",
            "What the energy is made of",
            [_shares("fig-energy-shares", cost)],
            f"Each bar is the whole of one side, as the low, typical or high ends of all ranges make it. At typical "
            f"values {_dominates(cost.hybrid_energy_joule)} is {percent(dominant(cost.hybrid_energy_joule)[1], 0)} of "
            f"the hybrid, {_dominates(cost.digital_energy_joule)} "
            f"{percent(dominant(cost.digital_energy_joule)[1], 0)} of all digital. Parts below "
            f"{percent(SMALLEST, 0)} of every bar are drawn as one.",
        ),
    ]


def _dominates(parts: dict[str, Span]) -> str:
    return dominant(parts)[0]


def _shares(key: str, cost: CostReport) -> Markup:
    bars = {
        f"{side}, {end}": {name: getattr(span, end) for name, span in parts.items()}
        for side, parts in (("hybrid", cost.hybrid_energy_joule), ("digital", cost.digital_energy_joule))
        for end in ("low", "typical", "high")
    }
    wholes = {label: sum(parts.values()) or 1.0 for label, parts in bars.items()}
    names = list(dict.fromkeys([*cost.hybrid_energy_joule, *cost.digital_energy_joule]))
    peak = {name: max(parts.get(name, 0.0) / wholes[label] for label, parts in bars.items()) for name in names}
    # As many as there are colours; the rest would not be told apart.
    shown = sorted((n for n in names if peak[n] >= SMALLEST), key=lambda n: -peak[n])[: len(SERIES)]
    shown = [name for name in names if name in shown]
    with drawing(key):
        figure = canvas(4.9, 3.4 + 0.16 * len(shown))
        axes = figure.subplots()
        for y, (label, parts) in enumerate(bars.items()):
            at = 0.0
            for name, colour in [*zip(shown, SERIES), (REST, MUTED)]:
                joule = parts.get(name, 0.0) if name != REST else sum(v for n, v in parts.items() if n not in shown)
                width = joule / wholes[label]
                axes.barh(y + 0.5 * (y > 2), width, left=at, height=0.72, color=colour, label=name if y == 0 else None)
                at += width
            axes.annotate(
                engineering(wholes[label], "J"), (1, y + 0.5 * (y > 2)), (5, 0), xycoords=("axes fraction", "data"),
                textcoords="offset points", va="center", fontsize=7.5, annotation_clip=False,
            )  # fmt: skip
        axes.set_yticks([y + 0.5 * (y > 2) for y in range(len(bars))], list(bars))
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, [_short(label, 46) for label in labels], loc="outside lower left", ncols=1)
        return to_svg(figure, f"{key}-svg", "What the energy is made of")


def _draw(key: str, title: str, lines: list[Line], unit: str) -> Markup:
    with drawing(key):
        figure = canvas(4.9, 0.7 + 0.29 * len(lines))
        axes = figure.subplots()
        strong = sum(line.strong for line in lines)
        # A gap between the sums and their parts.
        places = [k + (0.0 if line.strong else 0.6) for k, line in enumerate(lines)]
        for y, line in zip(places, lines):
            _range(axes, y, line, unit)
        axes.set_xscale("log")
        log_ticks(axes, "x", unit)
        axes.set_ylim(places[-1] + 0.6, -0.6)
        axes.set_yticks(places, [_short(line.label) for line in lines])
        for text, line in zip(axes.get_yticklabels(), lines):
            text.set_fontweight("bold" if line.strong else "normal")
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        if strong < len(lines):
            axes.axhline((places[strong - 1] + places[strong]) / 2, color=MUTED, linewidth=0.6)
        axes.margins(x=0.05)
        return to_svg(figure, f"{key}-svg", title)


def _short(label: str, most: int = 34) -> str:
    return label if len(label) <= most else label[: most - 1] + "…"


def _range(axes: Axes, y: float, line: Line, unit: str) -> None:
    colour = _COLOURS[line.side]
    if line.span.typical <= 0:
        axes.annotate(
            "nothing", (0, y), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            va="center", fontsize=7.5, color=MUTED,
        )  # fmt: skip
        return
    low = line.span.low if line.span.low > 0 else line.span.typical
    width = 3.2 if line.strong else 1.8
    axes.plot([low, line.span.high], [y, y], color=colour, linewidth=width, alpha=0.45, solid_capstyle="butt")
    axes.plot([line.span.typical], [y], "o", color=colour, markersize=6 if line.strong else 4.5)
    axes.annotate(
        engineering(line.span.typical, unit), (1, y), (5, 0), xycoords=("axes fraction", "data"),
        textcoords="offset points", va="center", fontsize=7.5, color=colour, annotation_clip=False,
        fontweight="bold" if line.strong else "normal",
    )  # fmt: skip
