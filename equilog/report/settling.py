"""How long samples take to rest, and how far the slowest pole is from not letting them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from equilog.drawing.style import ANALOG, BAD, BAND, GOOD, INK, MUTED, Plate, canvas, drawing, to_svg
from equilog.drawing.units import axis_unit, count, engineering, percent
from equilog.report.findings import Findings

KEY = "fig-settling"
TITLE = "Settling time of every verified sample"
STABILITY_KEY = "fig-stability"
STABILITY_TITLE = "Stability margin"


def settling_plate(run: Findings) -> Plate | None:
    """Return the histogram in seconds and in time constants; None if no sample settles."""
    times = np.array(run.settled)
    if not len(times):
        return None
    settling = run.report.settling
    factor, unit = axis_unit(float(times.max()), "s")
    median = float(np.sort(times)[(len(times) - 1) // 2])
    with drawing(KEY):
        figure = canvas(4.9, 3.0)
        axes = figure.subplots()
        bins = int(np.clip(np.sqrt(len(times)) * 2, 5, 40))
        low, high = float(times.min()), float(times.max())
        pad = 0.06 * (high - low) or 0.1 * high
        axes.hist(times * factor, bins=bins, color=ANALOG, alpha=0.85, edgecolor="none", rwidth=0.92)
        axes.set_xlim((low - pad) * factor, (high + pad) * factor)
        top = axes.get_ylim()[1]
        axes.set_ylim(0, 1.3 * top)
        # On two lines: the two lie close together when samples settle alike.
        for at, label, side, y in ((median, "median", "left", 0.985), (high, "slowest", "right", 0.9)):
            axes.axvline(at * factor, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
            axes.annotate(
                f"{label} {engineering(at, 's')}", (at * factor, y), (4 if side == "left" else -4, 0),
                xycoords=("data", "axes fraction"), textcoords="offset points", ha=side, va="top", fontsize=7.5,
            )  # fmt: skip
        axes.set_xlabel(f"settling time in {unit}")
        axes.set_ylabel(f"{run.report.row}s")
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(visible=False, axis="x")
        per_tau = factor * run.tau
        second = axes.secondary_xaxis("top", functions=(_scale(1 / per_tau), _scale(per_tau)))
        second.xaxis.set_major_locator(MaxNLocator(6))
        second.set_xlabel(f"in time constants τ = {engineering(run.tau, 's')}")
        svg = to_svg(figure, f"{KEY}-svg", TITLE)
    never = len(settling.time_second) - len(times)
    missing = f" {count(never, run.report.row)} never settled and cannot be drawn." if never else ""
    return Plate(
        KEY,
        TITLE,
        [svg],
        "Time until every activation output stays within half an ADC code "
        f"({percent(settling.tolerance, 2)} of full scale) of rest, by the twin. Without a detector "
        f"the chip waits for the slowest {run.report.row}, so the right edge is what counts.{missing}",
    )


def _scale(by: float) -> Callable[[Any], Any]:
    return lambda values: np.asarray(values) * by


def stability_plate(run: Findings) -> Plate | None:
    """Return the slowest pole between the ideal neuron's and the edge of stability."""
    settling = run.report.settling
    margin = settling.spectral_abscissa_per_second * run.tau
    if not math.isfinite(margin):
        return None
    with drawing(STABILITY_KEY):
        figure = canvas(4.9, 3.0)
        axes = figure.subplots()
        left, right = min(-1.25, 1.2 * margin), max(0.3, 1.25 * margin)
        axes.axvspan(left, 0, ymin=0.3, ymax=0.52, color=BAND, linewidth=0)
        axes.axvspan(0, right, ymin=0.3, ymax=0.52, color=BAD, alpha=0.16, linewidth=0)
        axes.axvline(0, ymin=0.26, ymax=0.56, color=BAD, linewidth=1.4)
        axes.axvline(-1, ymin=0.26, ymax=0.56, color=MUTED, linewidth=1.2)
        good = margin < 0
        axes.plot([margin], [0.41], "o", markersize=10, color=GOOD if good else BAD)
        for at, y, va, text, colour in (
            (margin, 0.66, "bottom", f"slowest pole\n{margin:.2f} / τ".replace("-", "−"), GOOD if good else BAD),
            (-1, 0.21, "top", "a neuron\non its own", MUTED),
            (0, 0.21, "top", "edge of\nstability", BAD),
        ):
            axes.text(at, y, text, ha="center", va=va, fontsize=8, color=colour, linespacing=1.3)
        axes.set_xlim(left, right)
        axes.set_ylim(0, 1)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False)
        axes.set_xlabel("real part × τ")
        svg = to_svg(figure, f"{STABILITY_KEY}-svg", STABILITY_TITLE)
    rate = settling.spectral_abscissa_per_second
    slow = f" Its mode dies away with {engineering(-1 / rate, 's')}." if rate < 0 else ""
    return Plate(
        STABILITY_KEY,
        STABILITY_TITLE,
        [svg],
        "Largest real part of any pole of the circuit linearised at the verified resting points, the amplifiers' "
        f"finite bandwidth included. Left of zero every small disturbance dies out.{slow} Mean noise gain of a neuron: "
        f"{settling.noise_gain:.1f}.",
    )
