"""Pictures of forecasts: some beside what came, and the error at every step of the horizon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from equilog.tasks.beside import IDEAL, TWIN, curves_beside
from equilog.tasks.measures import Picture
from equilog.tasks.sequence.windows import ForecastError
from equilog.tasks.task import Data, Predict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 3
"""channels of the forecast that is drawn, the last ones"""
_SAMPLES = 1000
"""over which the error at every step is averaged, evenly through the test samples"""


def forecasts(ideal: Predict, twin: Predict, data: Data, channels: Sequence[str], unit: str) -> Picture:
    """Return the forecast of the window in the middle of the test samples, of a few channels."""
    count = len(channels)
    first = count * (len(data.test_x) // count // 2)
    shown = range(max(0, count - _SHOWN), count)
    rows = slice(first + shown.start, first + count)
    x, y = data.test_x[rows], data.test_y[rows].double()
    last = y[:, :1]

    def named(values: Tensor) -> dict[str, Tensor]:
        return {channels[c]: value for c, value in zip(shown, values)}

    return curves_beside(
        "forecast",
        "One forecast",
        f"What the window in the middle of the test samples is followed by, in {len(shown)} of {count} channels; "
        "values in standard deviations of the training rows.",
        torch.arange(1, y.shape[1]),
        named(y[:, 1:]),
        named(last + ideal(x)),
        named(last + twin(x)),
        across=f"{unit} ahead",
    )


def error_ahead(ideal: Predict, twin: Predict, data: Data, unit: str) -> Picture:
    """Return the mean squared error at every step ahead: of both models, and of the last value held."""
    some = torch.linspace(0, len(data.test_x) - 1, min(_SAMPLES, len(data.test_x))).round().long()
    x, y = data.test_x[some], data.test_y[some].double()
    outputs = {"last value held": torch.zeros_like(y[:, 1:]), IDEAL: ideal(x), TWIN: twin(x)}
    found = {name: ForecastError.errors(output.double(), y).square().mean(0) for name, output in outputs.items()}
    at = torch.arange(1, y.shape[1])

    def draw(figure: Figure) -> None:
        from equilog.drawing.style import ANALOG, INK, SIMULATOR  # noqa: PLC0415  # an optional extra

        axes = figure.subplots()
        for (name, values), (colour, line) in zip(found.items(), ((INK, ":"), (SIMULATOR, "--"), (ANALOG, "-"))):
            axes.plot(at, values, line, color=colour, label=name)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(f"{unit} ahead")
        axes.set_ylabel("mean squared error")
        figure.legend(loc="outside upper right", ncols=3)

    return Picture(
        key="error-ahead",
        title="Error by how far ahead",
        caption=f"Mean over {len(some)} test samples of all channels, evenly through the test period.",
        size=(6.4, 2.6),
        draw=draw,
    )
