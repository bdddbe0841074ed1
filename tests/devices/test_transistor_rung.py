"""The rung of transistors agrees with its twin, can fail, and does not rest there because it begins there."""

from dataclasses import replace

import pytest
import torch
from builders import drives, tiny_data, tiny_model

from equilog.circuit import rest, sky130
from equilog.circuit.sky130 import characterised_spec, transistors_at_rest, twin_layer, write_transistor_circuit
from equilog.devices import transistor_rung, verify
from equilog.devices.ladder_report import AT_REST, RUNGS, TRANSISTORS, LadderReport, TransistorFindings
from equilog.hardware import Chip, load_spec
from equilog.hardware.rest import at_rest
from equilog.hardware.twin import dac
from equilog.names import UserError
from equilog.objective import Regression


def _missing() -> str:
    try:
        sky130.require()
    except sky130.Sky130MissingError as missing:
        return str(missing)
    return ""


needs_models = pytest.mark.skipif(bool(_missing()), reason=_missing() or "-")
CHIP = Chip(load_spec("rram"), 1)


@needs_models
@pytest.mark.ngspice
def test_transistors_agree_and_are_kept_by_a_climb_of_the_others(tmp_path):
    model, (x, y) = tiny_model(), tiny_data(3)
    said = []
    found = verify(
        model, CHIP, x, y, rungs=["transistors"], transistor_samples=2, folder=tmp_path,
        progress=lambda *step: said.append(step),
    )  # fmt: skip
    rung, findings = found.report.rung(TRANSISTORS), found.report.transistors
    assert [r.rung for r in found.report.rungs] == [*RUNGS["twin"], TRANSISTORS]
    assert rung.agrees
    assert 1e-6 < rung.max_error < 0.005  # macro models would agree to 1e-9
    assert rung.tolerance == 0.01
    assert (findings.samples, findings.same_class, findings.neurons, findings.transistors) == (2, 2, 3, 3 * 26 + 4)
    assert (findings.technology, findings.chip_seed) == (characterised_spec().name, 1)
    assert found.transistors.twin.shape == found.transistors.ngspice.shape == (2, 3)
    assert float((found.transistors.twin - found.transistors.ngspice).abs().max()) == rung.max_error
    assert {path.name for path in (tmp_path / "transistors").glob("op_*.cir")} == {"op_0.cir", "op_1.cir"}
    assert [done for phrase, done in said if "82 transistors" in phrase] == [0.0, 0.5, 1.0]
    assert not found.report.verified, "blocks were not settled at rest"
    later = verify(model, CHIP, x, y, settle_samples=0, chain_samples=0, former=found)
    assert [r.rung for r in later.report.rungs] == [*RUNGS["twin"], AT_REST, TRANSISTORS]
    assert later.transistors is found.transistors
    assert later.report.verified
    assert "transistors: 3 neurons" in str(later)
    assert LadderReport.model_validate_json(later.report.model_dump_json()) == later.report


@needs_models
@pytest.mark.ngspice
def test_numbers_have_an_error_and_no_classes():
    y = torch.ones(1, 2)
    found = verify(tiny_model(), CHIP, tiny_data(1)[0], y, objective=Regression(), rungs=["transistors"]).report
    rung = found.rung(TRANSISTORS)
    assert rung.agrees
    assert rung.score > 0
    assert found.transistors.same_class is None
    assert "classified" not in str(found)


@needs_models
@pytest.mark.ngspice
def test_transistors_that_are_elsewhere_than_their_twin_fail(monkeypatch):
    def other(layer):
        return replace(twin_layer(layer), act_offset_volt=layer.act_offset_volt + 0.01)

    monkeypatch.setattr(transistor_rung, "twin_layer", other)
    found = verify(tiny_model(), CHIP, *tiny_data(1), rungs=["transistors"]).report
    assert found.rung(TRANSISTORS).agrees is False
    assert found.disagrees


@needs_models
@pytest.mark.ngspice
@pytest.mark.parametrize("size", [1.0, 4.0])
def test_where_ngspice_begins_does_not_decide_where_it_ends(simulator, tmp_path, size):
    torch.manual_seed(3)
    model = tiny_model(states=4)
    with torch.no_grad():
        model.cell.input_weight.mul_(size)
    layer = transistor_rung.on_transistors(model, 5)
    played = dac(layer, drives(2, 2, seed=1))
    begin = at_rest(twin_layer(layer), played)
    off = replace(begin, p=begin.p + 0.2, z=(begin.z - 0.2))
    warm = transistors_at_rest(simulator, layer, played, begin, tmp_path)
    astray = transistors_at_rest(simulator, layer, played, off, tmp_path)
    write_transistor_circuit(layer, tmp_path, rest=played)
    cold = rest(simulator, tmp_path, 4, 2)
    for other in (astray, cold):
        for ours, theirs in zip(warm, other):
            assert float((ours - theirs).abs().max()) < 1e-5
    # And they are answers of ngspice, not the twin's handed back.
    assert float((warm[1] / 0.2 - begin.z).abs().max()) > 1e-5


@needs_models
@pytest.mark.ngspice
def test_decks_of_an_earlier_call_do_not_stay(simulator, tmp_path):
    layer = transistor_rung.on_transistors(tiny_model(), 1)
    for count in (2, 1):
        played = dac(layer, drives(count, 2))
        transistors_at_rest(simulator, layer, played, at_rest(twin_layer(layer), played), tmp_path)
    assert [path.name for path in tmp_path.glob("op_*.cir")] == ["op_0.cir"]


@needs_models
def test_a_model_that_transistors_cannot_make_is_refused_before_anything_is_solved(monkeypatch):
    wide = characterised_spec().changed(crossbar={"g_max_siemens": 1e-3})
    monkeypatch.setattr(transistor_rung, "characterised_spec", lambda: wide)
    said = []
    with pytest.raises(UserError, match=r"transistors cannot make this model: the .* output of neuron"):
        verify(
            tiny_model(), CHIP, tiny_data(1)[0], transistor_samples=1, progress=lambda *step: said.append(step),
        )  # fmt: skip
    assert said == []


def findings(samples: int, same: int | None) -> TransistorFindings:
    return TransistorFindings(
        technology="t", chip_seed=0, samples=samples, neurons=8, transistors=212, same_class=same,
        amplifier_max_error=0.1, amplifier_rms_error=0.01,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("samples", "same", "enough"),
    [(100, 98, True), (100, 97, False), (100, 100, True), (49, 48, False), (50, 49, True), (5, None, True)],
)
def test_two_in_a_hundred_may_be_classified_otherwise(samples, same, enough):
    assert findings(samples, same).enough_classes is enough
