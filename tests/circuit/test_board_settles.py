"""The board's own parts, transistors and all, rest where the twin does; the wrong ones do not."""

import pytest
import torch
from builders import drives, layer_of
from hypothesis import given
from hypothesis import strategies as st

from equilog.circuit import rest, settle
from equilog.circuit.board import design
from equilog.circuit.board import values as board_values
from equilog.circuit.board.deck import write_rest_bench, write_settle_bench
from equilog.equilibrium import Auto, EquilibriumLayer
from equilog.hardware import load_spec
from equilog.hardware.twin import static_system

BOARD = load_spec("board")


@pytest.mark.ngspice
@pytest.mark.parametrize(("n", "m", "norm", "seed"), [(8, 4, 2.0, 0), (1, 1, 1.0, 1), (16, 10, 1.5, 2), (8, 2, 3.5, 3)])
def test_the_parts_settle_where_the_twin_does(simulator, tmp_path, n, m, norm, seed):
    """Transistors, difference amplifiers and drives as drawn, against tanh and ideal converters: 1 % of a state."""
    board = design(layer_of(BOARD, n, m, seed, norm))
    played = drives(4, m, seed)
    write_rest_bench(board, tmp_path, played)
    _, s = rest(simulator, tmp_path, n, 4)
    expected = torch.tanh(EquilibriumLayer(Auto(rtol=1e-10)).rest(static_system(board.nominal, played)))
    off = (s / BOARD.activation.v_out_volt - expected).abs()
    assert float(off.max()) < 0.01
    assert float(off.mean()) < 0.003
    assert float(expected.abs().max()) > 0.05


@pytest.mark.ngspice
@pytest.mark.parametrize(("m", "norm", "seed"), [(4, 2.0, 0), (2, 3.5, 3)])
def test_the_parts_come_to_rest(simulator, tmp_path, m, norm, seed):
    """The poles of difference amplifier and inverter, which the twin does not have, leave the loop stable."""
    board = design(layer_of(BOARD, 8, m, seed, norm))
    played = drives(1, m, seed)
    write_settle_bench(board, tmp_path, played[0])
    wave = settle(simulator, tmp_path, 8, 0)
    late = wave.s_volt[wave.time_second > 50 * board.nominal.time_constant_second]
    assert float((late.amax(0) - late.amin(0)).max()) < 1e-4
    expected = torch.tanh(EquilibriumLayer(Auto(rtol=1e-10)).rest(static_system(board.nominal, played)))
    assert float((late[-1] - expected[0]).abs().max()) < 0.01
    assert float(wave.s_volt[0].abs().max()) < 0.05


@pytest.mark.ngspice
def test_a_wrong_resistor_shows(simulator, tmp_path):
    """The comparison above can fail: swap one weight's polarity and it does."""
    board = design(layer_of(BOARD, 4, 2))
    largest = int(board.nominal.target[0].abs().argmax())
    label = "WU"[largest >= 4] if largest < 6 else "b"
    pair = [c for c in board.components if c.block == "crossbar row 0" and c.role.startswith(f"{label}[0")]
    pair = sorted(pair, key=lambda c: c.part.ohm)[:1]
    pair += [c for c in board.components if c.role[:-1] == pair[0].role[:-1] and c is not pair[0]]
    pair[0].nets["1"], pair[1].nets["1"] = pair[1].nets["1"], pair[0].nets["1"]
    played = drives(4, 2)
    write_rest_bench(board, tmp_path, played)
    _, s = rest(simulator, tmp_path, 4, 4)
    expected = torch.tanh(EquilibriumLayer(Auto(rtol=1e-10)).rest(static_system(board.nominal, played)))
    assert float((s - expected).abs().max()) > 0.05


@given(st.floats(0.15, 2.0), st.sampled_from(["E24", "E96", "E192"]))
def test_fixed_parts_give_what_they_are_for(volt, series):
    activation = board_values.activation_values(volt, series)
    coarse = {"E24": 0.03, "E96": 0.004, "E192": 0.002}[series]
    assert activation.amplitude_volt == pytest.approx(volt, rel=coarse)
    drive = board_values.drive_values(volt, series)
    for played in (-1.0, 1.0):
        dac = drive.dac_volt(played, volt)
        assert 0.005 < dac <= 2.5
        # The inverting stage, written out: what it makes of the DAC and of the negative reference.
        assert -drive.feedback * (dac / drive.dac - volt / drive.reference) == pytest.approx(-played * volt)
