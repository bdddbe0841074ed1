"""The ladder of truth drawn: how far every rung lies from the one before it, and how far it may."""

from __future__ import annotations

import torch
from torch import Tensor

from equilog.devices.ladder_report import TRANSISTORS
from equilog.drawing.style import (
    ANALOG,
    BAD,
    BAND,
    GOOD,
    INK,
    MUTED,
    SIMULATOR,
    Plate,
    canvas,
    drawing,
    log_ticks,
    to_svg,
)
from equilog.drawing.units import count, scientific
from equilog.report.findings import Findings

KEY = "fig-ladder"
TITLE = "Distance of every rung from the one before it"
# Differences of nothing at all are drawn at the resolution of the arithmetic.
FLOOR = 1e-16

TRANSISTOR_KEY = "fig-transistors"
TRANSISTOR_TITLE = "Transistors against the twin of their blocks"
SPOTS = 500
"""Points that the scatter shows of all nodes and samples: every so many of them, and the worst."""


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


def transistor_plate(run: Findings) -> Plate | None:
    """Return differences at activation outputs over what the twin says, and node by node; None without that rung."""
    rung, outputs, found = run.report.rung(TRANSISTORS), run.ladder.transistors, run.report.transistors
    if rung is None or outputs is None or found is None:
        return None
    gap = 100 * (outputs.ngspice - outputs.twin)
    tolerance = 100 * float(rung.tolerance or 0)
    height = 1.15 * max(tolerance, float(gap.abs().max()))
    shown = _some(gap)
    with drawing(TRANSISTOR_KEY):
        figure = canvas(7.2, 2.9)
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1.35))
        for axes in (left, right):
            axes.axhspan(-tolerance, tolerance, color=BAND, zorder=0)
            axes.axhline(0, color=MUTED, linewidth=0.7)
        left.plot(
            outputs.twin.flatten()[shown].tolist(), gap.flatten()[shown].tolist(), "o",
            color=SIMULATOR, alpha=0.45, markersize=2.4, markeredgewidth=0,
        )  # fmt: skip
        left.set_xlabel("activation output by the twin, in Vₛ", color=MUTED)
        left.set_ylabel("transistors less twin, % of Vₛ", color=MUTED)
        nodes = list(range(gap.shape[1]))
        right.vlines(nodes, gap.amin(0).tolist(), gap.amax(0).tolist(), color=SIMULATOR, linewidth=1.2, alpha=0.6)
        right.plot(nodes, gap.mean(0).tolist(), "o", color=ANALOG, markersize=3)
        right.set_xlabel("node", color=MUTED)
        right.set_xlim(-0.8, len(nodes) - 0.2)
        right.xaxis.get_major_locator().set_params(integer=True)
        right.grid(visible=False, axis="x")
        left.set_ylim(-height, height)
        svg = to_svg(figure, f"{TRANSISTOR_KEY}-svg", TRANSISTOR_TITLE)
    classes = (
        "" if found.same_class is None else f"; {found.same_class} of them are classified as the twin's states are"
    )
    return Plate(
        TRANSISTOR_KEY,
        TRANSISTOR_TITLE,
        [svg],
        f"The same weights on a chip of {found.technology}, {count(found.transistors, 'transistor')} in ngspice, "
        f"{count(found.samples, 'sample')} at rest{classes}. Left: {len(shown):,} of {gap.numel():,} outputs, the "
        "worst among them. Right: least, greatest and mean difference of every node. The band is what is allowed. "
        f"Amplifier outputs differ by {scientific(found.amplifier_max_error)} of V_a at most: near the rails an "
        "amplifier has less gain than its twin, which the saturated activation behind it hides.",
        wide=True,
    )


def _some(gap: Tensor) -> Tensor:
    """Return indices of the outputs to show: evenly spaced ones and the worst, in order."""
    every = torch.arange(0, gap.numel(), max(1, -(-gap.numel() // SPOTS)))
    return torch.cat([every, gap.abs().flatten().argmax()[None]]).unique()
