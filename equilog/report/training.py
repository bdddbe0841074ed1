"""The training curve: loss and score per epoch, stage by stage."""

from __future__ import annotations

import math
from itertools import groupby

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from equilog.drawing.style import ANALOG, BAND, DIGITAL, INK, MUTED, Plate, canvas, drawing, to_svg
from equilog.drawing.units import score_axis
from equilog.objective import Scored
from equilog.report.findings import Findings

KEY = "fig-training"
# From this ratio of the largest to the least error on, a linear axis hides the small ones.
DECADES = 20


def training_plate(run: Findings) -> Plate | None:
    """Return loss and score over the epochs; None if none were trained."""
    rows = run.training
    if not rows:
        return None
    name = run.report.score_name
    drawings = [_draw(rows, "loss", run.report), _draw(rows, name, run.report)]
    stages = [stage for stage, _ in groupby(rows, key=lambda row: row.get("stage", ""))]
    both = (
        " After the ideal stage every step sees another chip: how much the curve jumps where stages change is what "
        "mismatch costs before training has answered it."
        if len(stages) > 1 and stages[0] == "ideal"
        else ""
    )
    return Plate(
        KEY,
        f"Loss and {name}, epoch by epoch",
        drawings,
        f"Loss and {name} on the training samples as augmented, mean over each epoch; test samples decide "
        f"nothing here.{both}",
    )


def _draw(rows: list[dict[str, str]], column: str, scored: Scored) -> Markup:
    key = f"{KEY}-{column}"
    epochs = [_number(row, "epoch") for row in rows]
    with drawing(key):
        figure = canvas(4.9, 2.8)
        axes = figure.subplots()
        colour = DIGITAL if column == "loss" else ANALOG
        axes.plot(epochs, [_number(row, column) for row in rows], color=colour, label="training samples")
        axes.set_ylabel(column)
        if column == "loss":
            axes.set_ylim(bottom=0)
        else:
            tests = ((e, _number(row, f"test_{column}_ideal")) for e, row in zip(epochs, rows))
            tested = [(e, a) for e, a in tests if not math.isnan(a)]
            if tested:
                axes.plot(*zip(*tested), "D", color=INK, markersize=5, label="test samples, ideal model")
            _scale(axes, [v for row in rows if (v := _number(row, column)) >= 0] + [a for _, a in tested], scored)
            axes.legend(loc="lower right" if scored.higher_is_better else "upper right")
        _shade_stages(axes, rows)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
        axes.set_xlim(epochs[0], max(epochs[-1], epochs[0] + 1))
        return to_svg(figure, key, f"{column} per epoch")


def _scale(axes: Axes, values: list[float], scored: Scored) -> None:
    """Begin at zero; where errors fall by orders of magnitude, be logarithmic instead."""
    top, least = max(values, default=1.0), min(values, default=1.0)
    if not scored.higher_is_better and top > DECADES * least > 0:
        axes.set_yscale("log")
        axes.set_ylim(0.7 * least, 1.5 * top)
        axes.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5), numticks=8))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(0, 1.03 if scored.hits else 1.08 * top or 1.0)
    factor, unit = score_axis(scored, top)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{factor * v:g} {unit}".rstrip()))


def _number(row: dict[str, str], key: str) -> float:
    text = row.get(key)
    return float(text) if text else math.nan


def _shade_stages(axes: Axes, rows: list[dict[str, str]]) -> None:
    start = _number(rows[0], "epoch")
    for k, (stage, group) in enumerate(groupby(rows, key=lambda row: row.get("stage", ""))):
        members = [_number(row, "epoch") for row in group]
        if k % 2:
            axes.axvspan(members[0] - 0.5, members[-1] + 0.5, color=BAND, zorder=0, linewidth=0)
        axes.annotate(
            {"ideal": "ideal model", "twin": "changing chips"}.get(stage, stage),
            (max(members[0] - 0.5, start), 1), (2, 2),
            xycoords=("data", "axes fraction"), textcoords="offset points",
            ha="left", va="bottom", fontsize=7.5, color=MUTED,
        )  # fmt: skip
