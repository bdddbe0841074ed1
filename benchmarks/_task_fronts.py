"""What a trained model's chips score at coarser converters, and what that saves: accuracy against energy.

Coarse converters convert for less, and whoever waits for half a coarse code waits shorter. Nothing is trained again.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
from _chips import driven, ends, scores_on_chips, taken
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from equilog.cost import load_target
from equilog.cost.span import total
from equilog.drawing.style import GRID, INK, MUTED, SERIES
from equilog.hardware import Chip, Spec
from equilog.model import HybridDEQ
from equilog.objective import Objective
from equilog.pipeline import UNSEEN_CHIPS
from equilog.tasks import Data

BITS = (3, 4, 5, 6, 8)
COLUMNS = 4
Row = dict[str, Any]


def front(network: HybridDEQ, data: Data, objective: Objective, spec: Spec, chips: int, target: str) -> list[Row]:
    """Return, for each resolution of both converters, mean score of so many unseen chips and energy of the first.

    ``joule_chip`` is everything but the digital ends, ``joule_hybrid`` includes them. A resolution at which no chip
    rests, or the first does not settle in time, is left out.
    """
    found: list[Row] = []
    drives = driven(network, data.test_x)
    for count in BITS:
        coarse = spec.changed(dac={"bits": count}, adc={"bits": count})
        every = scores_on_chips(network, coarse, drives, data.test_y, objective, chips)
        scores = list(filter(math.isfinite, every))
        settling, report = taken(network, Chip(coarse, UNSEEN_CHIPS), data.test_x, load_target(target))
        if not scores or report is None:
            continue
        own = [v for k, v in report.hybrid_energy_joule.items() if k not in report.digital_energy_joule]
        found.append({
            "bits": count, "chips": statistics.fmean(scores), "settling_second": settling,
            "joule_chip": ends(total(own)), "joule_hybrid": ends(report.hybrid_energy),
        })  # fmt: skip
    return found


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write a picture: a panel a task, score against energy of all models, and of chips by the bits of converters."""
    tasks = list(dict.fromkeys(r["task"] for r in rows))
    columns = min(COLUMNS, len(tasks))
    colours = dict(zip(dict.fromkeys(r["model"] for r in rows), cycle((*SERIES, INK, MUTED))))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "equilog", "font.size": 8}):
        figure = Figure(figsize=(3.3 * columns, 2.9 * math.ceil(len(tasks) / columns)), layout="constrained")
        panels = figure.subplots(-(-len(tasks) // columns), columns, squeeze=False).ravel()
        for axes, task in zip(panels, tasks):
            _panel(axes, [r for r in rows if r["task"] == task], colours)
        for axes in panels[len(tasks) :]:
            axes.set_axis_off()
        figure.supxlabel("typical energy of an inference: with digital ends (points); chip alone, by bits (lines)")
        marks = [Line2D([], [], color=colour, marker="s", ls="", label=model) for model, colour in colours.items()]
        marks.append(Line2D([], [], color=INK, marker="o", ls="", mfc="none", label="the same model on chips"))
        figure.legend(handles=marks, loc="outside upper center", ncols=6, frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _panel(axes: Axes, rows: Sequence[Row], colours: Mapping[str, str]) -> None:
    for r in rows:
        colour, points = colours[r["model"]], r.get("front", [])
        if "joule_digital" in r:
            axes.plot(r["joule_digital"][1], r["ideal"], "s", color=colour, ms=5, alpha=0.8)
        if "joule_hybrid" in r:
            axes.plot(r["joule_hybrid"][1], r["chips"], "o", color=colour, ms=5, mfc="none")
        energy, score = [p["joule_chip"][1] for p in points], [p["chips"] for p in points]
        axes.plot(energy, score, ".-", color=colour, lw=1)
        for at, y, p in zip(energy, score, points):
            axes.annotate(str(p["bits"]), (at, y), (0, 3), textcoords="offset points", ha="center", fontsize=6)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    narrow = math.log10(high / low) < 1.5  # ticks at whole decades alone would say too little
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)) if narrow else LogLocator(10, numticks=5))
    axes.xaxis.set_major_formatter(EngFormatter("J"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(color=GRID, lw=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=MUTED, labelcolor=INK)
    axes.set_title(f"{rows[0]['task']}: {rows[0]['score']}", loc="left", fontsize=8)
