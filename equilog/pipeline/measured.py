"""What a run's task measures and draws of its model, ideal and on the chip that is built."""

from __future__ import annotations

import copy
from functools import cache, partial
from typing import Any

from torch import nn

from equilog.equilibrium import Auto, EquilibriumLayer
from equilog.hardware import Chip
from equilog.model import HybridDEQ
from equilog.tasks import Data, Predict, Task

# Physics is looked at to more digits than training needs.
RTOL = 1e-11


def predictor(model: nn.Module, chip: Chip | None = None) -> Predict:
    """Return a model as a function of inputs, in float64 and on the tape; ideal without a chip, else on its twin.

    Any module from inputs to outputs will do; with a chip, a :class:`~equilog.model.HybridDEQ`.
    """

    @cache
    def ready() -> Predict:  # most tasks measure nothing: then nothing is copied or programmed
        exact = copy.deepcopy(model).double()
        if not isinstance(exact, HybridDEQ):
            return exact
        exact.equilibrium = EquilibriumLayer(Auto(rtol=RTOL, probe=False))
        return exact if chip is None else partial(exact, chip=exact.program(chip))

    return lambda x: ready()(x.double())


def measured(task: Task, ideal: Predict, twin: Predict, data: Data) -> dict[str, list[dict[str, Any]]]:
    """Return what the task measures, as data by "ideal" and "twin"; empty for a task that measures nothing."""
    of_ideal = task.measures(ideal, data, ideal=True)
    of_twin = task.measures(twin, data, ideal=False)
    if not (of_ideal or of_twin):
        return {}
    return {"ideal": [m.model_dump() for m in of_ideal], "twin": [m.model_dump() for m in of_twin]}


def drawn(task: Task, ideal: Predict, twin: Predict, data: Data) -> list[tuple[dict[str, str], str]]:
    """Return the task's pictures, each ``{key, title, caption}`` and an SVG document."""
    from equilog.drawing.style import document, drawing  # noqa: PLC0415  # an optional extra

    found = []
    for picture in task.pictures(ideal, twin, data):
        with drawing(picture.key):
            svg = document(picture.size, picture.draw)
        found.append(({"key": picture.key, "title": picture.title, "caption": picture.caption}, svg))
    return found
