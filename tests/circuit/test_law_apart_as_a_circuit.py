"""A law apart as a circuit: no line for a device that is not there, on a board no part, and the whole chain works."""

import re

import pytest
import torch
from builders import apart_cell, chain_law, drives, spec_with
from golden.registry import WIRES

from equilog.circuit import Ngspice, component_count, write_circuit
from equilog.circuit.board import design
from equilog.circuit.board.bom import power_watt
from equilog.devices import DigitalDevice, NgspiceDevice, TwinDevice, verify
from equilog.hardware import Chip, load_spec, program, program_cell, without
from equilog.model import HybridDEQ
from equilog.names import UserError

CELL = apart_cell(6, 3, chain_law(6, 3, 4, linear=3), seed=2).requires_grad_(False)


@pytest.mark.parametrize("wires", [{}, {"crossbar.wires": WIRES}], ids=["ideal wires", "wires"])
def test_every_device_that_is_there_and_no_other(wires, tmp_path):
    spec = spec_with("rram", wires | {"crossbar.programming_sigma": None})
    layer = program_cell(CELL, Chip(spec, 1))
    write_circuit(layer, tmp_path)
    text = (tmp_path / "crossbar.inc").read_text()
    found = {
        (kind, int(i), int(k)): float(ohm)
        for kind, i, k, ohm in re.findall(r"^R([pm])_(\d+)_(\d+) \S+ \S+ (\S+)$", text, re.M)
    }
    places = [tuple(place) for place in CELL.populated.nonzero().tolist()]
    assert {key[1:] for key in found} == set(places)
    assert len(found) == 2 * len(places) == component_count(layer)["crossbar devices"]
    for (kind, i, k), ohm in found.items():
        g = layer.g_plus_siemens if kind == "p" else layer.g_minus_siemens
        assert ohm == 1 / float(g[i, k])
    assert text.count("does not conduct") == 0
    assert len(re.findall(r"^\* [WUb]\[", text, re.M)) == len(places)


def test_without_a_crossbar_no_line_of_one_is_left(tmp_path):
    alone = apart_cell(4, 3, chain_law(4, 3, 4, linear=4)).requires_grad_(False)
    write_circuit(program_cell(CELL, Chip(load_spec("rram"), 1)), tmp_path)
    write_circuit(program_cell(alone, Chip(spec_with("rram", {"crossbar.wires": WIRES}), 1)), tmp_path)
    lines = (tmp_path / "crossbar.inc").read_text().splitlines()
    assert all(not line or line.startswith("*") for line in lines)
    assert ".include fixed.inc" in (tmp_path / "layer.cir").read_text()


def test_a_board_has_a_part_for_each_and_none_for_what_is_not_there():
    fixed = chain_law(4, 2, 3)  # boards have a pair for every neuron
    cell = apart_cell(4, 2, fixed, size=0.5).requires_grad_(False)
    layer = program_cell(cell, Chip(load_spec("board"), 1))
    board = design(layer)
    rows = [part for part in board.components if part.block.startswith("crossbar row")]
    law = int((fixed.columns() != 0).sum())
    assert len(rows) == layer.devices + law
    assert layer.devices == 2 * (7 + 3)
    full = design(program(cell.matrices(), Chip(load_spec("board"), 1), fixed=fixed))
    assert len([part for part in full.components if part.block.startswith("crossbar row")]) == 2 * 4 * 7 + law
    assert power_watt(board)["crossbar, at most"] < power_watt(full)["crossbar, at most"]


def test_a_board_still_has_no_neuron_without_an_activation():
    alone = apart_cell(4, 3, chain_law(4, 3, 4, linear=4)).requires_grad_(False)
    with pytest.raises(UserError, match="4 states have no activation"):
        design(program_cell(alone, Chip(load_spec("board"), 1)))


def test_how_many_devices_a_board_would_have_is_said():
    big = apart_cell(18, 2, chain_law(18, 2, 17)).requires_grad_(False)
    with pytest.raises(UserError, match=r"18 neurons, expected at most 16 \(.*; 76 crossbar resistors in all"):
        design(program_cell(big, Chip(load_spec("board"), 1)))


@pytest.mark.ngspice
@pytest.mark.parametrize("hidden", [0, 2])
def test_verified_on_every_rung(hidden, simulator: Ngspice):
    cell = apart_cell(4 + hidden, 3, chain_law(4 + hidden, 3, 4, linear=4), seed=1).requires_grad_(False)
    model = HybridDEQ(torch.nn.Identity(), cell, torch.nn.Identity())
    ladder = verify(model, Chip(load_spec("rram"), 3), 0.5 * drives(3, 3), settle_samples=1, simulator=simulator)
    assert ladder.report.verified
    assert {rung.rung for rung in ladder.report.rungs} >= {"ngspice at rest", "ngspice in time"}
    assert all(rung.max_error <= rung.tolerance for rung in ladder.report.rungs if rung.tolerance is not None)


@pytest.mark.ngspice
def test_devices_agree_on_what_is_asked(simulator: Ngspice):
    """The exact chip in ngspice rests at the digital equation; the real one at its twin."""
    d = torch.round(0.4 * drives(3, 3) * 32767) / 32767
    exact = without(load_spec("ideal"), "levels")
    with NgspiceDevice(Chip(exact, 0), simulator) as spice:
        digital = DigitalDevice()
        for device in (digital, spice):
            device.program(CELL)
        assert (spice.settle(d).z - digital.settle(d).z).abs().max() < 1e-4
    real = Chip(load_spec("rram"), 4)
    with NgspiceDevice(real, simulator) as spice:
        twin = TwinDevice(real)
        for device in (twin, spice):
            device.program(CELL)
        assert (spice.settle(d).z - twin.settle(d).z).abs().max() < 1e-6
