"""The picture of a front: score against energy, and against how far hardware moves the equilibrium."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from equilog.drawing.style import ANALOG, DIGITAL, GRID, INK, MUTED
from equilog.drawing.units import score_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from equilog.fronts.front import Front

NANOJOULE = 1e9


def front_svg(front: Front) -> str:
    """Return the picture as SVG; every point is labelled with its weight λ."""
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "equilog", "font.size": 9}):
        figure = Figure(figsize=(9.2, 4.0), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        _energy(left, front)
        _displacement(right, front)
        figure.suptitle(f"{front.task} on {front.hardware}, regulariser: {front.loss}", x=0.01, ha="left", fontsize=10)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _energy(axes: Axes, front: Front) -> None:
    best, (factor, unit) = front.best, _axis(front)
    axes.plot([_nj(p.energy_typical_joule) for p in best], [factor * p.score_mean for p in best], color=GRID, zorder=1)
    for p in front.points:
        low, typical, high = _nj(p.energy_low_joule), _nj(p.energy_typical_joule), _nj(p.energy_high_joule)
        spread = [[typical - low], [high - typical]]
        axes.errorbar(typical, factor * p.score_mean, xerr=spread, color=GRID, zorder=0, lw=1)
    _points(axes, front, [_nj(p.energy_typical_joule) for p in front.points])
    axes.set_xscale("log")
    # A front spans a decade or two: ticks at whole decades alone would say too little.
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("energy of the chip per inference, nJ (bars: low to high)")
    axes.set_ylabel(f"{front.score_name} on unseen chips" + (f", {unit}" if unit else ""))


def _displacement(axes: Axes, front: Front) -> None:
    _points(axes, front, [100 * p.displacement_rms for p in front.points])
    axes.set_xlabel("rms displacement of z* on chips, % of full scale")
    axes.legend(loc="best", frameon=False)


def _points(axes: Axes, front: Front, x: list[float]) -> None:
    factor, _ = _axis(front)
    mean, worst = ([factor * getattr(p, f"score_{which}") for p in front.points] for which in ("mean", "worst"))
    axes.plot(x, mean, "o", color=ANALOG, label="mean chip", zorder=3)
    axes.plot(x, worst, "v", color=DIGITAL, ms=5, label="worst chip", zorder=3)
    for at, y, p in zip(x, mean, front.points):
        axes.annotate(
            f"λ = {p.weight:g}", (at, y), (0, 6), textcoords="offset points", ha="center", fontsize=7.5, color=INK,
        )  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=MUTED, labelcolor=INK)


def _axis(front: Front) -> tuple[float, str]:
    return score_axis(front, max(abs(p.score_worst) for p in front.points))


def _nj(joule: float) -> float:
    return joule * NANOJOULE
