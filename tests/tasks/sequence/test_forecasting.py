"""Series are read row by row, split as published, windowed without a copy, and scored as tables have it."""

from __future__ import annotations

import gzip
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from archives import in_zip
from hypothesis import given
from hypothesis import strategies as st

from equilog.drawing.units import score_axis, score_text
from equilog.names import UserError
from equilog.objective import Scored
from equilog.tasks import get_task
from equilog.tasks.damage import Skipped
from equilog.tasks.sequence.csv_series import Layout, read_series
from equilog.tasks.sequence.etth1 import EttH1For96
from equilog.tasks.sequence.forecasting import DRIVE_SCALE, TrendAndSeason
from equilog.tasks.sequence.windows import ChangeOf, ForecastError, windows
from equilog.tasks.task import Data, ModelConfig

HOURLY = Layout(("a", "b"), timedelta(hours=1))
START = datetime(2016, 7, 1)
ETT = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")


def hourly(values: np.ndarray, names: tuple[str, ...] = ("a", "b")) -> list[str]:
    rows = [",".join([str(START + timedelta(hours=k)), *map(repr, row)]) for k, row in enumerate(values.tolist())]
    return [",".join(("date", *names)), *rows]


def written(place: Path, lines: list[str]) -> Path:
    place.write_text("\n".join(lines) + "\n")
    return place


def read(place: Path, skipped: Skipped | None = None, layout: Layout = HOURLY) -> np.ndarray:
    return read_series(place, ("s.csv",), layout, skipped or Skipped(), "get it there")


def numbers(rows: int, channels: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, channels))


@pytest.fixture(scope="module")
def ett(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the official layout: as long as its splits need and a little longer, with a day in every channel."""
    hours = np.arange(14_500)[:, None]
    values = np.sin(2 * np.pi * (hours / 24 + np.arange(7) / 7)) * np.arange(1, 8) + numbers(14_500, 7) + 5
    return written(tmp_path_factory.mktemp("ett") / "ETTh1.csv", hourly(values, ETT))


@pytest.fixture(scope="module")
def loaded(ett: Path) -> Data:
    return EttH1For96().load(ett)


def test_rows_are_read_to_the_digit(tmp_path: Path) -> None:
    values = numbers(50)
    place = written(tmp_path / "s.csv", hourly(values))
    np.testing.assert_array_equal(read(place), values)
    np.testing.assert_array_equal(read(tmp_path), values)
    np.testing.assert_array_equal(read(in_zip(tmp_path / "z.zip", {"in/s.csv": place.read_bytes()})), values)


def test_without_a_header_columns_may_be_numbered(tmp_path: Path) -> None:
    values, plain = numbers(9), Layout(("a", "b"), header=False)
    rows = [",".join(map(repr, row)) for row in values.tolist()]
    np.testing.assert_array_equal(read(written(tmp_path / "s.csv", rows), layout=plain), values)
    np.testing.assert_array_equal(read(written(tmp_path / "s.csv", ["0,1", *rows]), layout=plain), values)
    (tmp_path / "s.txt.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    found = read_series(tmp_path, ("s.txt.gz",), plain, Skipped(), "")
    np.testing.assert_array_equal(found, values)


DAMAGE = {
    "short": ("2016-07-01 04:00:00,1.0", "row of another length (2 columns, expected 3)"),
    "long": ("2016-07-01 04:00:00,1.0,2.0,3.0", "row of another length"),
    "nan": ("2016-07-01 04:00:00,1.0,nan", "value that is no finite number (b = 'nan')"),
    "empty": ("2016-07-01 04:00:00,,1.0", "value that is no finite number (a = '')"),
    "inf": ("2016-07-01 04:00:00,inf,1.0", "value that is no finite number"),
    "word": ("2016-07-01 04:00:00,x,1.0", "value that is no finite number"),
    "date": ("yesterday,1.0,1.0", "unreadable date ('yesterday')"),
    "late": ("2016-07-01 05:00:00,1.0,1.0", "row that is not one step after the one before"),
    "again": ("2016-07-01 03:00:00,1.0,1.0", "row that is not one step after the one before"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_row_is_refused_by_line_or_holds_the_row_before(tmp_path: Path, kind: str) -> None:
    values = numbers(10)
    lines = hourly(values)
    lines[5], reason = DAMAGE[kind]  # the fifth row of values
    place = written(tmp_path / "s.csv", lines)
    with pytest.raises(UserError) as refused:
        read(place)
    assert f"s.csv, line 6: {reason}" in str(refused.value)
    skipped = Skipped("skip")
    found = read(place, skipped)
    assert sum(skipped.counts.values()) == 1
    expected = values.copy()
    expected[4] = values[3]
    np.testing.assert_array_equal(found, expected)


def test_a_row_that_is_not_there_is_named(tmp_path: Path) -> None:
    lines = hourly(numbers(10))
    with pytest.raises(UserError, match=r"line 4: row that is not one step .*expected 2016-07-01 02:00:00"):
        read(written(tmp_path / "s.csv", lines[:3] + lines[4:]))


def test_the_first_rows_hold_the_first_good_one(tmp_path: Path) -> None:
    values = numbers(6)
    lines = hourly(values)
    lines[1], lines[2] = "2016-07-01 00:00:00,1", "2016-07-01 01:00:00,x,1"
    found = read(written(tmp_path / "s.csv", lines), Skipped("skip"))
    np.testing.assert_array_equal(found, values[[2, 2, 2, 3, 4, 5]])


def test_files_that_are_another_thing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="get it there"):
        read(tmp_path / "none")
    with pytest.raises(UserError, match=r"holds no s\.csv; get it there"):
        read(tmp_path)
    with pytest.raises(UserError, match="the first line is 'date,b,a', expected 'date,a,b'"):
        read(written(tmp_path / "s.csv", hourly(numbers(3), ("b", "a"))))
    with pytest.raises(UserError, match="no row can be used"):
        read(written(tmp_path / "s.csv", ["date,a,b"]))
    (tmp_path / "s.csv").write_bytes(b"date,a,b\n\xff\xfe\x00")
    with pytest.raises(UserError, match="no whole text file"):
        read(tmp_path / "s.csv")
    (tmp_path / "s.csv").write_bytes(b"")
    with pytest.raises(UserError, match="the first line is ''"):
        read(tmp_path / "s.csv")


@given(rows=st.integers(2, 40), channels=st.integers(1, 4), look_back=st.integers(1, 6), horizon=st.integers(1, 6))
def test_windows_are_what_slices_are(rows: int, channels: int, look_back: int, horizon: int) -> None:
    series = torch.randn(rows, channels)
    if rows < look_back + horizon:
        with pytest.raises(ValueError, match=f"{rows} rows"):
            windows(series, look_back, horizon)
        return
    x, y = windows(series, look_back, horizon)
    k = 0
    for start in range(rows - look_back - horizon + 1):
        for c in range(channels):
            assert torch.equal(x[k], series[start : start + look_back, c])
            assert torch.equal(y[k], series[start + look_back - 1 : start + look_back + horizon, c])
            k += 1
    assert len(x) == len(y) == k
    assert x.untyped_storage().nbytes() == y.untyped_storage().nbytes() == 4 * rows * channels


def test_windows_do_not_change_with_the_series() -> None:
    series = torch.zeros(9, 2)
    x, _ = windows(series, 3, 2)
    series += 1
    assert not x.any()


def test_the_official_split_in_hours(ett: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series, _, _ = EttH1For96().series(ett)
    torch.testing.assert_close(series[:8640].mean(0), torch.zeros(7), atol=1e-5, rtol=0)
    torch.testing.assert_close(series[:8640].std(0, correction=0), torch.ones(7))
    for horizon in (96, 192, 336, 720):
        task = get_task(f"etth1-{horizon}")
        assert str(horizon) in task.summary
        monkeypatch.setattr(type(task), "series", lambda self, folder: (series, Skipped(), str(folder)))
        data = task.load(ett)
        assert len(data.train_x) == 7 * (8640 - 336 - horizon + 1)
        assert len(data.test_x) == 7 * (2880 - horizon + 1)
        # The last known value of the first test window is that of the last validation hour, and no hour is left over.
        torch.testing.assert_close(data.test_y[:7, 0], series[11_519])
        torch.testing.assert_close(data.test_y[-7:, -1], series[14_399])
        torch.testing.assert_close(data.train_y[-7:, -1], series[8_639])
        assert (data.test_x.shape[1], data.test_y.shape[1]) == (336, horizon + 1)


def test_exchange_rates_are_split_as_published(tmp_path: Path) -> None:
    rows = [",".join(map(repr, row)) for row in numbers(7588, 8).tolist()]
    place = written(tmp_path / "exchange_rate.csv", ["0,1,2,3,4,5,6,7", *rows])
    data = get_task("exchange-rate").load(place)
    assert len(data.train_x) == 8 * (5311 - 96 - 96 + 1)
    assert len(data.test_x) == 8 * (1517 - 96 + 1)
    with pytest.raises(UserError, match="300 rows: expected more"):
        get_task("exchange-rate").load(written(tmp_path / "exchange_rate.csv", rows[:300]))


def test_series_that_cannot_be_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ETTh1\.csv of 20 rows: expected 14400"):
        get_task("etth1-96").load(written(tmp_path / "ETTh1.csv", hourly(numbers(20, 7), ETT)))
    values = numbers(14_400, 7)
    values[:, 6] = 3.0
    with pytest.raises(UserError, match="channel 'OT' is the same in all training rows"):
        get_task("etth1-96").load(written(tmp_path / "ETTh1.csv", hourly(values, ETT)))


def test_skipped_rows_are_counted_and_later_hours_keep_their_place(ett: Path, loaded: Data, tmp_path: Path) -> None:
    lines = ett.read_text().splitlines()
    lines[100] = lines[100][:30]
    task = get_task("etth1-96")
    task.on_damage = "skip"
    data = task.load(written(tmp_path / "ETTh1.csv", lines))
    assert data.skipped == {"row of another length": 1}
    torch.testing.assert_close(data.test_y, loaded.test_y, atol=2e-3, rtol=0)


def test_the_score_is_the_error_of_values_whatever_the_level() -> None:
    y, output = torch.randn(5, 9, dtype=torch.float64), torch.randn(5, 8, dtype=torch.float64)
    goal = ForecastError()
    expected = ((y[:, :1] + output - y[:, 1:]) ** 2).mean()
    assert float(goal.loss(output, y)) == pytest.approx(float(expected))
    assert float(goal.score(output, y)) / 5 == pytest.approx(float(expected))
    assert float(goal.score(output, y + 100)) == pytest.approx(float(goal.score(output, y)))
    assert float(goal.score(y[:, 1:] - y[:, :1], y)) == 0
    for shape in ((5, 9), (4, 8), (5, 8, 1)):
        with pytest.raises(ValueError, match="the last known value first"):
            goal.score(torch.zeros(shape), y)


def test_a_plain_score_is_shown_without_a_prefix() -> None:
    scored = Scored(**Scored.fields_of(ForecastError()))
    assert score_text(scored, 0.3736) == "0.374"
    assert score_axis(scored, 0.4) == (1.0, "")


def test_a_forecaster_of_values_becomes_one_of_changes() -> None:
    class Held(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, -1:].expand(-1, 4)

    assert not ChangeOf(Held())(torch.randn(3, 6)).any()


def test_drives_are_the_means_that_they_are_said_to_be() -> None:
    x = torch.randn(4, 12)
    drives = TrendAndSeason(12, 3)(x) / DRIVE_SCALE
    relative = (x - x[:, -1:]).view(4, 4, 3)
    expected = torch.cat([relative[:, -1], relative.mean(1), relative.mean(2)], 1)
    torch.testing.assert_close(drives, expected)
    assert TrendAndSeason(12, 3)(1e3 * x).abs().max() <= 1
    torch.testing.assert_close(TrendAndSeason(12, 3)(x + 7), TrendAndSeason(12, 3)(x))


@pytest.mark.parametrize("name", ["etth1-96", "etth1-720", "exchange-rate"])
def test_the_untrained_model_holds_the_last_value(name: str) -> None:
    task = get_task(name)
    model = task.build(task.model_defaults)
    assert torch.equal(model(torch.randn(3, task.look_back)), torch.zeros(3, task.horizon))
    torch.manual_seed(0)
    first = task.build(task.model_defaults).cell.input_weight
    torch.manual_seed(0)
    assert torch.equal(task.build(task.model_defaults).cell.input_weight, first)
    with pytest.raises(UserError, match="drives = 7: expected"):
        task.build(ModelConfig(states=8, drives=7))


def test_measures_are_right_for_a_known_answer(loaded: Data) -> None:
    task, data = EttH1For96(), loaded.limited(3000)
    truth = data.test_y[:, 1:].double() - data.test_y[:, :1].double()
    where = iter((0, 2000))

    def exact(x: torch.Tensor) -> torch.Tensor:
        start = next(where)
        return truth[start : start + len(x)]

    found = {m.name: m.value for m in task.measures(exact, data, ideal=True)}
    assert found["MAE"] == 0
    assert found["MSE, last value held"] == pytest.approx(float(truth.square().mean()))
    (wrong,) = task.measures(lambda x: torch.zeros(len(x), 96, dtype=torch.float64), data, ideal=False)
    assert wrong.value == pytest.approx(found["MAE, last value held"])


def test_pictures_show_the_channels_beside_each_other(loaded: Data) -> None:
    from matplotlib.figure import Figure

    data = loaded.limited(140)
    asked = []

    def held(x: torch.Tensor) -> torch.Tensor:
        asked.append(x)
        return torch.zeros(len(x), 96, dtype=torch.float64)

    forecast, ahead = EttH1For96().pictures(held, held, data)
    assert torch.equal(asked[0], data.test_x[74:77])  # window 10 of 20, channels 4 to 6
    for picture in (forecast, ahead):
        figure = Figure(figsize=picture.size, layout="constrained")
        picture.draw(figure)
        labels = [axes.get_ylabel() for axes in figure.axes]
        assert labels == (["LUFL", "LULL", "OT"] if picture is forecast else ["mean squared error"])
