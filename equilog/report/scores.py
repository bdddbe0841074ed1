"""The score from ideal to circuit: one row a rung, and the error bar of a fraction where it is one."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from equilog.drawing.style import ANALOG, INK, MUTED, SIMULATOR, Plate, canvas, drawing, to_svg
from equilog.drawing.units import count, score_axis, score_text
from equilog.objective import Scored
from equilog.report.findings import Findings

# From this ratio of the largest to the least on, a linear axis hides the small ones.
DECADES = 20


@dataclass(frozen=True)
class _Row:
    label: str
    colour: str
    value: float
    samples: int
    each: tuple[float, ...] = ()
    hollow: bool = False


def standard_interval(p: float, n: int) -> tuple[float, float]:
    """Return Wilson's interval of one standard error around a fraction `p` of `n` (JASA 22 (1927) 209).

    For p well inside (0, 1) it is p ± √(p(1−p)/n); at 0 and 1, where that would claim certainty, it stays open.
    """
    centre = (p + 1 / (2 * n)) / (1 + 1 / n)
    half = math.sqrt(p * (1 - p) / n + 1 / (4 * n * n)) / (1 + 1 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def score_plate(run: Findings) -> Plate | None:
    """Return the dot plot; None if no score was measured."""
    rows, scored, name = _rows(run), run.report, run.report.score_name
    if not rows:
        return None
    key, title = f"fig-{name}", f"{name.capitalize()}, from the ideal model to the circuit"
    with drawing(key):
        figure = canvas(7.2, 1.0 + 0.42 * len(rows))
        axes = figure.subplots()
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks(range(len(rows)), [r.label for r in rows])
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        note = _fraction_axis(axes, rows) if scored.hits else _error_axis(axes, rows, scored)
        for y, row in enumerate(rows):
            _draw(axes, y, row, scored)
        axes.set_xlabel(f"{name}{note}")
        svg = to_svg(figure, f"{key}-svg", title)
    chips = run.metrics.get(f"{name}_twin_unseen_chips") or {}
    return Plate(key, title, [svg], _caption(run, int(chips.get("chips", 0))), wide=True)


def _caption(run: Findings, chips: int) -> str:
    report = run.report
    bars = (
        "Bars are one binomial standard error (Wilson): differences shorter than them say nothing."
        if report.hits
        else f"Means over samples; {'more' if report.higher_is_better else 'less'} is better."
    )
    simulated = (
        f"ngspice {'classifies' if report.hits else 'settles'} the first samples only: compare it with the twin on the "
        "same ones."
        if run.metrics.get(f"{report.score_name}_ngspice") is not None
        else "ngspice was not run: there is no row for it."
    )
    return (
        f"{bars} Small dots are {count(chips, 'chip')} that training never saw, each with its own mismatch; the large "
        f"dot is their mean. {simulated}"
    )


def _fraction_axis(axes: Axes, rows: list[_Row]) -> str:
    """Let the axis end at 1 and begin not far below what there is; return what its label must say of that."""
    left = _left_edge(min(min((standard_interval(r.value, r.samples)[0], *r.each)) for r in rows))
    axes.set_xlim(left, 1 + 0.012 * (1 - left))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g} %"))
    return f"  (zoomed: the axis begins at {100 * left:g} %, not at 0)" if left > 0 else ""


def _error_axis(axes: Axes, rows: list[_Row], scored: Scored) -> str:
    """Let the axis begin at 0, or be logarithmic where small errors would vanish; return what its label must say."""
    values = [v for r in rows for v in (r.value, *r.each)]
    least, top = min(values), max(values)
    factor, unit = score_axis(scored, top)
    logarithmic = top > DECADES * least > 0
    if logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(0.7 * least, 1.4 * top)
        axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 3), numticks=10))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.set_xlim(min(0.0, 1.06 * least), 1.06 * top or 1.0)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{factor * v:g}"))
    return (f", {unit}" if unit else "") + ("  (logarithmic)" if logarithmic else "")


def _rows(run: Findings) -> list[_Row]:
    m, name = run.metrics, run.report.score_name
    tested = int(m.get("test_samples") or 0)
    few = run.report.samples
    chips = m.get(f"{name}_twin_unseen_chips") or {}
    each = tuple(float(a) for a in chips.get("each", ()))
    wanted: list[tuple[str, str, float | None, int, tuple[float, ...], bool]] = [
        (
            f"ideal, before training on chips  ({tested:,})",
            MUTED,
            m.get(f"{name}_ideal_before_twin_training"),
            tested,
            (),
            True,
        ),
        (f"ideal  ({tested:,})", INK, m.get(f"{name}_ideal"), tested, (), False),
        (
            f"twin, this chip, before adaptation  ({tested:,})",
            ANALOG,
            m.get(f"{name}_twin_before_adaptation"),
            tested,
            (),
            True,
        ),
        (f"twin, this chip  ({tested:,})", ANALOG, m.get(f"{name}_twin"), tested, (), False),
        (f"twin, unseen chips  ({tested:,})", ANALOG, chips.get("mean"), tested, each, False),
        (f"twin, this chip  (first {few:,})", ANALOG, m.get(f"{name}_twin_same_samples"), few, (), True),
        (f"ngspice, this chip  (first {few:,})", SIMULATOR, m.get(f"{name}_ngspice"), few, (), False),
    ]
    return [
        _Row(label, colour, float(value), samples, spots, hollow)
        for label, colour, value, samples, spots, hollow in wanted
        if value is not None and samples > 0
    ]


def _draw(axes: Axes, y: int, row: _Row, scored: Scored) -> None:
    if row.each:
        # Chips with the same score lie side by side instead of on top of each other.
        placed: Counter[float] = Counter()
        same = Counter(row.each)
        for value in row.each:
            rank, placed[value] = placed[value], placed[value] + 1
            offset = (rank - (same[value] - 1) / 2) * min(0.11, 0.75 / same[value])
            axes.plot([value], [y + offset], "o", color=row.colour, alpha=0.45, markersize=3, markeredgewidth=0)
    elif scored.hits:
        low, high = standard_interval(row.value, row.samples)
        axes.plot([low, high], [y, y], color=row.colour, linewidth=1.3)
    face = "none" if row.hollow else row.colour
    axes.plot([row.value], [y], "o", color=row.colour, markerfacecolor=face, markersize=6.5)
    axes.annotate(
        score_text(scored, row.value), (1, y), (6, 0), xycoords=("axes fraction", "data"),
        textcoords="offset points", va="center", fontsize=7.5, color=row.colour, annotation_clip=False,
    )  # fmt: skip


def _left_edge(low: float) -> float:
    """Return a round axis start below `low`; 0 when little would be gained by zooming."""
    if low < 0.5:
        return 0.0
    span = 1 - low
    step = 10.0 ** math.floor(math.log10(max(span, 1e-4)))
    return max(0.0, round(math.floor((low - 0.15 * span) / step) * step, 6))
