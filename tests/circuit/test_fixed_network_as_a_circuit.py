"""A law as a circuit: every resistor where it should be, counted, paid for, driven backwards, or refused by name."""

import re

import pytest
import torch
from builders import chain_law, drives, layer_of, normal, poisson_law, spec_with
from golden.registry import WIRES

from equilog.cells import CircuitCell, FixedCoupling, LinearCell
from equilog.circuit import Ngspice, component_count, rest, write_circuit
from equilog.circuit.adjoint import adjoint_gradient, adjoint_twin
from equilog.circuit.board import design
from equilog.circuit.chain import write_chain
from equilog.circuit.elements import elements
from equilog.circuit.parts import OTHER, block_of, blocks
from equilog.circuit.sky130 import characterised_spec, write_transistor_circuit
from equilog.cost.analog import array_watt
from equilog.cost.area import area_parts
from equilog.cost.parts import block_table
from equilog.cost.writing import devices
from equilog.devices import LucidacTwin, NgspiceDevice, TwinDevice
from equilog.equilibrium import EquilibriumLayer
from equilog.hardware import Chip, load_spec
from equilog.hardware.rest import at_rest
from equilog.hardware.twin import static_system
from equilog.names import UserError

LAW = chain_law(5, 3, 4, linear=3)
SETTLE = EquilibriumLayer(on_failure="raise")


def held(preset="rram", changes=None, fixed=LAW):
    return layer_of(spec_with(preset, changes), 5, 3, 1, fixed=fixed)


def laws_resistors(folder):
    found = {}
    for line in (folder / "fixed.inc").read_text().splitlines():
        if match := re.fullmatch(r"Rk([pm])_(\d+)_(\d+) (\S+) x(\d+) (\S+)", line):
            kind, i, k, node, row, ohm = match.groups()
            assert i == row
            found[kind, int(i), int(k)] = (node, float(ohm))
        else:
            assert not line or line.startswith("*")
    return found


@pytest.mark.parametrize("wires", [{}, {"crossbar.wires": WIRES}], ids=["ideal wires", "wires"])
def test_every_resistor_is_its_conductance_and_hangs_straight_at_the_virtual_ground(wires, tmp_path):
    layer = held(changes=wires)
    paths = write_circuit(layer, tmp_path)
    assert tmp_path / "fixed.inc" in paths
    found, (plus, minus) = laws_resistors(tmp_path), layer.fixed_pairs
    for i in range(5):
        for k in range(9):
            nodes = (f"sp{k}", f"sn{k}") if k < 5 else (f"dp{k - 5}", f"dn{k - 5}") if k < 8 else ("refp", "refn")
            for kind, node, g in (("p", nodes[1], plus[i, k]), ("m", nodes[0], minus[i, k])):
                assert found.get((kind, i, k)) == ((node, 1 / float(g)) if g > 0 else None)
    assert len(found) == component_count(layer)["fixed resistors"] == int((LAW.columns() != 0).sum())
    text = (tmp_path / "layer.cir").read_text()
    kinds = re.findall(r"^Xn\d+ .* (\w+)$", text, re.M)
    assert kinds == 3 * ["linear_neuron_limited"] + 2 * ["neuron_limited"]
    comments = (tmp_path / "crossbar.inc").read_text()
    mine, law = layer.effective - layer.fixed_effective, layer.fixed_effective
    assert f"* W[0,1] = {mine[0, 1]:+.4f} ({layer.target[0, 1]:+.4f})" in comments
    assert f"* law W[0,1] = {law[0, 1]:+.4f} ({LAW.weight[0, 1]:+.4f})" in (tmp_path / "fixed.inc").read_text()


def test_a_layer_without_a_law_leaves_none_behind(tmp_path):
    write_circuit(held(), tmp_path)
    write_circuit(held(fixed=None), tmp_path)
    assert not (tmp_path / "fixed.inc").exists()
    assert "fixed.inc" not in (tmp_path / "layer.cir").read_text()
    assert "fixed resistors" not in component_count(held(fixed=None))


@pytest.mark.parametrize("write", [write_circuit, write_chain])
def test_the_law_is_counted_in_the_deck_as_in_the_layer(write, tmp_path):
    layer = held()
    write(layer, tmp_path)
    counts, expected = {row.name: row.count for row in blocks(tmp_path)}, component_count(layer)
    for name in ("fixed resistors", "linear outputs", "crossbar devices"):
        assert counts[name] == expected[name], name
    assert counts["activations"] == expected["activation blocks"] == 2
    assert counts["linear outputs"] == 3
    assert [e.label for e in elements(tmp_path) if not e.subckt and block_of(e) == OTHER] == []
    assert devices(layer) == 2 * 5 * 9  # nobody programs the law


@pytest.mark.parametrize(
    ("preset", "changes"), [("rram", {}), ("rram", {"crossbar.wires": WIRES}), ("rram", {"amplifier.dc_gain": 50.0})]
)
def test_power_and_area_of_twin_and_netlist_are_the_same(preset, changes, tmp_path):
    layer, played = held(preset, changes), drives(3, 3)
    write_circuit(layer, tmp_path)
    where = at_rest(layer, played)
    rows = {row.name: row for row in block_table(layer, tmp_path, where.p, where.z, played)}
    law, crossbar = rows["fixed resistors"], rows["crossbar devices"]
    feedback = rows["summing integrators"]
    burnt = law.watt.typical + crossbar.watt.typical
    whole = array_watt(layer, where.p, where.z, played)
    v = where.p * float(layer.spec.activation.v_scale_volt)
    x = layer.amp_offset_volt - v / layer.dc_gain
    own = float((((v - x) ** 2).sum(1) / layer.r_feedback_ohm).mean())
    assert burnt + own == pytest.approx(whole, rel=1e-6)
    assert law.watt.typical > 0.01 * whole
    assert feedback.watt.typical > 0
    area = area_parts(layer)
    for name in ("fixed resistors", "linear outputs", "activations"):
        assert rows[name].area_m2.typical == pytest.approx(area[name].typical), name
    outputs = [rows["linear outputs"].watt.typical / 3, rows["activations"].watt.typical / 2]
    assert outputs[0] == pytest.approx(outputs[1])


def test_a_board_pays_its_law_by_the_part():
    layer = held("board")
    each = area_parts(layer)["fixed resistors"].typical / component_count(layer)["fixed resistors"]
    devices_ = area_parts(layer)["crossbar devices"].typical / component_count(layer)["crossbar devices"]
    assert each == pytest.approx(devices_)


@pytest.mark.ngspice
def test_steady_diffusion_on_a_grid_is_what_ngspice_settles(simulator: Ngspice):
    law = poisson_law(4)
    cell, d = CircuitCell(16, 16, fixed=FixedCoupling.of(law)).double(), torch.round(drives(3, 16) * 32767) / 32767
    with torch.no_grad():
        cell.recurrent.a.zero_()
    exact = torch.linalg.solve(torch.eye(16).double() - law.weight, law.input_weight @ d.T).T
    twin, spice = TwinDevice(Chip(load_spec("ideal"), 0)), NgspiceDevice(Chip(load_spec("ideal"), 0), simulator)
    for device in (twin, spice):
        device.program(cell)
        assert (device.settle(d).z - exact).abs().max() < 1e-6
    assert (spice.settle(d).z - twin.settle(d).z).abs().max() < 1e-7
    spice.close()


@pytest.mark.ngspice
@pytest.mark.parametrize("spoil", ["fixed.inc", "linear"])
def test_a_deviant_part_is_noticed(spoil, simulator: Ngspice, tmp_path):
    """The comparison can fail: a resistor of the law, or the gain of an output, off by one per cent."""
    layer, played = held(changes={"amplifier.dc_gain": 1e5}), drives(3, 3)
    write_circuit(layer, tmp_path, rest=played)
    if spoil == "linear":
        file, old, new = tmp_path / "blocks.lib", "in 0 {vs*gain/va}", "in 0 {1.01*vs*gain/va}"
    else:
        file = tmp_path / "fixed.inc"
        old = next(line for line in file.read_text().splitlines() if line.startswith("Rk"))
        *head, ohm = old.split()
        new = " ".join([*head, repr(1.01 * float(ohm))])
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    v, _ = rest(simulator, tmp_path, 5, 3)
    p = SETTLE.rest(static_system(layer, played))
    assert (v / layer.spec.activation.v_scale_volt - p).abs().max() > 1e-5


@pytest.mark.parametrize("wires", [{}, {"crossbar.wires": WIRES}], ids=["ideal wires", "wires"])
def test_the_law_too_is_driven_from_its_other_side(wires):
    layer, played, g = held(changes={"amplifier.dc_gain": 1e6} | wires), drives(3, 3), normal(5, 3, 5)
    system = static_system(layer, played)
    injection = system.injection.detach().requires_grad_()
    (g * SETTLE(type(system)(system.weight, injection, system.activation))).sum().backward()
    tolerance = 1e-7 if not wires else 1e-4
    assert (adjoint_twin(layer, played, g) - injection.grad).abs().max() < tolerance * injection.grad.abs().max()


@pytest.mark.ngspice
def test_the_adjoint_circuit_with_a_law_in_ngspice(simulator: Ngspice):
    layer, played, g = held(changes={"crossbar.wires": WIRES}), drives(2, 3), normal(5, 2, 5)
    twin, measured = adjoint_twin(layer, played, g), adjoint_gradient(layer, played, g, simulator)
    assert (measured - twin).abs().max() < 1e-6 * twin.abs().max()


def test_a_board_holds_a_law_between_states_with_activations():
    layer = held("board", fixed=chain_law(5, 3, 4))
    board = design(layer)
    law = [c for c in board.components if " law " in c.role]
    assert len(law) == component_count(layer)["fixed resistors"]
    nominal = board.nominal.fixed_pairs
    for c in law:
        match = re.fullmatch(r"(\w)\[(\d),?(\d?)\] law ([+-])", c.role)
        kind, i, k, sign = match.groups()
        column = {"W": 0, "U": 5, "b": 8}[kind] + int(k or 0)
        assert c.part.ohm == pytest.approx(1 / float(nominal[sign == "-"][int(i), column]), rel=1e-9)
        assert c.nets["2"] == f"x{i}"
    assert layer.effective.shape == board.nominal.effective.shape
    with pytest.raises(UserError, match="3 states have no activation"):
        design(held("board"))
    tiny = chain_law(5, 3, 4)
    tiny.weight[0, 1] = 1e-7
    with pytest.raises(UserError, match=r"the law needs a resistor of .* ohm"):
        design(held("board", fixed=tiny))


@pytest.mark.parametrize("linear", [0, 3])
def test_transistors_refuse_a_law(linear, tmp_path):
    layer = layer_of(characterised_spec(), 5, 3, 1, fixed=chain_law(5, 3, 4, linear=linear))
    with pytest.raises(UserError, match="no fixed network"):
        write_transistor_circuit(layer, tmp_path)


def test_the_lucidac_holds_a_law_alone_and_no_activation():
    g = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    law = LinearCell.network(g, torch.ones(3).double(), torch.eye(3).double())
    cell = CircuitCell(3, 3, fixed=FixedCoupling.of(law)).double()
    with torch.no_grad():
        cell.recurrent.a.zero_()
    d, device = 0.5 * drives(2, 3), LucidacTwin()
    device.program(cell)
    exact = torch.linalg.solve(torch.eye(3).double() - law.weight, law.input_weight @ d.T).T
    assert (device.settle(d).z - exact).abs().max() < 1e-3
    with pytest.raises(UserError, match="activation is Mixed: the LUCIDAC has none"):
        device.program(CircuitCell(4, 3, fixed=FixedCoupling.of(law, 1)).double())
