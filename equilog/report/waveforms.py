"""Settling seen: the twin's waveforms under ngspice's points, and their difference under its tolerance."""

from __future__ import annotations

import math

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from numpy.typing import NDArray

from equilog.devices.ladder import Waveforms
from equilog.devices.ladder_report import TOLERANCE_IN_TIME
from equilog.drawing.style import (
    BAD,
    BAND,
    INK,
    MUTED,
    SERIES,
    Plate,
    canvas,
    drawing,
    log_ticks,
    spread,
    to_svg,
)
from equilog.drawing.units import axis_unit, engineering, scientific
from equilog.report.findings import Findings

KEY = "fig-waveforms"
TITLE = "Settling: twin and ngspice"
SAMPLES, NODES, POINTS, MARKS, BINS, CURVES = 4, 6, 320, 28, 160, 64

Array = NDArray[np.float64]


def waveform_plate(run: Findings) -> Plate | None:
    """Return one drawing per simulated sample, the worst four if there are more; None without ngspice."""
    waves = sorted(run.ladder.waveforms, key=lambda w: -_worst(w)[1])[:SAMPLES]
    if not waves:
        return None
    waves = sorted(waves, key=lambda w: w.sample)
    rung = run.report.rung("ngspice in time")
    tolerance = rung.tolerance if rung and rung.tolerance else TOLERANCE_IN_TIME
    highest = max(float(w.twin.abs().max()) for w in waves)
    largest = max(_worst(w)[1] for w in waves)
    shown = "" if len(waves) == len(run.ladder.waveforms) else f" The {len(waves)} worst samples are shown."
    caption = (
        "Above: amplifier outputs from discharged capacitors, twin as lines, ngspice as circles; the nodes that move "
        "most and always the one with the largest difference (★). The dashed line marks the instant from which every "
        "activation output stays within half an ADC code of rest. "
        f"Below: |twin − ngspice| of every node, at most {scientific(largest)} of V_a where {scientific(tolerance)} is "
        f"allowed.{shown}"
    )
    return Plate(KEY, TITLE, [_draw(run, w, tolerance, highest) for w in waves], caption)


def _draw(run: Findings, wave: Waveforms, tolerance: float, highest: float) -> Markup:
    key = f"{KEY}-{wave.sample}"
    time = wave.time_second.numpy()
    twin, ngspice = wave.twin.numpy(), wave.ngspice.numpy()
    factor, unit = axis_unit(float(time[-1]), "s")
    with drawing(key):
        figure = canvas(4.9, 4.3)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.9, 1])
        # Namespaced with the drawing's key when it is put into the page.
        above.set_gid("v")
        below.set_gid("error")
        worst, _ = _worst(wave)
        nodes = _chosen(twin, worst)
        _curves(above, time * factor, twin, ngspice, nodes, worst)
        above.set_ylim(-1.12 * highest, 1.12 * highest)
        above.set_ylabel("v / Vₐ")
        above.set_title(f"Test {run.report.row} {wave.sample}", pad=14)
        _differences(below, time * factor, np.abs(twin - ngspice), worst, tolerance)
        below.set_xlabel(f"time after reset in {unit}")
        above.set_xlim(0, float(time[-1]) * factor)
        _mark_rest(run, wave.sample, above, below, factor)
        return to_svg(figure, key, f"{TITLE}, test {run.report.row} {wave.sample}")


def _worst(wave: Waveforms) -> tuple[int, float]:
    gap = (wave.twin - wave.ngspice).abs().amax(0)
    return int(gap.argmax()), float(gap.max())


def _chosen(twin: Array, worst: int) -> list[int]:
    travel = twin.max(0) - twin.min(0)
    movers = [int(k) for k in np.argsort(-travel, kind="stable") if k != worst][: NODES - 1]
    return [worst, *movers]


def _curves(axes: Axes, time: Array, twin: Array, ngspice: Array, nodes: list[int], worst: int) -> None:
    fine = np.linspace(0, time[-1], POINTS)
    marks = np.unique(np.searchsorted(time, np.linspace(0.004, 0.996, MARKS) * time[-1]))
    ends = spread([float(twin[-1, k]) for k in nodes], 0.062 * 2.24 * float(np.abs(twin).max()))
    for colour, node, end in zip(SERIES, nodes, ends):
        axes.plot(fine, np.interp(fine, time, twin[:, node]), color=colour, linewidth=1.1)
        axes.plot(
            time[marks], ngspice[marks, node], "o",
            color=colour, markerfacecolor="none", markersize=3.2, markeredgewidth=0.7, linestyle="none",
        )  # fmt: skip
        star = " ★" if node == worst else ""
        axes.annotate(
            f"v{node}{star}", (1, end), (5, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            color=colour, fontsize=7.5, va="center", annotation_clip=False,
        )  # fmt: skip
    axes.axhspan(-1, 1, color=BAND, zorder=0, linewidth=0)


def _differences(axes: Axes, time: Array, gap: Array, worst: int, tolerance: float) -> None:
    """Draw the largest difference in every interval of time: thinning must not lose a peak."""
    edges = np.linspace(0, time[-1], BINS + 1)
    which = np.clip(np.searchsorted(edges, time, side="right") - 1, 0, BINS - 1)
    binned = np.zeros((BINS, gap.shape[1]))
    np.maximum.at(binned, which, gap)
    seen = np.isin(np.arange(BINS), which)
    middle = ((edges[1:] + edges[:-1]) / 2)[seen]
    binned = binned[seen]
    typical = float(np.median(binned[binned > 0])) if bool((binned > 0).any()) else 1e-12
    floor = 10.0 ** math.floor(math.log10(min(typical, tolerance / 10)) - 1)
    binned = np.maximum(binned, floor)
    for node in np.argsort(binned.max(0), kind="stable")[-CURVES:]:
        if node != worst:
            axes.plot(middle, binned[:, node], color=MUTED, linewidth=0.5, alpha=0.55)
    axes.plot(middle, binned[:, worst], color=SERIES[0], linewidth=1.2)
    axes.axhline(tolerance, color=BAD, linewidth=1.1)
    axes.annotate(
        f"tolerance {scientific(tolerance)}", (1, tolerance), (-2, 3), xycoords=("axes fraction", "data"),
        textcoords="offset points", ha="right", va="bottom", fontsize=7.5, color=BAD,
    )  # fmt: skip
    axes.set_yscale("log")
    axes.set_ylim(floor, 12 * max(tolerance, float(binned.max())))
    axes.set_ylabel("difference / Vₐ")
    log_ticks(axes, "y")


def _mark_rest(run: Findings, sample: int, above: Axes, below: Axes, factor: float) -> None:
    times = run.report.settling.time_second
    if sample >= len(times) or not math.isfinite(times[sample]):
        return
    at = times[sample]
    for axes in (above, below):
        axes.axvline(at * factor, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    above.annotate(
        f"at rest: {engineering(at, 's')} = {at / run.tau:.1f} τ", (at * factor, 1), (0, 3),
        xycoords=("data", "axes fraction"), textcoords="offset points", ha="center", va="bottom", fontsize=7.5,
    )  # fmt: skip
