"""DLinear is the sum of two linear maps that it is said to be; PatchTST forecasts, and says so if it is not there."""

from __future__ import annotations

import sys

import pytest
import torch

from equilog.baselines.dlinear import DLinear
from equilog.baselines.matching import count_of, matched, parameter_count
from equilog.baselines.nlinear import NLinear
from equilog.baselines.patchtst import PatchTST
from equilog.hardware import load_spec
from equilog.names import UserError
from equilog.tasks.sequence.windows import ChangeOf, ForecastError, windows
from equilog.training import TrainConfig, fit
from equilog.training.curriculum import ideal


def test_trend_is_the_mean_with_its_ends_repeated() -> None:
    x = torch.randn(3, 10)
    trend, rest = DLinear(10, 4, kernel=5).split(x)
    torch.testing.assert_close(trend[:, 4], x[:, 2:7].mean(1))
    torch.testing.assert_close(trend[:, 0], (3 * x[:, 0] + x[:, 1] + x[:, 2]) / 5)
    torch.testing.assert_close(trend + rest, x)
    with pytest.raises(ValueError, match="kernel = 4: expected an odd number"):
        DLinear(10, 4, kernel=4)


def test_dlinear_begins_at_the_mean_of_the_window() -> None:
    network, x = DLinear(336, 96), torch.randn(2, 336)
    assert parameter_count(network) == 2 * (336 + 1) * 96
    bias = network.trend.bias + network.season.bias
    torch.testing.assert_close(network(x), x.mean(1, keepdim=True) + bias)


def test_nlinear_is_the_least_squares_map_of_changes() -> None:
    series = torch.randn(80, 2, generator=torch.Generator().manual_seed(3)).cumsum(0)
    x, y = windows(series, 6, 4)
    network = NLinear(6, 4)
    network.solve_(x, y, ridge=1e-9)
    changes = y[:, 1:] - y[:, :1]
    wanted = torch.linalg.lstsq((x - x[:, -1:])[:, :-1], changes).solution
    torch.testing.assert_close(network(x), (x - x[:, -1:])[:, :-1] @ wanted, rtol=1e-3, atol=1e-3)
    loss = ForecastError().loss
    free = float(loss(network(x), y).detach())
    network.solve_(x, y)
    assert free < float(loss(network(x), y).detach()) < float(changes.square().mean())
    with pytest.raises(ValueError, match=r"targets \(142, 4\): expected above 0, and \(samples, 5\)"):
        network.solve_(x, y[:, 1:])


def test_dlinear_learns_a_season_by_heart() -> None:
    series = torch.sin(2 * torch.pi * torch.arange(200) / 24)[:, None]
    x, y = windows(series, 48, 12)
    network = ChangeOf(DLinear(48, 12))
    settings = TrainConfig(stages=ideal(8), batch_size=16, learning_rate=0.02, weight_decay=0.0)
    fit(network, x, y, load_spec("ideal"), settings, objective=ForecastError(), progress=False)
    assert float(ForecastError().loss(network(x), y).detach()) < 1e-2


def test_patchtst_is_equivariant_to_level_and_scale_and_can_be_matched() -> None:
    pytest.importorskip("transformers", reason="an extra: pip install 'equilog[baselines]'")
    network = PatchTST(64, 8, dropout=0.0).eval()
    x = torch.randn(3, 64)
    torch.testing.assert_close(network(5 * x + 2), 5 * network(x) + 2, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(torch.cat([network(one[None]) for one in x]), network(x), atol=1e-5, rtol=1e-5)
    found = matched(lambda width: PatchTST(64, 8, 4 * width), 20_000)
    assert abs(parameter_count(found) - 20_000) < 5_000
    with pytest.raises(ValueError, match="width = 6: expected a multiple of 4"):
        PatchTST(64, 8, 6)
    assert count_of(lambda: PatchTST(336, 96)) > 60_000


def test_patchtst_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match="needs transformers: pip install"):
        PatchTST(64, 8)
