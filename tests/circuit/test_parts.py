"""What a deck holds, counted in the deck: right for every circuit, and wrong as soon as a line is missing."""

import pytest
import torch
from builders import drives, layer_of, spec_with
from golden.registry import STUCK, WIRES

from equilog.circuit import component_count, write_circuit
from equilog.circuit.detector import write_detector
from equilog.circuit.parts import blocks, count, default_areas, elements
from equilog.cost.analog import amplifier_watt, array_watt
from equilog.cost.parts import block_table
from equilog.equilibrium import EquilibriumLayer
from equilog.hardware import load_spec
from equilog.hardware.twin import dac, static_system
from equilog.names import UserError

CASES = {
    "RRAM": ("rram", {}, 5, 3),
    "board": ("board", {}, 4, 2),
    "no limits": ("rram", {"amplifier.slew_volt_per_second": None, "amplifier.rail_volt": None}, 3, 2),
    "stuck at nothing": ("rram", {"crossbar.stuck": STUCK}, 8, 3),
    "one": ("ideal", {}, 1, 1),
}


@pytest.mark.parametrize("case", CASES)
def test_the_deck_holds_what_the_layer_has(case, tmp_path):
    preset, changes, n, m = CASES[case]
    layer = layer_of(spec_with(preset, changes), n, m)
    write_circuit(layer, tmp_path)
    found = {row.name: row.count for row in blocks(tmp_path)}
    assert found == component_count(layer)


def test_wires_and_detector_are_found(tmp_path):
    layer = layer_of(spec_with("rram", {"crossbar.wires": WIRES}), 4, 2)
    write_circuit(layer, tmp_path)
    write_detector(layer, tmp_path)
    found = {row.name: row.count for row in blocks(tmp_path)}
    assert found["wire segments"] == 2 * (2 * 7 * 4)
    assert found["crossbar devices"] == component_count(layer)["crossbar devices"]
    assert (found["comparators"], found["hold timers"]) == (8, 1)


@pytest.mark.parametrize(
    ("start", "name"), [("Rp_0_0 ", "crossbar devices"), ("Xn1 ", "op-amps"), ("Vd0 ", "DACs"), ("Vref ", "references")]
)
def test_a_line_that_is_missing_is_missed(start, name, tmp_path):
    layer = layer_of(load_spec("rram"), 3, 2)
    write_circuit(layer, tmp_path)
    for file in (tmp_path / "layer.cir", tmp_path / "crossbar.inc"):
        kept, skipping = [], False
        for line in file.read_text().splitlines():
            skipping = line.startswith(start) or (skipping and line.startswith("+"))
            kept += [] if skipping else [line]
        file.write_text("\n".join(kept) + "\n")
    assert count(elements(tmp_path))[name] == component_count(layer)[name] - 1


def test_values_come_from_the_deck(tmp_path):
    layer = layer_of(load_spec("rram"), 3, 2)
    write_circuit(layer, tmp_path)
    rows = {row.name: row for row in blocks(tmp_path)}
    areas = default_areas()
    for name, value, figure in (
        ("feedback resistors", float(layer.r_feedback_ohm), areas.resistor_m2_per_ohm),
        ("feedback capacitors", float(layer.c_feedback_farad), areas.capacitor_m2_per_farad),
    ):
        assert rows[name].area_m2 == pytest.approx([3 * value * bound for bound in figure.bounds()])
    assert rows["op-amps"].area_m2 == pytest.approx([3 * bound for bound in areas.amplifier_m2.bounds()])


def test_every_area_has_a_source(tmp_path):
    layer = layer_of(load_spec("rram"), 2, 1)
    write_circuit(layer, tmp_path)
    assert all(row.source.strip() for row in blocks(tmp_path))


def test_power_is_that_of_the_cost_model(tmp_path):
    layer = layer_of(load_spec("rram"), 4, 2)
    write_circuit(layer, tmp_path)
    played = dac(layer, drives(3, 2))
    p = EquilibriumLayer().rest(static_system(layer, played))
    z = torch.tanh(p)
    rows = {row.name: row for row in block_table(layer, tmp_path, p, z, played)}
    assert rows["op-amps"].watt == amplifier_watt(layer)
    assert rows["crossbar devices"].watt.typical == pytest.approx(array_watt(layer, p, z, played))
    spec = layer.spec
    assert rows["ADCs"].watt.typical == pytest.approx(4 * spec.adc.energy_joule / spec.adc.conversion_second)
    assert all(row.area_m2 is not None for row in rows.values())


def test_discrete_parts_have_no_area_on_a_chip(tmp_path):
    layer = layer_of(load_spec("board"), 2, 1)
    write_circuit(layer, tmp_path)
    played = dac(layer, drives(2, 1))
    p = EquilibriumLayer().rest(static_system(layer, played))
    for row in block_table(layer, tmp_path, p, torch.tanh(p), played):
        assert row.area_m2 is None
        assert "bill of materials" in row.area_source


def test_a_folder_without_a_circuit_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"layer\.cir"):
        elements(tmp_path)
    (tmp_path / "layer.cir").write_text("* title\nXn0 a b nowhere\n")
    with pytest.raises(UserError, match="no subcircuit 'nowhere'"):
        elements(tmp_path)
