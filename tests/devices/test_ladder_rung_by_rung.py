"""Some rungs alone: what was asked for is climbed, the others' rows stay, and only where they are of the same model."""

import pytest
import torch
from builders import tiny_data, tiny_model

from equilog.circuit import NgspiceMissingError
from equilog.devices import verify
from equilog.devices.ladder_report import AT_REST, CHAIN, IN_TIME, RUNGS, asked_for
from equilog.hardware import Chip, load_spec
from equilog.names import UserError

TWINS = list(RUNGS["twin"])
CHIP = Chip(load_spec("rram"), 1)


def rows(ladder):
    return [rung.rung for rung in ladder.report.rungs]


@pytest.fixture(scope="module")
def at_rest():
    return verify(tiny_model(), CHIP, *tiny_data(3), rungs=["rest"])


def test_names_come_in_the_order_of_the_ladder():
    assert asked_for(["chain", "twin", "chain"]) == ("twin", "chain")
    assert asked_for(RUNGS) == tuple(RUNGS)
    with pytest.raises(UserError, match=r"unknown rung 'transistor' \(did you mean 'transistors'\?\)"):
        asked_for(["rest", "transistor"])


@pytest.mark.ngspice
def test_one_rung_comes_with_what_it_is_compared_with(at_rest):
    assert rows(at_rest) == [*TWINS, AT_REST]
    assert at_rest.report.verified
    assert at_rest.report.settle_samples == 0
    assert at_rest.waveforms == []


@pytest.mark.ngspice
def test_rows_of_other_rungs_stay(at_rest, tmp_path):
    model, data = tiny_model(), tiny_data(3)
    timed = verify(model, CHIP, *data, rungs=["time"], former=at_rest, settle_samples=2, folder=tmp_path)
    assert rows(timed) == [*TWINS, AT_REST, IN_TIME]
    assert timed.report.rung(AT_REST) == at_rest.report.rung(AT_REST)
    assert timed.report.nodes == at_rest.report.nodes
    assert (timed.report.settle_samples, len(timed.waveforms)) == (2, 2)
    assert timed.report.verified
    both = verify(model, CHIP, *data, rungs=["chain"], former=timed, chain_samples=1)
    assert rows(both) == [*TWINS, AT_REST, IN_TIME, CHAIN]
    assert both.waveforms == timed.waveforms
    # A rung for which there are no samples any more does not stay from before.
    without = verify(model, CHIP, *data, rungs=["time"], former=both, settle_samples=0)
    assert rows(without) == [*TWINS, AT_REST, CHAIN]
    assert without.waveforms == []
    assert without.report.settle_samples == 0


@pytest.mark.ngspice
@pytest.mark.parametrize("other", ["model", "chip", "samples", "simulator"])
def test_rows_of_something_else_do_not_stay(at_rest, other):
    model, chip, (x, y) = tiny_model(), CHIP, tiny_data(3)
    former = at_rest
    if other == "model":
        with torch.no_grad():
            model.cell.bias.add_(1e-3)
    elif other == "chip":
        chip = Chip(CHIP.spec, 2)
    elif other == "samples":
        x, y = x[:2], y[:2]
    else:
        older = at_rest.report.model_copy(update={"simulator": "ngspice 12"})
        former = type(at_rest)(older, at_rest.waveforms)
    found = verify(model, chip, x, y, rungs=["time"], former=former, settle_samples=1)
    assert rows(found) == [*TWINS, IN_TIME]
    assert not found.report.verified
    assert "not settled at rest" in found.report.not_verified_because


def test_a_simulator_that_is_asked_for_and_missing_is_an_error(monkeypatch):
    monkeypatch.setenv("EQUILOG_NGSPICE", "/nowhere/ngspice")
    with pytest.raises(NgspiceMissingError):
        verify(tiny_model(), CHIP, tiny_data(2)[0], rungs=["twin", "rest"])
    alone = verify(tiny_model(), CHIP, tiny_data(2)[0], rungs=["twin"])
    assert rows(alone) == TWINS
    assert not alone.report.verified
