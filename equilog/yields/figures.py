"""The histograms as drawings for the page."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.ticker import FuncFormatter, MaxNLocator

from equilog.drawing.style import ANALOG, BAD, GOOD, INK, Plate, canvas, drawing, to_svg
from equilog.drawing.units import axis_unit, count, engineering, score_axis, score_text
from equilog.yields.histograms import score_histogram, settling_histogram
from equilog.yields.report import YieldReport
from equilog.yields.rows import ChipRow, Standing

SETTLING_KEY, SETTLING_TITLE = "fig-yield-settling", "Settling time of every chip"
_MOST_BARS = 40


def score_plate(report: YieldReport, rows: Sequence[ChipRow]) -> Plate | None:
    """Return the histogram of scores with the threshold; None if no chip settles."""
    bars = score_histogram(report, rows, _MOST_BARS)
    if bars is None:
        return None
    name = report.score_name
    key, title = f"fig-yield-{name}", f"{name.capitalize()} of every chip that settles"
    with drawing(key):
        figure = canvas(4.9, 3.0)
        axes = figure.subplots()
        # Fractions lie on a grid of 1/samples: a bar reaches half a step to either side of those it counts.
        half = 0.5 / report.samples if report.hits else 0.0
        left = [e - half for e in bars.edges[:-1]]
        width = bars.edges[1] - bars.edges[0]
        colours = [GOOD if good else BAD for good in bars.good]
        axes.bar(left, bars.chips, width=0.92 * width, align="edge", color=colours, alpha=0.85, linewidth=0)
        axes.set_ylim(0, 1.3 * max(bars.chips))
        low = min(left[0], report.threshold, report.score_ideal) - 1.5 * width
        high = max(left[-1] + width, report.threshold, report.score_ideal) + 1.5 * width
        axes.set_xlim(low, high)
        passes = "passes from" if report.higher_is_better else "passes up to"
        for at, label, y in (
            (report.threshold - half, f"{passes} {score_text(report, report.threshold)}", 0.985),
            (report.score_ideal, f"ideal model {score_text(report, report.score_ideal)}", 0.9),
        ):
            side = "left" if at < (low + high) / 2 else "right"
            axes.axvline(at, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
            axes.annotate(
                label, (at, y), (4 if side == "left" else -4, 0), xycoords=("data", "axes fraction"),
                textcoords="offset points", ha=side, va="top", fontsize=7.5,
            )  # fmt: skip
        factor, unit = score_axis(report, high)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{factor * v:g} {unit}".rstrip()))
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(visible=False, axis="x")
        axes.set_xlabel(name)
        axes.set_ylabel("chips")
        svg = to_svg(figure, f"{key}-svg", title)
    silent = report.chips - report.standing.get(Standing.SETTLES, 0)
    missing = f" {count(silent, 'chip')} without an answer cannot be drawn." if silent else ""
    return Plate(
        key,
        title,
        [svg],
        f"Each chip on the same {count(report.samples, 'sample')}: the chips differ, the samples do not. Green passes, "
        f"red does not. The axis does not begin at zero.{missing}",
    )


def settling_plate(report: YieldReport, rows: Sequence[ChipRow]) -> Plate | None:
    """Return the histogram of settling times; None if none was watched."""
    bars = settling_histogram(rows, _MOST_BARS)
    spread = report.settling_worst_second
    if bars is None or spread is None:
        return None
    median, slowest = spread.percentiles["50"], spread.percentiles["100"]
    factor, unit = axis_unit(slowest, "s")
    with drawing(SETTLING_KEY):
        figure = canvas(4.9, 3.0)
        axes = figure.subplots()
        left = [e * factor for e in bars.edges[:-1]]
        width = (bars.edges[1] - bars.edges[0]) * factor
        axes.bar(left, bars.chips, width=0.92 * width, align="edge", color=ANALOG, alpha=0.85, linewidth=0)
        axes.set_ylim(0, 1.3 * max(bars.chips))
        axes.set_xlim(left[0] - 1.5 * width, left[-1] + 2.5 * width)
        for at, label, side, y in ((median, "median", "left", 0.985), (slowest, "slowest", "right", 0.9)):
            axes.axvline(at * factor, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
            axes.annotate(
                f"{label} {engineering(at, 's')}", (at * factor, y), (4 if side == "left" else -4, 0),
                xycoords=("data", "axes fraction"), textcoords="offset points", ha=side, va="top", fontsize=7.5,
            )  # fmt: skip
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(visible=False, axis="x")
        axes.set_xlabel(f"settling time in {unit}")
        axes.set_ylabel("chips")
        svg = to_svg(figure, f"{SETTLING_KEY}-svg", SETTLING_TITLE)
    return Plate(
        SETTLING_KEY,
        SETTLING_TITLE,
        [svg],
        f"For each chip the slowest of {count(report.config.settle_samples, 'sample')}, until every activation output "
        "stays within half an ADC code of rest, by the twin in time from discharged capacitors.",
    )
