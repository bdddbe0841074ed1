"""What a deck holds, counted in the deck: right for every circuit, and wrong as soon as a line is missing."""

import pytest
from builders import layer_of, spec_with
from golden.registry import STUCK, WIRES

from equilog.circuit import component_count, write_circuit
from equilog.circuit.chain import write_chain
from equilog.circuit.detector import write_detector
from equilog.circuit.elements import elements
from equilog.circuit.parts import OTHER, block_of, blocks, is_physical
from equilog.hardware import load_spec
from equilog.names import UserError

CASES = {
    "RRAM": ("rram", {}, 5, 3),
    "board": ("board", {}, 4, 2),
    "no limits": ("rram", {"amplifier.slew_volt_per_second": None, "amplifier.rail_volt": None}, 3, 2),
    "bias currents": ("rram", {"amplifier.input_bias_ampere": 1e-9}, 3, 2),
    "stuck at nothing": ("rram", {"crossbar.stuck": STUCK}, 8, 3),
    "wires": ("rram", {"crossbar.wires": WIRES}, 4, 2),
    "one": ("ideal", {}, 1, 1),
}
SAME = {"summing integrators": "op-amps", "activations": "activation blocks"}
"""what :func:`component_count`, which counts in the layer, calls the same"""


@pytest.mark.parametrize("case", CASES)
def test_the_deck_holds_what_the_layer_has(case, tmp_path):
    preset, changes, n, m = CASES[case]
    layer = layer_of(spec_with(preset, changes), n, m)
    write_circuit(layer, tmp_path)
    expected = component_count(layer)
    for row in blocks(tmp_path):
        assert row.count == expected[SAME.get(row.name, row.name)], row.name
    assert {row.name for row in blocks(tmp_path)} == {*SAME, "crossbar devices", "DACs", "ADCs", "references"}


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case][0] != "ideal"])
def test_the_chain_holds_everything_from_code_to_code(case, tmp_path):
    preset, changes, n, m = CASES[case]
    layer = layer_of(spec_with(preset, changes), n, m)
    write_chain(layer, tmp_path)
    found = {row.name: row for row in blocks(tmp_path)}
    counts = {name: row.count for name, row in found.items()}
    assert counts == {
        "crossbar devices": component_count(layer)["crossbar devices"],
        "summing integrators": n,
        "activations": n,
        "DACs": m,
        "sample-and-holds": n,
        "ADCs": n,
        "detector comparators": 2 * n,
        "references": 1,
    }


@pytest.mark.parametrize("case", CASES)
def test_every_element_belongs_to_one_block(case, tmp_path):
    preset, changes, n, m = CASES[case]
    layer = layer_of(spec_with(preset, changes), n, m)
    (write_chain if layer.spec.detector else write_circuit)(layer, tmp_path)
    parts = [e for e in elements(tmp_path) if not e.subckt]
    assert [e.label for e in parts if block_of(e) == OTHER] == []
    assert sum(sum(row.components.values()) for row in blocks(tmp_path)) == len(parts)


def test_a_part_that_no_block_knows_is_not_lost(tmp_path):
    layer = layer_of(load_spec("rram"), 2, 1)
    write_circuit(layer, tmp_path)
    deck = tmp_path / "layer.cir"
    deck.write_text(deck.read_text() + "Rleak v0 0 1e6\n")
    other = next(row for row in blocks(tmp_path) if row.name == OTHER)
    assert (other.count, other.components) == (1, {"resistors": 1})


def test_wires_lie_in_the_crossbar_and_the_detector_is_found_beside_it(tmp_path):
    layer = layer_of(spec_with("rram", {"crossbar.wires": WIRES}), 4, 2)
    write_circuit(layer, tmp_path)
    write_detector(layer, tmp_path)
    found = {row.name: row for row in blocks(tmp_path)}
    devices = component_count(layer)["crossbar devices"]
    assert found["crossbar devices"].components == {"resistors": devices + 2 * (2 * 7 * 4)}
    assert found["crossbar devices"].count == devices
    assert found["detector comparators"].count == 8


@pytest.mark.parametrize(
    ("start", "name"),
    [("Rp_0_0 ", "crossbar devices"), ("Xn1 ", "summing integrators"), ("Vd0 ", "DACs"), ("Vref ", "references")],
)
def test_a_line_that_is_missing_is_missed(start, name, tmp_path):
    layer = layer_of(load_spec("rram"), 3, 2)
    write_circuit(layer, tmp_path)
    before = {row.name: row.count for row in blocks(tmp_path)}
    for file in (tmp_path / "layer.cir", tmp_path / "crossbar.inc"):
        kept, skipping = [], False
        for line in file.read_text().splitlines():
            skipping = line.startswith(start) or (skipping and line.startswith("+"))
            kept += [] if skipping else [line]
        file.write_text("\n".join(kept) + "\n")
    assert {row.name: row.count for row in blocks(tmp_path)}[name] == before[name] - 1


def test_values_come_from_the_deck(tmp_path):
    layer = layer_of(load_spec("rram"), 3, 2)
    write_circuit(layer, tmp_path)
    row = next(row for row in blocks(tmp_path) if row.name == "summing integrators")
    assert row.ohm == pytest.approx(3 * float(layer.r_feedback_ohm), rel=1e-12)
    assert row.farad == pytest.approx(3 * float(layer.c_feedback_farad), rel=1e-12)
    physical = {e.name for e in elements(tmp_path) if is_physical(e) and e.path}
    assert physical == {"rf", "cf"}, "poles of a macro-model are no parts"


def test_nodes_are_named_as_ngspice_names_them(tmp_path):
    layer = layer_of(load_spec("rram"), 2, 1)
    write_circuit(layer, tmp_path)
    found = {e.label: e for e in elements(tmp_path)}
    noise = found["xn1:neuron_limited/xint:integrator_limited/rnoise"]
    assert noise.nodes == ("xn1.xint.plus", "xn1.xint.offset")
    assert noise.spice_name == "r.xn1.xint.rnoise"
    assert found["xn1:neuron_limited/xint:integrator_limited/rf"].nodes == ("x1", "v1")
    assert found["vref"].value == pytest.approx(float(layer.spec.dac.full_scale_volt))


def test_a_folder_without_a_circuit_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"layer\.cir"):
        elements(tmp_path)
    (tmp_path / "layer.cir").write_text("* title\nXn0 a b nowhere\n")
    with pytest.raises(UserError, match="no subcircuit 'nowhere'"):
        elements(tmp_path)
    (tmp_path / "layer.cir").write_text("* title\nR0 a b {2*nobody}\n")
    with pytest.raises(UserError, match=r"layer\.cir, line 2.*2\*nobody"):
        elements(tmp_path)
