"""The ladder's last rung: agrees where codes, held states and reports do, and names what does not."""

import math
from dataclasses import replace

import pytest
import torch
from builders import drives, layer_of, spec_with, tiny_data, tiny_model

from equilog.circuit.chain import ChainRun, TwinChain, code_size, codes, twin_chain
from equilog.devices import verify
from equilog.devices.chain_rung import chain_rung
from equilog.devices.device import Settled
from equilog.devices.ladder_report import TOLERANCE_IN_TIME, LadderReport
from equilog.hardware import Chip
from equilog.hardware.rest import at_rest
from equilog.hardware.twin import adc, dac

LAYER = layer_of(spec_with("rram"), 3, 2, 1)
DRIVE = drives(2, 2, seed=4)
TWIN = twin_chain(LAYER, DRIVE)
REST = at_rest(LAYER, dac(LAYER, DRIVE))
SETTLED = Settled(REST.p, REST.z, adc(LAYER, REST.z))
V_S = float(LAYER.spec.activation.v_out_volt)


def runs() -> list[ChainRun]:
    """A simulator that says exactly what the twin says."""
    return [
        ChainRun(TWIN.codes[k], float(TWIN.report_second[k]), False, V_S * TWIN.held[k], torch.zeros(2))
        for k in range(2)
    ]


def test_the_same_agrees():
    rung, found = chain_rung(LAYER, TWIN, runs(), SETTLED)
    assert rung.agrees
    assert rung.max_error < 1e-12
    assert (found.codes, found.codes_equal, found.codes_wrong, found.report_error) == (6, 6, 0, 0.0)
    assert found.held_from_rest < 0.5
    assert "6 of 6 codes equal" in str(found)


def test_one_wrong_code_fails_and_is_seen_in_the_error():
    wrong = runs()
    wrong[1] = replace(wrong[1], codes=wrong[1].codes + torch.tensor([0, 1, 0]))
    rung, found = chain_rung(LAYER, TWIN, wrong, SETTLED)
    assert rung.agrees is False
    assert rung.max_error == pytest.approx(code_size(LAYER))
    assert (found.codes_equal, found.codes_wrong, found.largest_difference) == (5, 1, 1)


def test_a_code_next_to_the_edge_may_fall_on_its_other_side():
    held = TWIN.held.clone()
    held[0, 0] = 3.5 * code_size(LAYER) - 0.3 * TOLERANCE_IN_TIME
    twin = TwinChain(codes(LAYER, held), TWIN.report_second, held)
    beside = held[0] + 0.6 * TOLERANCE_IN_TIME * torch.tensor([1.0, 0.0, 0.0])
    theirs = runs()
    theirs[0] = replace(theirs[0], codes=codes(LAYER, beside[None])[0], held_volt=V_S * beside)
    rung, found = chain_rung(LAYER, twin, theirs, SETTLED)
    assert found.largest_difference == 1
    assert found.codes_equal == 5
    assert found.codes_wrong == 0
    assert rung.agrees


@pytest.mark.parametrize("shift", [0.02, -0.02])
def test_a_report_at_another_time_fails(shift: float):
    late = [replace(run, report_second=(1 + shift) * run.report_second) for run in runs()]
    rung, found = chain_rung(LAYER, TWIN, late, SETTLED)
    assert rung.agrees is False
    assert found.report_error == pytest.approx(0.02)


def test_a_timeout_in_one_only_fails():
    theirs = runs()
    theirs[0] = replace(theirs[0], codes=None, report_second=math.inf, timed_out=True)
    rung, found = chain_rung(LAYER, TWIN, theirs, SETTLED)
    assert rung.agrees is False
    assert (found.reported, found.timeouts_differ) == (1, 1)
    silent = [replace(run, codes=None, report_second=math.inf, timed_out=True) for run in theirs]
    assert chain_rung(LAYER, TWIN, silent, SETTLED)[0].agrees is False


def test_without_any_report_nothing_is_proven_and_nothing_refuted():
    never = TwinChain(torch.zeros_like(TWIN.codes), torch.full((2,), math.inf), torch.full((2, 3), math.nan))
    silent = [replace(run, codes=None, report_second=math.inf, timed_out=True) for run in runs()]
    rung, found = chain_rung(LAYER, never, silent, SETTLED)
    assert rung.agrees is None
    assert rung.max_error is None
    assert "2 of 2 samples timed out" in str(found)


@pytest.mark.ngspice
def test_a_detector_that_reports_too_early_is_named(simulator):
    figures = {"threshold_volt": 0.03, "window_second": 5e-8, "hold_second": 2e-8}
    spec = spec_with("rram", {f"detector.{key}": value for key, value in figures.items()})
    report = verify(tiny_model(), Chip(spec, 1), tiny_data(3)[0], settle_samples=0, chain_samples=2).report
    assert report.chain.held_from_rest > 0.5
    assert "TOO EARLY" in str(report)
    assert report.verified, "twin and circuit agree: it is the technology that is wrong"
    again = LadderReport.model_validate_json(report.model_dump_json())
    assert again == report


@pytest.mark.ngspice
def test_without_a_detector_there_is_no_such_rung(simulator):
    chip = Chip(spec_with("rram", {"detector": None}), 1)
    report = verify(tiny_model(), chip, tiny_data(2)[0], settle_samples=1).report
    assert report.verified
    assert report.chain is None
    assert report.rung("ngspice, whole chain") is None
