"""Forecasts of several series at once, each channel on its own: look back, settle, and say what follows.

The parameterization is fixed: the window relative to its last value, as its last period, the mean of each phase of the
period, and the mean of each period, which is trend and season (Zeng et al., AAAI 2023) without a weight. All that is
learnt lies in the equilibrium and in the linear readout of changes from the last value.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from equilog.cells import CircuitCell
from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.objective import Objective
from equilog.tasks.damage import Skipped
from equilog.tasks.files.download import download
from equilog.tasks.measures import Measure, Picture
from equilog.tasks.sequence.csv_series import Layout, read_series
from equilog.tasks.sequence.forecast_pictures import error_ahead, forecasts
from equilog.tasks.sequence.windows import ForecastError, FromLast, windows
from equilog.tasks.task import Data, ModelConfig, Predict, Task
from equilog.training.config import TrainConfig
from equilog.training.curriculum import ideal_then_twin

DRIVE_SCALE = 0.2
"""of standardised values at the DACs: neurons then work where tanh bends little, and a window is not clipped before
it moves five standard deviations"""
_BATCH = 2000


class TrendAndSeason(nn.Module):
    """Drives of a window: its last period, the mean at each phase of it, the mean of each period; clipped at ±1.

    Args:
        look_back: length of windows; a multiple of the period.
        period: P in samples; drives are 2P + look_back/P.
    """

    means: Tensor

    def __init__(self, look_back: int, period: int) -> None:
        super().__init__()
        eye = torch.eye(look_back, device="cpu").view(-1, period, look_back)
        self.from_last = FromLast()
        self.register_buffer("means", DRIVE_SCALE * torch.cat([eye[-1], eye.mean(0), eye.mean(1)]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return drives of shape ``(batch, drives)`` for windows ``(batch, look_back)``."""
        return nn.functional.hardtanh(self.from_last(x) @ self.means.T)


class Forecasting(Task):
    """A file of series, split in time, and a horizon. Subclasses say which."""

    data_set: ClassVar[str]
    files: ClassVar[tuple[str, ...]]
    """names of the file, the official one first"""
    home: ClassVar[str]
    checksum: ClassVar[str]
    """of the official file, as pooch takes it"""
    layout: ClassVar[Layout]
    look_back: ClassVar[int]
    horizon: ClassVar[int]
    period: ClassVar[int]
    """of the drives, see :class:`TrendAndSeason`"""
    unit: ClassVar[str]
    """what a step in time is, for pictures"""
    train_defaults = TrainConfig(stages=ideal_then_twin(4), batch_size=512, learning_rate=0.005, weight_decay=0.1)
    verify_defaults: ClassVar[dict[str, Any]] = {"settle_samples": 1, "chain_samples": 1, "chips": 10}

    @abstractmethod
    def borders(self, rows: int) -> tuple[int, int, int]:
        """Return where training rows end, and where test rows begin and end; raises ``UserError`` for too few rows."""

    def series(self, folder: Path | None = None) -> tuple[Tensor, Skipped, str]:
        """Return the standardised series ``(rows, channels)``, float32, what was skipped, and where it is from.

        Mean and standard deviation are those of the training rows.

        Raises:
            UserError: as :func:`~equilog.tasks.sequence.csv_series.read_series`; for a channel that does not change.
        """
        hint = f"get {self.home}{self.files[0]} and name it, or a folder that holds it, with --data"
        if folder is None:
            folder = download(self.data_set, self.home, {self.files[0]: self.checksum}, hint)
        skipped = Skipped(self.on_damage)
        values = torch.from_numpy(read_series(folder, self.files, self.layout, skipped, hint))
        train = values[: self.borders(len(values))[0]]
        std = train.std(0, correction=0)
        if not bool((std > 0).all()):
            channel = self.layout.channels[int((std > 0).logical_not().nonzero()[0])]
            raise UserError(
                f"{folder}: channel {channel!r} is the same in all training rows: it cannot be standardised"
            )
        return ((values - train.mean(0)) / std).float(), skipped, str(folder)

    def load(self, folder: Path | None = None) -> Data:
        """Return windows of the series, read from `folder` or the file itself, or by a checksummed download."""
        series, skipped, source = self.series(folder)
        train, first, last = self.borders(len(series))
        train_x, train_y = windows(series[:train], self.look_back, self.horizon)
        # The first test window looks back into what comes before: its forecast begins at the first test row.
        test_x, test_y = windows(series[first - self.look_back : last], self.look_back, self.horizon)
        return Data(train_x, train_y, test_x, test_y, source, skipped.counts)

    def build(self, config: ModelConfig) -> HybridDEQ:
        """Return fixed means as drives, the equilibrium, a linear readout that begins at "as it is now".

        Raises:
            UserError: for another number of drives than there are means.
        """
        parameterize = TrendAndSeason(self.look_back, self.period)
        drives = len(parameterize.means)
        if config.drives != drives:
            raise UserError(f"drives = {config.drives}: expected {drives}, one a mean of the window")
        change = nn.Linear(config.states, self.horizon)
        nn.init.zeros_(change.weight)
        nn.init.zeros_(change.bias)
        return HybridDEQ(
            parameterize,
            CircuitCell(config.states, config.drives, margin=config.margin),
            nn.Sequential(_Scaled(1 / DRIVE_SCALE), change),
        )

    def objective(self, data: Data, config: TrainConfig) -> Objective:
        """Return the mean squared error on standardised values."""
        return ForecastError()

    @torch.no_grad()
    def measures(self, predict: Predict, data: Data, *, ideal: bool) -> list[Measure]:
        """Return the mean absolute error, and with the ideal model both errors of the last value held."""
        x, y = data.test_x, data.test_y
        total = 0.0
        for start in range(0, len(x), _BATCH):
            part = slice(start, start + _BATCH)
            total += float(ForecastError.errors(predict(x[part]), y[part].double()).abs().mean(1).sum())
        found = [Measure(name="MAE", value=total / len(x), note="mean absolute error on standardised values")]
        if ideal:
            held = (y[:, 1:] - y[:, :1]).double()
            note = "what the last known value, repeated, reaches"
            found += [
                Measure(name="MSE, last value held", value=float(held.square().mean()), note=note),
                Measure(name="MAE, last value held", value=float(held.abs().mean()), note=note),
            ]
        return found

    @torch.no_grad()
    def pictures(self, ideal: Predict, twin: Predict, data: Data) -> list[Picture]:
        """Return forecasts of the last channels beside what came, and the error at every step of the horizon."""
        channels = self.layout.channels
        return [forecasts(ideal, twin, data, channels, self.unit), error_ahead(ideal, twin, data, self.unit)]


class _Scaled(nn.Module):
    """``g z``, in units of the drives' scale: the optimiser's steps are then as far here as elsewhere."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, z: Tensor) -> Tensor:
        """Return shape of z."""
        return self.gain * z
