"""A sample of several rows: every row settles for itself, and whoever counts samples counts samples."""

from __future__ import annotations

import pytest
import torch
from builders import generator, spec_with, stages
from torch import Tensor, nn

from equilog.cells import CircuitCell
from equilog.circuit.ngspice import Ngspice
from equilog.cost import estimate
from equilog.cost.work import Work
from equilog.devices.ladder import score_on, verify
from equilog.devices.ladder_report import AT_REST, IN_TIME
from equilog.devices.twin import TwinDevice
from equilog.hardware import Chip, Population
from equilog.model import HybridDEQ, samples_at_once
from equilog.pipeline import mean_score
from equilog.tasks.sequence.next_token import NextToken
from equilog.training import TrainConfig, fit
from equilog.yields import StudyConfig
from equilog.yields.bench import Bench

ROWS, FEATURES, CLASSES = 3, 4, 5


def model(rows: int = ROWS) -> HybridDEQ:
    torch.manual_seed(0)
    front = nn.Sequential(nn.Linear(FEATURES, 2), nn.Tanh(), nn.Flatten(0, 1))
    readout = nn.Sequential(nn.Linear(4, CLASSES), nn.Unflatten(-2, (-1, rows)))
    return HybridDEQ(front, CircuitCell(4, 2), readout, rows=rows)


def data(samples: int = 6, rows: int = ROWS) -> tuple[Tensor, Tensor]:
    draw = generator(1)
    x = torch.randn(samples, rows, FEATURES, generator=draw)
    return x, torch.randint(CLASSES, (samples, rows), generator=draw)


def test_rows_are_counted_by_the_model() -> None:
    assert samples_at_once(model(), 10) == 3
    assert samples_at_once(model(), 2) == 1
    assert samples_at_once(nn.Linear(1, 1), 10) == 10
    with pytest.raises(ValueError, match="rows = 0: expected at least one"):
        HybridDEQ(nn.Identity(), CircuitCell(2, 2), nn.Identity(), rows=0)


def test_a_row_gives_what_it_gives_alone() -> None:
    whole, alone, (x, _) = model().double(), model(1).double(), data()
    x, chip = x.double(), Chip(spec_with("rram"), 2)
    for where in (None, chip):
        together = whole(x, where)
        apart = alone(x.reshape(-1, 1, FEATURES), where)
        torch.testing.assert_close(together, apart.view(together.shape), rtol=0, atol=1e-9)


def test_a_population_has_its_chips_in_front() -> None:
    net, (x, _) = model().double(), data()
    spec = spec_with("rram")
    out = net(x.double(), Population(spec, (4, 5)))
    assert out.shape == (2, 6, ROWS, CLASSES)
    torch.testing.assert_close(out[1], net(x.double(), Chip(spec, 5)), rtol=0, atol=1e-8)


def test_scores_do_not_depend_on_the_parts_they_are_taken_in(monkeypatch: pytest.MonkeyPatch) -> None:
    net, (x, y), goal, device = model(), data(20), NextToken(), TwinDevice(Chip(spec_with("rram"), 2))
    whole = score_on(net, device, x, y, goal)
    assert mean_score(net, x, y, goal) == pytest.approx(float(goal.score(net(x).detach(), y)) / 20)
    monkeypatch.setattr("equilog.devices.ladder.SCORED_ROWS", 7)
    assert score_on(net, device, x, y, goal) == pytest.approx(whole, abs=1e-9)


def test_the_ladder_settles_every_row(simulator: Ngspice) -> None:
    net, (x, y), chip = model(), data(2), Chip(spec_with("rram"), 2)
    ladder = verify(net, chip, x, y, objective=NextToken(), settle_samples=4, chain_samples=0, simulator=simulator)
    report = ladder.report
    assert (report.samples, report.rows_a_sample, report.row) == (2, ROWS, "row")
    assert report.counted == "2 samples of 3 rows at rest, 4 rows in time"
    assert len(report.settling.time_second) == len(report.sample_errors) == 2 * ROWS
    assert [wave.sample for wave in ladder.waveforms] == [0, 1, 2, 3]
    for name in (AT_REST, IN_TIME):
        rung = report.rung(name)
        assert rung is not None
        assert rung.agrees
    at_rest = report.rung(AT_REST)
    assert at_rest is not None
    assert at_rest.score == pytest.approx(score_on(net, TwinDevice(chip), x, y, NextToken()), abs=1e-6)


def test_a_bench_reads_what_the_twin_reads() -> None:
    net, (x, y), spec, goal = model(), data(40), spec_with("rram"), NextToken()
    rows = Bench(net, spec, x, y, goal, StudyConfig(settle_samples=2)).measure((7, 8))
    for row in rows:
        assert row.score == pytest.approx(score_on(net, TwinDevice(Chip(spec, row.seed)), x, y, goal), abs=1e-6)
        assert row.unsettled_samples == 0
        assert row.settling_worst_second is not None


def test_a_sample_costs_what_its_rows_cost() -> None:
    (x, _), spec = data(), spec_with("rram")
    chip = Chip(spec, 2)
    many, one = (estimate(model(r), chip, x.reshape(-1, r, FEATURES), [1e-6]) for r in (ROWS, 1))
    assert (many.rows, one.rows) == (ROWS, 1)
    for part in ("settling", "DAC", "ADC"):
        assert many.hybrid_latency_second[part].typical == pytest.approx(ROWS * one.hybrid_latency_second[part].typical)
    for part in ("amplifiers", "DAC", "ADC"):
        assert many.hybrid_energy_joule[part].typical == pytest.approx(ROWS * one.hybrid_energy_joule[part].typical)
    share = "programming, its share"
    if share in many.hybrid_energy_joule:
        assert many.hybrid_energy_joule[share] == one.hybrid_energy_joule[share]
    arithmetic, weights = "equilibrium: arithmetic", "equilibrium: weights from SRAM"
    joule = many.digital_energy_joule, one.digital_energy_joule
    assert joule[0][arithmetic].typical == pytest.approx(ROWS * joule[1][arithmetic].typical)
    if weights in joule[0] and weights in joule[1]:
        assert joule[0][weights].typical == pytest.approx(joule[1][weights].typical)  # read once for all rows


def test_work_of_rows_by_hand() -> None:
    work = Work(macs=10, fetched_numbers=50, activations=3, weight_numbers=20, passes=2, steps=4)
    three = work.rows(3)
    assert (three.macs, three.activations, three.steps, three.passes) == (30, 9, 4, 2)
    assert three.fetched_numbers == 40 + 3 * 10
    assert work.rows(1) == work
    with pytest.raises(ValueError, match="0 rows: expected 1 or more"):
        work.rows(0)


def test_training_meets_chips_with_all_rows() -> None:
    net, (x, y) = model(), data(16)
    config = TrainConfig(stages=stages(1, 1), batch_size=8, learning_rate=0.05)
    rows = fit(net, x, y, spec_with("rram"), config, objective=NextToken(), progress=False)
    assert [row["stage"] for row in rows] == ["ideal", "twin"]
    assert rows[1]["bits"] < rows[0]["bits"] + 0.5
