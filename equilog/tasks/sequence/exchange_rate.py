"""Exchange rates of eight currencies (Lai et al., SIGIR 2018): a set on which hardly anything can be foretold."""

from __future__ import annotations

from equilog.names import UserError
from equilog.tasks.sequence.csv_series import Layout
from equilog.tasks.sequence.forecasting import Forecasting
from equilog.tasks.task import ModelConfig


class ExchangeRate(Forecasting):
    """Rates of eight currencies against the US dollar, 1990 to 2016, a working day a row (Lai et al., SIGIR 2018)."""

    name = data_set = "exchange-rate"
    files = ("exchange_rate.txt.gz", "exchange_rate.txt", "exchange_rate.csv")
    home = "https://raw.githubusercontent.com/laiguokun/multivariate-time-series-data/master/exchange_rate/"
    checksum = "sha256:6a4fbb561dcdee43f071a83badbeec9223a335552278348656738b556f1c2e9d"
    layout = Layout(
        ("Australia", "Britain", "Canada", "Switzerland", "China", "Japan", "New Zealand", "Singapore"), header=False
    )
    look_back, horizon, period, unit = 96, 96, 12, "days"
    summary = "exchange rates of eight currencies, daily: 96 days ahead from the 96 before"
    split = "7 : 1 : 2 in time, the middle part unused; every test window, the last incomplete batch included"
    caveat = (
        "close to a random walk: the last value held is as good as published models, and a few percent less say "
        "little; the file has no dates"
    )
    model_defaults = ModelConfig(states=32, drives=32, margin=0.6)

    def borders(self, rows: int) -> tuple[int, int, int]:
        """Return borders at 70 % and 80 % as published code has them; raises ``UserError`` for too few rows."""
        train, test = int(0.7 * rows), int(0.2 * rows)
        if min(train - self.look_back, test) < self.horizon:
            raise UserError(
                f"{rows} rows: expected more, for a window of {self.look_back} + {self.horizon} in each part"
            )
        return train, rows - test, rows
