"""ETTh1, an electricity transformer's load and oil temperature (Zhou et al., AAAI 2021), at four horizons."""

from __future__ import annotations

from datetime import timedelta

from equilog.names import UserError
from equilog.tasks.sequence.csv_series import Layout
from equilog.tasks.sequence.forecasting import Forecasting
from equilog.tasks.task import ModelConfig


class _EttH1(Forecasting):
    """Two years of a transformer's load and oil temperature, an hour a row; a subclass says how far ahead."""

    data_set = "etth1"
    files = ("ETTh1.csv",)
    home = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/"
    checksum = "sha256:f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066"
    layout = Layout(("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"), timedelta(hours=1))
    look_back, period, unit = 336, 24, "hours"
    split = (
        "official: 12 months of 30 days train, 4 are validation and unused, 4 test; every test window, the last "
        "incomplete batch included"
    )
    caveat = (
        "one transformer; errors are on values standardised by the training rows, as in published tables, and those "
        "with another look-back are not the same task; licence CC BY-ND 4.0: unmodified only"
    )
    model_defaults = ModelConfig(states=32, drives=62, margin=0.6)

    def borders(self, rows: int) -> tuple[int, int, int]:
        """Return the official borders; raises ``UserError`` for a file that ends before."""
        month = 30 * 24
        if rows < 20 * month:
            raise UserError(f"{self.files[0]} of {rows} rows: expected {20 * month}, 20 months of 30 days, or more")
        return 12 * month, 16 * month, 20 * month


def _ett_summary(horizon: int) -> str:
    return f"ETTh1, seven series of an electricity transformer, hourly: {horizon} hours ahead from the 336 before"


class EttH1For96(_EttH1):
    """Four days ahead."""

    name, horizon, summary = "etth1-96", 96, _ett_summary(96)


class EttH1For192(_EttH1):
    """Eight days ahead."""

    name, horizon, summary = "etth1-192", 192, _ett_summary(192)


class EttH1For336(_EttH1):
    """Two weeks ahead."""

    name, horizon, summary = "etth1-336", 336, _ett_summary(336)


class EttH1For720(_EttH1):
    """Thirty days ahead."""

    name, horizon, summary = "etth1-720", 720, _ett_summary(720)
