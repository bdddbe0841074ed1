"""The ladder of truth drawn: how far every rung lies from the one before it, and how far it may."""

from __future__ import annotations

from equilog.report.findings import Findings
from equilog.report.style import BAD, BAND, GOOD, INK, MUTED, Plate, canvas, drawing, log_ticks, to_svg
from equilog.report.units import scientific

KEY = "fig-ladder"
TITLE = "Distance of every rung from the one before it"
# Differences of nothing at all are drawn at the resolution of the arithmetic.
FLOOR = 1e-16


def ladder_plate(run: Findings) -> Plate | None:
    """Return worst differences and tolerances on one logarithmic axis; None if nothing was compared."""
    rungs = [r for r in run.report.rungs if r.max_error is not None]
    if not rungs:
        return None
    with drawing(KEY):
        figure = canvas(7.2, 0.75 + 0.36 * len(rungs))
        axes = figure.subplots()
        smallest = 1.0
        for row, rung in enumerate(rungs):
            error = max(float(rung.max_error or 0), FLOOR)
            rms = max(float(rung.rms_error or 0), FLOOR)
            smallest = min(smallest, error, rms)
            colour = {True: GOOD, False: BAD, None: INK}[rung.agrees]
            axes.plot([rms, error], [row, row], color=colour, linewidth=1.2, alpha=0.6)
            axes.plot([rms], [row], "o", color=colour, markerfacecolor="none", markersize=4)
            axes.plot([error], [row], "o", color=colour, markersize=6)
            axes.annotate(
                scientific(rung.max_error), (error, row), (0, 7), textcoords="offset points",
                ha="center", va="bottom", fontsize=7, color=colour,
            )  # fmt: skip
            if rung.tolerance is not None:
                axes.plot([rung.tolerance] * 2, [row - 0.32, row + 0.32], color=INK, linewidth=1.6)
                axes.fill_betweenx([row - 0.32, row + 0.32], FLOOR * 1e-3, rung.tolerance, color=BAND, zorder=0)
        axes.set_xscale("log")
        axes.set_xlim(smallest / 12, max(4.0, *(10 * float(r.max_error or 0) for r in rungs)))
        log_ticks(axes, "x")
        axes.set_ylim(len(rungs) - 0.45, -0.75)
        axes.set_yticks(range(len(rungs)), [f"{r.rung}  vs  {r.compared_with}" for r in rungs])
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("difference, in units of full scale", color=MUTED)
        svg = to_svg(figure, f"{KEY}-svg", TITLE)
    return Plate(
        KEY,
        TITLE,
        [svg],
        "Filled dot: worst node of the worst sample; open dot: root mean square; bar: the tolerance. The first "
        "line is what the hardware costs and has no tolerance; below it every dot must stay left of its bar.",
        wide=True,
    )
