"""The picture of a front: accuracy against energy, and against how far hardware moves the equilibrium."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import matplotlib
from matplotlib.figure import Figure

from equilog.report.style import ANALOG, DIGITAL, GRID, INK, MUTED

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
    best = front.best
    axes.plot([_nj(p.energy_typical_joule) for p in best], [100 * p.accuracy_mean for p in best], color=GRID, zorder=1)
    for p in front.points:
        low, typical, high = _nj(p.energy_low_joule), _nj(p.energy_typical_joule), _nj(p.energy_high_joule)
        spread = [[typical - low], [high - typical]]
        axes.errorbar(typical, 100 * p.accuracy_mean, xerr=spread, color=GRID, zorder=0, lw=1)
    _points(axes, front, [_nj(p.energy_typical_joule) for p in front.points])
    axes.set_xscale("log")
    axes.set_xlabel("energy of the chip per inference, nJ (bars: low to high)")
    axes.set_ylabel("accuracy on unseen chips, %")


def _displacement(axes: Axes, front: Front) -> None:
    _points(axes, front, [100 * p.displacement_rms for p in front.points])
    axes.set_xlabel("rms displacement of z* on chips, % of full scale")
    axes.legend(loc="lower left", frameon=False)


def _points(axes: Axes, front: Front, x: list[float]) -> None:
    axes.plot(x, [100 * p.accuracy_mean for p in front.points], "o", color=ANALOG, label="mean chip", zorder=3)
    axes.plot(x, [100 * p.accuracy_worst for p in front.points], "v", color=DIGITAL, ms=5, label="worst chip", zorder=3)
    for at, p in zip(x, front.points):
        axes.annotate(
            f"λ = {p.weight:g}", (at, 100 * p.accuracy_mean), (0, 6), textcoords="offset points", ha="center",
            fontsize=7.5, color=INK,
        )  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=MUTED, labelcolor=INK)


def _nj(joule: float) -> float:
    return joule * NANOJOULE
