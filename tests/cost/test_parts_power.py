"""The table's power against what ngspice itself says its elements dissipate and its sources deliver."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from builders import drives, layer_of, monotone, normal, spec_with
from golden.registry import WIRES
from torch import Tensor

from equilog.circuit import Ngspice, write_circuit
from equilog.circuit.chain import write_chain
from equilog.circuit.dissipation import block_watt
from equilog.circuit.elements import Element, elements
from equilog.circuit.parts import block_of, is_physical
from equilog.circuit.rawfile import Plot
from equilog.circuit.sky130 import Sky130MissingError, characterised_spec, require, write_transistor_circuit
from equilog.circuit.text import number
from equilog.cost.analog import activation_watt, amplifier_watt, array_watt
from equilog.cost.parts import CROSSBAR, INTEGRATORS, BlockCost, block_table, table_total, transistor_table
from equilog.cost.process import default_process
from equilog.hardware import Chip, ProgrammedLayer, load_spec, program
from equilog.hardware.rest import at_rest
from equilog.hardware.twin import dac

CASES = {
    "RRAM": ("rram", {}),
    "wires": ("rram", {"crossbar.wires": WIRES}),
    "bias currents": ("board", {"amplifier.input_bias_ampere": 1e-7}),
    # Beyond the rails a virtual ground leaves zero, and the crossbar's power changes.
    "rails": ("rram", {"amplifier.rail_volt": 0.05}),
    "poor amplifiers": ("rram", {"amplifier.dc_gain": 50.0, "amplifier.offset_sigma_volt": 0.01}),
}
SAMPLES = 3


def table_of(layer: ProgrammedLayer, folder: Path, played: Tensor) -> dict[str, BlockCost]:
    rest = at_rest(layer, played)
    return {row.name: row for row in block_table(layer, folder, rest.p, rest.z, played)}


def measured(simulator: Ngspice, folder: Path, found: list[Element], volt: Tensor) -> list[Plot]:
    """Settle every sample and return all node voltages, source currents, and resistors' powers as ngspice has them."""
    powers = [f"@{e.spice_name}[p]" for e in found if e.name[0] == "r"]
    options = next(line for line in (folder / "op.cir").read_text().splitlines() if line.startswith(".options"))
    lines = ["* power", ".include layer.cir", options, ".save all", *(f".save {name}" for name in powers)]
    lines += [".op", ".control", "set filetype=binary", "set appendwrite"]
    for row in volt:
        lines += [f"alter Vd{k} dc = {number(value)}" for k, value in enumerate(row)]
        lines += ["op", "write p.raw", "destroy all"]
    (folder / "p.cir").write_text("\n".join([*lines, "quit 0", ".endc", ".end", ""]))
    return simulator.run(folder, "p.cir", "p.raw")


def resistor_watt(plots: list[Plot], found: list[Element], block: str) -> float:
    names = [f"@{e.spice_name}[p]" for e in found if e.name[0] == "r" and is_physical(e) and block_of(e) == block]
    assert names
    return sum(float(plot[name][0]) for plot in plots for name in names) / len(plots)


def delivered_watt(plots: list[Plot], found: list[Element], kinds: str) -> float:
    """What the sources of these kinds deliver, mean over samples: minus voltage times ngspice's branch current."""
    watt = 0.0
    for plot in plots:
        for e in found:
            if e.name[0] in kinds and not e.subckt and f"i({e.spice_name})" in plot.names:
                a, b = (0.0 if node == "0" else float(plot[f"v({node})"][0]) for node in e.nodes[:2])
                watt -= (a - b) * float(plot[f"i({e.spice_name})"][0])
    return watt / len(plots)


@pytest.mark.ngspice
@pytest.mark.parametrize("case", CASES)
def test_resistors_dissipate_what_ngspice_says(case: str, simulator: Ngspice, tmp_path: Path) -> None:
    preset, changes = CASES[case]
    layer = layer_of(spec_with(preset, changes), 4, 2)
    played = dac(layer, drives(SAMPLES, 2))
    write_circuit(layer, tmp_path, rest=played)
    found = elements(tmp_path)
    plots = measured(simulator, tmp_path, found, played * float(layer.spec.dac.full_scale_volt))
    assert len(plots) == SAMPLES
    rows = table_of(layer, tmp_path, played)
    crossbar, integrators = rows[CROSSBAR].watt, rows[INTEGRATORS].watt
    assert crossbar is not None
    assert integrators is not None
    # 5 % would do for an estimate; the same equations agree to what the solvers leave.
    assert crossbar.typical == pytest.approx(resistor_watt(plots, found, CROSSBAR), rel=1e-6)
    feedback = integrators.typical - amplifier_watt(layer).typical
    assert feedback == pytest.approx(resistor_watt(plots, found, INTEGRATORS), rel=1e-5)


@pytest.mark.ngspice
def test_what_resistors_dissipate_is_what_the_outputs_deliver(simulator: Ngspice, tmp_path: Path) -> None:
    layer = layer_of(load_spec("rram"), 4, 2)
    played = dac(layer, drives(SAMPLES, 2))
    write_circuit(layer, tmp_path, rest=played)
    found = elements(tmp_path)
    plots = measured(simulator, tmp_path, found, played * float(layer.spec.dac.full_scale_volt))
    outputs = [e for e in found if block_of(e) in ("activations", "DACs", "references") or e.name in ("bout", "eout")]
    rows = table_of(layer, tmp_path, played)
    crossbar, integrators = rows[CROSSBAR].watt, rows[INTEGRATORS].watt
    assert crossbar is not None
    assert integrators is not None
    resistors = crossbar.typical + integrators.typical - amplifier_watt(layer).typical
    assert resistors == pytest.approx(delivered_watt(plots, outputs, "veb"), rel=1e-5)


def test_crossbar_and_feedback_are_the_cost_models_where_wires_are_ideal(tmp_path: Path) -> None:
    layer = layer_of(load_spec("rram"), 4, 2)
    played = dac(layer, drives(SAMPLES, 2))
    write_chain(layer, tmp_path)
    rest = at_rest(layer, played)
    rows = table_of(layer, tmp_path, played)
    crossbar, integrators = rows[CROSSBAR].watt, rows[INTEGRATORS].watt
    assert crossbar is not None
    assert integrators is not None
    both = crossbar.typical + integrators.typical - amplifier_watt(layer).typical
    assert both == pytest.approx(array_watt(layer, rest.p, rest.z, played), rel=1e-6)


def test_every_block_of_the_chain_has_area_power_and_their_sources(tmp_path: Path) -> None:
    layer, process = layer_of(load_spec("rram"), 4, 2), default_process()
    played = dac(layer, drives(SAMPLES, 2))
    write_chain(layer, tmp_path)
    rows = table_of(layer, tmp_path, played)
    for row in rows.values():
        assert row.area_m2 is not None, row.name
        assert row.watt is not None, row.name
        assert row.area_source.strip(), row.name
        assert row.watt_source.strip(), row.name
    adc, spec = rows["ADCs"].watt, layer.spec
    assert adc is not None
    assert adc.typical == pytest.approx(4 * spec.adc.energy_joule / spec.adc.conversion_second)
    assert rows["activations"].watt == activation_watt(layer)
    holds, comparators = rows["sample-and-holds"].watt, rows["detector comparators"].watt
    assert holds is not None
    assert holds.high == pytest.approx(4 * process.sample_hold_watt.bounds()[2])
    assert comparators is not None
    assert comparators.low == pytest.approx(8 * process.comparator_watt.bounds()[0])
    area, watt = table_total(list(rows.values()))
    assert area.typical == pytest.approx(sum(row.area_m2.typical for row in rows.values() if row.area_m2))
    assert watt.high == pytest.approx(sum(row.watt.high for row in rows.values() if row.watt))


def test_areas_come_from_values_in_the_deck(tmp_path: Path) -> None:
    layer, process = layer_of(load_spec("rram"), 3, 2), default_process()
    write_circuit(layer, tmp_path)
    rows = {row.name: row for row in block_table(layer, tmp_path, None, None, dac(layer, drives(1, 2)))}
    one = [
        amplifier + float(layer.r_feedback_ohm) * ohm + float(layer.c_feedback_farad) * farad
        for amplifier, ohm, farad in zip(
            process.amplifier_m2.bounds(),
            process.resistor_m2_per_ohm.bounds(),
            process.capacitor_m2_per_farad.bounds(),
        )
    ]
    area = rows[INTEGRATORS].area_m2
    assert area is not None
    assert [area.low, area.typical, area.high] == pytest.approx([3 * a for a in one])


def test_without_a_resting_point_the_crossbar_has_no_power(tmp_path: Path) -> None:
    layer = layer_of(load_spec("rram"), 3, 2)
    write_circuit(layer, tmp_path)
    rows = {row.name: row for row in block_table(layer, tmp_path, None, None, dac(layer, drives(1, 2)))}
    assert rows[CROSSBAR].watt is None
    assert rows[INTEGRATORS].watt == amplifier_watt(layer)
    assert "no resting point" in rows[INTEGRATORS].watt_source


def test_discrete_parts_have_no_area_on_a_chip(tmp_path: Path) -> None:
    layer = layer_of(load_spec("board"), 2, 1)
    write_chain(layer, tmp_path)
    for row in table_of(layer, tmp_path, dac(layer, drives(2, 1))).values():
        assert row.area_m2 is None
        assert "bill of materials" in row.area_source
        assert (row.watt is None) == (row.name in ("sample-and-holds", "detector comparators", "references"))


def test_a_node_that_nothing_holds_is_named() -> None:
    loose = Element((), "rp_0_0", ("a", "b"), value=1e3)
    with pytest.raises(ValueError, match="nodes a, b"):
        block_watt([loose], {"v0": torch.zeros(1).numpy()})
    with pytest.raises(ValueError, match="rp_0_0 has no resistance"):
        block_watt([Element((), "rp_0_0", ("a", "0"), value=0.0)], {"a": torch.zeros(1).numpy()})


@pytest.mark.ngspice
def test_transistors_take_what_their_supplies_and_drives_deliver(simulator: Ngspice, tmp_path: Path) -> None:
    try:
        require()
    except Sky130MissingError as missing:
        pytest.skip(str(missing))
    layer = program((monotone(3, 2.0, 0), normal(1, 3, 2), 0.3 * normal(2, 3)), Chip(characterised_spec(), 0))
    played = dac(layer, drives(2, 2))
    write_transistor_circuit(layer, tmp_path, rest=played)
    rows = {row.name: row for row in transistor_table(layer, tmp_path, played, simulator)}
    found = elements(tmp_path)
    plots = measured(simulator, tmp_path, found, played * float(layer.spec.dac.full_scale_volt))
    taken = 0.0
    for name in (CROSSBAR, INTEGRATORS, "activations", "references"):
        watt = rows[name].watt
        assert watt is not None
        taken += watt.typical
    assert taken == pytest.approx(delivered_watt(plots, found, "ve"), rel=1e-4)
    # 489 µW a neuron, docs/transistors.md.
    assert 3 * 4.4e-4 < taken < 3 * 5.5e-4
    assert rows[CROSSBAR].watt is not None
    assert rows[CROSSBAR].watt.typical == pytest.approx(resistor_watt(plots, found, CROSSBAR), rel=1e-4)
    counts = {name: row.components.get("transistors", 0) for name, row in rows.items()}
    assert counts == {
        CROSSBAR: 0, INTEGRATORS: 7 * 3, "activations": 19 * 3, "DACs": 0, "ADCs": 0, "references": 4,
    }  # fmt: skip
    # W·L of the bias: 16·4, 16·4, 20·1 and 12·4 µm².
    area = rows["references"].area_m2
    assert area is not None
    assert area.typical == pytest.approx(196e-12 * float(default_process().layout_per_gate))
