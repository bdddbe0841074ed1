"""What a law apart costs, counted by hand: devices that are not there are neither programmed nor paid for."""

import pytest
import torch
from builders import apart_cell, chain_law, drives, spec_with
from golden.registry import WIRES

from equilog.circuit import component_count, write_circuit
from equilog.circuit.elements import elements
from equilog.circuit.parts import OTHER, block_of, blocks
from equilog.cost.analog import array_watt
from equilog.cost.area import area_parts
from equilog.cost.parts import block_table
from equilog.cost.process import process_of
from equilog.cost.writing import devices, programming_joule, programming_second
from equilog.hardware import Chip, program_cell
from equilog.hardware.rest import at_rest

LAW, M = 4, 3
HELD = {hidden: apart_cell(LAW + hidden, M, chain_law(LAW + hidden, M, LAW, LAW)) for hidden in (0, 2)}
# Hidden rows have a pair in every column of [W, U, b], rows of the law two, from the hidden states.
DEVICES = {0: 0, 2: 2 * (2 * (6 + M + 1) + 4 * 2)}


def layer_of(hidden, changes=None):
    with torch.no_grad():
        return program_cell(HELD[hidden], Chip(spec_with("rram", changes), 1))


@pytest.mark.parametrize("hidden", [0, 2])
def test_writing_is_of_devices_that_are_there(hidden):
    layer, bar = layer_of(hidden), spec_with("rram").crossbar
    assert devices(layer) == DEVICES[hidden]
    assert programming_joule(layer).typical == pytest.approx(DEVICES[hidden] * float(bar.write_joule))
    assert programming_second(layer).typical == pytest.approx(DEVICES[hidden] * float(bar.write_second))


@pytest.mark.parametrize("hidden", [0, 2])
@pytest.mark.parametrize("wires", [{}, {"crossbar.wires": WIRES}], ids=["ideal wires", "wires"])
def test_layer_and_netlist_count_the_same(hidden, wires, tmp_path):
    layer, played = layer_of(hidden, wires | {"crossbar.programming_sigma": None}), drives(3, M)
    n = LAW + hidden
    write_circuit(layer, tmp_path)
    expected, counts = component_count(layer), {row.name: row.count for row in blocks(tmp_path)}
    # A chain of four: 3 links both ways and 4 losses, 4 × 3 sources, 4 constants.
    fixed = int((HELD[hidden].fixed.columns() != 0).sum())
    assert expected["fixed resistors"] == counts["fixed resistors"] == fixed == 6 + 12 + 4
    assert expected["crossbar devices"] == counts.get("crossbar devices", 0) == DEVICES[hidden]
    assert expected["activation blocks"] == counts.get("activations", 0) == hidden
    assert expected["linear outputs"] == counts["linear outputs"] == LAW
    assert [e.label for e in elements(tmp_path) if not e.subckt and block_of(e) == OTHER] == []
    segments = [e for e in elements(tmp_path) if e.name.startswith(("rw_", "rb_"))]
    assert len(segments) == (2 * n * 2 * (n + M + 1) if wires and hidden else 0)
    text = (tmp_path / "crossbar.inc").read_text()
    assert "* row 0" in text if hidden else "row" not in text.split("asked for).")[1]
    area, process = area_parts(layer), process_of(layer.spec)
    assert area["crossbar devices"].typical == pytest.approx(DEVICES[hidden] * float(process.device_m2))

    where = at_rest(layer, played)
    rows = {row.name: row for row in block_table(layer, tmp_path, where.p, where.z, played)}
    resistors = ["fixed resistors", *(["crossbar devices"] if hidden else [])]
    v = where.p * float(layer.spec.activation.v_scale_volt)
    x = layer.amp_offset_volt - v / layer.dc_gain
    own = float((((v - x) ** 2).sum(1) / layer.r_feedback_ohm).mean())
    whole = array_watt(layer, where.p, where.z, played)
    assert sum(rows[name].watt.typical for name in resistors) + own == pytest.approx(whole, rel=1e-6)


def test_power_of_a_law_alone_resistor_by_resistor():
    layer, played = layer_of(0), drives(3, M)
    where, spec = at_rest(layer, played), layer.spec
    full, total = float(spec.dac.full_scale_volt), 0.0
    plus, minus = layer.fixed_pairs
    for p, z, d in zip(where.p, where.z, played):
        volts = [float(a) * float(spec.activation.v_out_volt) for a in z] + [float(a) * full for a in d] + [full]
        for i in range(LAW):
            v = float(p[i]) * float(spec.activation.v_scale_volt)
            x = float(layer.amp_offset_volt[i]) - v / float(layer.dc_gain[i])
            total += (v - x) ** 2 / float(layer.r_feedback_ohm)
            for k, volt in enumerate(volts):
                total += float(plus[i, k]) * (-volt - x) ** 2 + float(minus[i, k]) * (volt - x) ** 2
    assert array_watt(layer, where.p, where.z, played) == pytest.approx(total / 3, rel=1e-10)
