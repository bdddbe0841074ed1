"""Windows of a series as strided views: every window is a sample, and none is copied."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def windows(series: Tensor, look_back: int, horizon: int) -> tuple[Tensor, Tensor]:
    """Return every window of every channel: what is known, and the last known value before what follows.

    Both are views into one copy of the series. Sample k is channel ``k mod channels`` of the window that begins at row
    ``k // channels``.

    Args:
        series: shape ``(rows, channels)``.
        look_back: rows that are known.
        horizon: rows that follow.

    Returns:
        inputs ``(samples, look_back)`` and targets ``(samples, 1 + horizon)``, samples =
        channels·(rows − look_back − horizon + 1).

    Raises:
        ValueError: for a series shorter than one window.
    """
    rows, channels = series.shape
    count = rows - look_back - horizon + 1
    if min(look_back, horizon) < 1 or count < 1:
        raise ValueError(
            f"{rows} rows: expected at least look-back + horizon = {look_back} + {horizon}, each of 1 or more"
        )
    flat = series.detach().clone(memory_format=torch.contiguous_format).flatten()
    # Element (window w, channel c, time t) lies at (w + t) channels + c = (w channels + c) + t channels.
    known = flat.as_strided((count * channels, look_back), (1, channels))
    after = flat.as_strided((count * channels, 1 + horizon), (1, channels), (look_back - 1) * channels)
    return known, after


class FromLast(nn.Module):
    """``x_t − x_last``: the level of a window is taken off, as NLinear does (Zeng et al., AAAI 2023)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return shape of x, ``(batch, look_back)``."""
        return x - x[:, -1:]


class ChangeOf(nn.Module):
    """A forecaster of values as one of changes from the last known value, for :class:`ForecastError`.

    Args:
        forecaster: from windows ``(batch, look_back)`` to values ``(batch, horizon)``.
    """

    def __init__(self, forecaster: nn.Module) -> None:
        super().__init__()
        self.forecaster = forecaster

    def forward(self, x: Tensor) -> Tensor:
        """Return changes, shape ``(batch, horizon)``."""
        y: Tensor = self.forecaster(x) - x[:, -1:]
        return y


class ForecastError:
    """Mean squared error of forecasts, which are changes from the last known value.

    With targets ``y = [last, y_1 … y_H]`` and outputs ``ŷ``, the changes, the errors are ``e_h = last + ŷ_h − y_h``;
    the level cancels, so the figures are those of values as published tables have them, on standardised values.

    - loss: the mean of ``e²``.
    - score "mse": the mean of ``e²`` over the horizon, a sample.
    """

    score_name = "mse"
    higher_is_better = False
    hits = False
    score_unit: str | None = ""

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Return the mean squared error; raises ``ValueError`` for shapes that do not fit."""
        return self.errors(output, y).square().mean()

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        """Return the sum of the samples' mean squared errors, float64."""
        return self.errors(output.double(), y.double()).square().mean(1).sum()

    def same_answer(self, output: Tensor, other: Tensor) -> None:
        """Return None: no two answers are ever the same."""

    @staticmethod
    def errors(output: Tensor, y: Tensor) -> Tensor:
        """Return e, shape ``(batch, horizon)``, of outputs ``(batch, horizon)`` and targets ``(batch, 1 + horizon)``.

        Raises:
            ValueError: for other shapes.
        """
        if output.ndim != 2 or y.shape != (len(output), output.shape[1] + 1):
            raise ValueError(
                f"outputs of shape {tuple(output.shape)} and targets of shape {tuple(y.shape)}: expected (batch, "
                "horizon) and (batch, 1 + horizon), the last known value first"
            )
        return output - (y[:, 1:] - y[:, :1])
