"""The ladder verifies what agrees, and never says so without the simulator or of an unstable circuit."""

import math

import pytest
import torch
from builders import NO_MISMATCH, spec_with, tiny_data, tiny_model

from equilog.devices import verify
from equilog.devices.ladder_report import AT_REST, LadderReport, Rung, Settling
from equilog.hardware import Chip, load_spec, preset_names
from equilog.objective import Regression

RUNGS = ["ideal", "twin at rest", "twin in time", "ngspice at rest", "ngspice in time", "ngspice, whole chain"]


@pytest.mark.ngspice
@pytest.mark.parametrize("preset", preset_names())
def test_a_tiny_model_is_verified(preset, simulator, tmp_path):
    model, (x, y) = tiny_model(), tiny_data(6)
    said = []
    ladder = verify(
        model, Chip(load_spec(preset), 1), x, y, settle_samples=2, folder=tmp_path, progress=lambda *a: said.append(a)
    )
    report = ladder.report
    assert report.verified, str(report)
    assert [r.rung for r in report.rungs] == RUNGS
    assert all(r.agrees for r in report.rungs[2:])
    assert report.simulator == f"ngspice {simulator.version}"
    assert (report.samples, report.settle_samples, len(ladder.waveforms)) == (6, 2, 2)
    assert report.codes_equal == 1.0
    assert (report.chain.samples, report.chain.reported, report.chain.codes) == (2, 2, 6)
    assert report.chain.codes_equal == 6
    assert report.chain.report_error < 1e-3
    assert (tmp_path / "chain" / "chain_1.cir").exists()
    assert len(report.sample_errors) == 6
    assert {row.node for row in report.nodes} == {f"{p}{i}" for p in "vs" for i in range(3)}
    errors = [row.error for row in report.nodes]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] == pytest.approx(report.rung("ngspice at rest").max_error)
    assert all(math.isfinite(t) and t > 0 for t in report.settling.time_second)
    assert (tmp_path / "settle_1.cir").exists()
    fractions = [fraction for _, fraction in said]
    assert fractions == sorted(fractions)
    assert said[-1] == ("verified", 1.0)
    for wave in ladder.waveforms:
        assert (wave.twin - wave.ngspice).abs().max() <= report.rung("ngspice in time").max_error


@pytest.mark.ngspice
def test_accuracies_are_those_of_the_model(simulator):
    model, (x, y) = tiny_model(), tiny_data(10)
    chip = Chip(load_spec("rram"), 2)
    report = verify(model, chip, x, y, settle_samples=0).report
    with torch.no_grad():
        ideal = float((model(x).argmax(1) == y).double().mean())
        twin = float((model(x, chip).argmax(1) == y).double().mean())
    assert report.rung("ideal").score == pytest.approx(ideal)
    assert report.rung("twin at rest").score == pytest.approx(twin)
    assert report.rung("ngspice at rest").score == pytest.approx(twin)
    assert report.rung("ngspice in time") is None
    assert report.rung("ngspice, whole chain") is None


@pytest.mark.ngspice
def test_errors_are_those_of_the_model(simulator):
    model, x, goal = tiny_model(), tiny_data(10)[0], Regression(score="rms", unit="V")
    y, chip = torch.randn(10, 2), Chip(load_spec("rram"), 2)
    report = verify(model, chip, x, y, objective=goal, settle_samples=0).report
    with torch.no_grad():
        ideal, twin = (float((out - y).square().mean(1).sqrt().mean()) for out in (model(x), model(x, chip)))
    assert report.rung("ideal").score == pytest.approx(ideal, rel=1e-5)
    assert report.rung("ngspice at rest").score == pytest.approx(twin, rel=1e-5)
    assert (report.score_name, report.score_unit, report.higher_is_better) == ("error", "V", False)
    assert f"{ideal:.4g} V" in str(report)
    assert LadderReport.model_validate_json(report.model_dump_json()) == report


def test_targets_that_are_no_classes_need_an_objective(monkeypatch):
    monkeypatch.setenv("EQUILOG_NGSPICE", "/nowhere/ngspice")
    model, x = tiny_model(), tiny_data(4)[0]
    with pytest.raises(ValueError, match="pass an objective"):
        verify(model, Chip(load_spec("rram"), 1), x, torch.ones(4, 2))
    report = verify(model, Chip(load_spec("rram"), 1), x).report
    assert [rung.score for rung in report.rungs] == [None] * 3


def test_another_score_is_another_climb(monkeypatch):
    monkeypatch.setenv("EQUILOG_NGSPICE", "/nowhere/ngspice")
    model, chip, x, y = tiny_model(), Chip(load_spec("rram"), 1), tiny_data(4)[0], torch.ones(4, 2)
    one, other = (verify(model, chip, x, y, objective=goal).report for goal in (Regression(), Regression(score="rms")))
    assert one.identity != other.identity


def test_without_a_simulator_nothing_is_verified(monkeypatch):
    monkeypatch.setenv("EQUILOG_NGSPICE", "/nowhere/ngspice")
    ladder = verify(tiny_model(), Chip(load_spec("rram"), 1), tiny_data(4)[0])
    assert not ladder.report.verified
    assert ladder.report.simulator is None
    assert "apt-get install ngspice" in ladder.report.not_verified_because
    assert [r.rung for r in ladder.report.rungs] == RUNGS[:3]
    assert ladder.report.rung("twin in time").agrees
    assert ladder.waveforms == []
    assert "NOT VERIFIED" in str(ladder)


def oscillating_model():
    model = tiny_model(states=2, drives=1)
    with torch.no_grad():
        model.cell.recurrent.a.copy_(math.sqrt(0.7) * torch.eye(2))
        model.cell.recurrent.b.copy_(torch.tensor([[0.0, 12.0], [0.0, 0.0]]))
        model.cell.input_weight.fill_(0.01)
    return model


@pytest.mark.ngspice
def test_an_unstable_circuit_is_reported_and_not_verified(simulator):
    chip = Chip(spec_with("rram", NO_MISMATCH | {"amplifier.gbw_hertz": 2e6}), 0)
    report = verify(oscillating_model(), chip, tiny_data(2)[0], settle_samples=1).report
    assert not report.settling.stable
    assert not report.verified
    assert all(math.isinf(t) for t in report.settling.time_second)
    assert report.rung("twin in time").agrees is False
    assert "UNSTABLE" in str(report)


@pytest.mark.slow
def test_a_slow_circuit_is_watched_until_it_rests(monkeypatch):
    """Amplifiers far slower than the integrator: stable, at rest in the end, and no quarrel between the twins."""
    monkeypatch.setenv("EQUILOG_NGSPICE", "/nowhere/ngspice")
    spec = spec_with("rram", {"amplifier.gbw_hertz": 1e5})
    report = verify(tiny_model(), Chip(spec, 1), tiny_data(2)[0]).report
    assert report.settling.stable
    assert report.rung("twin in time").agrees, str(report)


def test_clipped_drives_are_counted(monkeypatch):
    monkeypatch.setenv("EQUILOG_NGSPICE", "/nowhere/ngspice")
    model = tiny_model()
    model.parameterize = torch.nn.Identity()
    x = torch.tensor([[0.5, 2.0], [-3.0, -0.1]])
    assert verify(model, Chip(load_spec("rram"), 1), x).report.clipped_drives == 0.5


def report_with(times, abscissa=-1.0):
    settling = Settling(
        time_second=times,
        tolerance=0.01,
        time_constant_second=1e-7,
        spectral_abscissa_per_second=abscissa,
        noise_gain=5.0,
        largest_output_volt=0.3,
    )
    rungs = [Rung.of("ideal", score=0.5), Rung.of(AT_REST, max_error=1e-7, rms_error=1e-8, tolerance=1e-6)]
    return LadderReport(simulator="ngspice 39", samples=len(times), rungs=rungs, settling=settling)


@pytest.mark.parametrize("times", [[1e-6, 2e-6], [math.inf, 1e-6], [math.inf, math.inf], []])
def test_the_report_survives_json_with_infinite_settling_times(times):
    report = report_with(times)
    text = report.model_dump_json(round_trip=True)
    assert "Infinity" not in text
    again = LadderReport.model_validate_json(text)
    assert again == report
    assert again.settling.time_second == times


@pytest.mark.parametrize(("error", "agrees"), [(9e-7, True), (1e-6, True), (1.1e-6, False)])
def test_a_rung_is_judged_by_its_tolerance(error, agrees):
    assert Rung.of("x", max_error=error, tolerance=1e-6).agrees is agrees
    assert Rung.of("x", max_error=error).agrees is None


def test_one_failing_rung_or_an_unstable_pole_is_enough():
    good = report_with([1.0])
    assert good.verified
    bad = Rung.of("y", max_error=1.0, tolerance=0.1)
    assert not good.model_copy(update={"rungs": [*good.rungs, bad]}).verified
    assert not report_with([1.0], abscissa=0.0).verified
    assert not good.model_copy(update={"simulator": None}).verified


def test_nothing_is_verified_that_was_not_settled_at_rest():
    good = report_with([1.0])
    without = good.model_copy(update={"rungs": good.rungs[:1]})
    assert not without.verified
    assert not without.disagrees
