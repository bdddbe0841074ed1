"""The training curve: loss and accuracy per epoch, stage by stage."""

from __future__ import annotations

import math
from itertools import groupby

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from equilog.report.findings import Findings
from equilog.report.style import ANALOG, BAND, DIGITAL, INK, MUTED, Plate, canvas, drawing, to_svg

KEY = "fig-training"
TITLE = "Loss and accuracy, epoch by epoch"


def training_plate(run: Findings) -> Plate | None:
    """Return loss and accuracy over the epochs; None if none were trained."""
    rows = run.training
    if not rows:
        return None
    drawings = [_draw(rows, "loss"), _draw(rows, "accuracy")]
    stages = [stage for stage, _ in groupby(rows, key=lambda row: row.get("stage", ""))]
    both = (
        " After the ideal stage every step sees another chip: how much the curve jumps where stages change is what "
        "mismatch costs before training has answered it."
        if len(stages) > 1 and stages[0] == "ideal"
        else ""
    )
    return Plate(
        KEY,
        TITLE,
        drawings,
        "Loss and accuracy on the training samples as augmented, mean over each epoch; test samples decide "
        f"nothing here.{both}",
    )


def _draw(rows: list[dict[str, str]], column: str) -> Markup:
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
            tests = ((e, _number(row, "test_accuracy_ideal")) for e, row in zip(epochs, rows))
            tested = [(e, a) for e, a in tests if not math.isnan(a)]
            if tested:
                axes.plot(*zip(*tested), "D", color=INK, markersize=5, label="test samples, ideal model")
            axes.set_ylim(0, 1.03)
            axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g} %"))
            axes.legend(loc="lower right")
        _shade_stages(axes, rows)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
        axes.set_xlim(epochs[0], max(epochs[-1], epochs[0] + 1))
        return to_svg(figure, key, f"{column} per epoch")


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
