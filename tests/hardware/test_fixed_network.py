"""A law in precision resistors: exact but for its tolerance, beside the crossbar and not behind its wires."""

import math

import pytest
import torch
from builders import CONTINUOUS, NO_MISMATCH, chain_law, drives, layer_of, matrices, normal, poisson_law, spec_with
from golden.registry import WIRES

from equilog.cells import CircuitCell, FixedCoupling
from equilog.devices import DigitalDevice, TwinDevice
from equilog.equilibrium import EquilibriumLayer
from equilog.hardware import Chip, Conditions, Population, load_spec, only, preset_names, program, program_cell, without
from equilog.hardware.effects.strength import at_strength
from equilog.hardware.noise import noise_at_rest
from equilog.hardware.technology.check import doubts
from equilog.hardware.technology.eseries import nearest
from equilog.hardware.transient import Transient
from equilog.hardware.twin import static_system
from equilog.model import HybridDEQ
from equilog.names import UserError

EXACT = spec_with("rram", NO_MISMATCH | {"fixed_network": None})
ROUGH = spec_with("rram", {"fixed_network.tolerance": 0.05})
LAW = chain_law(5, 3, 4, linear=3)


def held(spec, seed=0, fixed=LAW):
    return layer_of(spec, 5, 3, seed, fixed=fixed)


def test_the_chip_realises_weights_and_law_together():
    layer = held(EXACT)
    torch.testing.assert_close(layer.effective, layer.asked, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(layer.fixed_effective, LAW.columns(), rtol=1e-11, atol=1e-13)
    w, u, b = matrices(5, 3, 0, anchored=4)
    torch.testing.assert_close(layer.asked, torch.cat([w, u, b[:, None]], 1) + LAW.columns())
    assert layer.linear == 3


def test_of_a_pair_one_resistor_is_left_out_and_of_a_zero_both():
    layer = held(EXACT)
    plus, minus = layer.fixed_pairs
    assert (plus * minus == 0).all()
    assert torch.equal((plus > 0) | (minus > 0), LAW.columns() != 0)


def test_load_and_noise_gain_are_those_of_every_resistor():
    layer, bare = held(ROUGH), held(ROUGH, fixed=None)
    row = sum(g.sum(1) for g in (layer.g_plus_siemens, layer.g_minus_siemens, *layer.fixed_pairs))
    torch.testing.assert_close(layer.row_conductance_siemens, row)
    torch.testing.assert_close(layer.noise_gain, 1 + layer.r_feedback_ohm * row)
    assert bare.fixed_pairs is None
    assert bare.fixed_effective is None
    assert torch.equal(bare.asked, bare.target)


def test_the_crossbar_has_neither_levels_nor_errors_of_the_law():
    """Programming touches the crossbar only; the law's resistors differ from exact ones by their tolerance alone."""
    exact, real = held(without(ROUGH, "fixed-network")), held(ROUGH)
    assert torch.equal(exact.g_plus_siemens, real.g_plus_siemens)
    torch.testing.assert_close(exact.fixed_effective, LAW.columns(), rtol=1e-11, atol=1e-13)
    aged = program(matrices(5, 3, 0, anchored=4), Chip(ROUGH, 0), Conditions(86400.0, 350.0), fixed=LAW)
    assert not torch.equal(aged.g_plus_siemens, real.g_plus_siemens)
    assert torch.equal(aged.fixed_plus_siemens, real.fixed_plus_siemens)


def test_the_tolerance_is_what_it_says():
    n = 60
    law = FixedCoupling(0.5 * torch.ones(n, n), torch.ones(n, n), torch.ones(n))
    spec = spec_with("rram", CONTINUOUS | {"fixed_network.tolerance": 0.02})
    layer = program((torch.eye(n).double(), torch.eye(n).double(), torch.zeros(n).double()), Chip(spec, 3), fixed=law)
    error = layer.fixed_effective / law.columns() - 1
    assert float(error.std()) == pytest.approx(0.02, rel=5 / math.sqrt(2 * error.numel()))
    assert float(error.mean()) == pytest.approx(0, abs=5 * 0.02 / math.sqrt(error.numel()))


def test_outputs_without_activation_have_errors_of_their_own():
    layer = held(ROUGH, fixed=chain_law(5, 3, 4, linear=3))
    other = held(ROUGH, fixed=chain_law(5, 3, 4))
    assert torch.equal(layer.act_gain[3:], other.act_gain[3:])
    xi = Chip(ROUGH, 0).standard_normal("activation.gain", 5)
    torch.testing.assert_close(layer.act_gain[:3], 1 + 0.05 * xi[:3])
    offsets = float(ROUGH.amplifier.offset_sigma_volt) * Chip(ROUGH, 0).standard_normal("activation.offset", 5)
    torch.testing.assert_close(layer.act_offset_volt[:3], offsets[:3])
    off = held(without(ROUGH, "fixed-network", "amplifier-offset"))
    assert torch.equal(off.act_gain[:3], torch.ones(3).double())
    assert torch.equal(off.act_offset_volt[:3], torch.zeros(3).double())


@pytest.mark.parametrize("size", [1e-6, 0.1, 1.0, 10.0])
def test_r_f_is_that_of_the_largest_weight_learnt_or_given(size):
    w, u, b = (size * m for m in matrices(5, 3, 0, anchored=4))
    layer = program((w, u, b), Chip(EXACT, 0), fixed=LAW)
    bar = EXACT.crossbar
    largest = max(float(layer.target.abs().max()), float(LAW.columns().abs().max()))
    unit = float(EXACT.activation.v_scale_volt / EXACT.activation.v_out_volt)
    assert float(layer.r_feedback_ohm) == pytest.approx(largest * unit / (bar.g_max_siemens - bar.g_min_siemens))
    pairs = (layer.g_plus_siemens, layer.g_minus_siemens, *layer.fixed_pairs)
    assert all(float(g.max()) <= bar.g_max_siemens * (1 + 1e-12) for g in pairs)
    torch.testing.assert_close(layer.effective, layer.asked, rtol=1e-9, atol=1e-12)


def test_nothing_learnt_at_all_is_a_chip_too_but_nothing_and_no_law_is_none():
    zero = torch.zeros(5, 5).double()
    layer = program((zero, zero[:, :3], zero[0]), Chip(EXACT, 0), fixed=LAW)
    torch.testing.assert_close(layer.effective, LAW.columns(), rtol=1e-11, atol=1e-13)
    empty = FixedCoupling(zero, zero[:, :3], linear=2)
    with pytest.raises(ValueError, match="all weights are zero"):
        program((zero, zero[:, :3], zero[0]), Chip(EXACT, 0), fixed=empty)
    with pytest.raises(ValueError, match="5 states and 3 drives beside matrices of 4 and 3"):
        program(matrices(4, 3), Chip(EXACT, 0), fixed=LAW)
    broken = [m.clone() for m in matrices(5, 3)]
    broken[0][0, 0] = math.nan
    with pytest.raises(ValueError, match="inf or nan"):
        program(tuple(broken), Chip(EXACT, 0), fixed=LAW)


@pytest.mark.parametrize("wires", [{}, {"crossbar.wires": WIRES}], ids=["ideal wires", "wires"])
@pytest.mark.parametrize("size", [1.0, 0.05])
def test_gradcheck_of_programming_with_a_law(wires, size):
    """R_f is set by a learnt weight, or by the law: the fixed conductances follow it either way."""
    spec = spec_with("rram", CONTINUOUS | {"fixed_network.tolerance": 0.05} | wires)
    law = chain_law(3, 2, 3, linear=2)

    def realised(w, u, b):
        layer = program((w, u, b), Chip(spec, 2), fixed=law)
        return layer.effective, layer.load_siemens * 1e5, layer.fixed_plus_siemens * 1e5, layer.r_feedback_ohm / 1e4

    parts = tuple((size * a).requires_grad_() for a in matrices(3, 2, 0, anchored=3))
    assert torch.autograd.gradcheck(realised, parts, atol=2e-5)


def test_gradcheck_of_rest_through_a_chip_with_a_law():
    spec = spec_with("rram", CONTINUOUS | {"amplifier.rail_volt": None})
    law, rest = chain_law(3, 2, 3, linear=2), EquilibriumLayer(on_failure="raise")

    def settle(w, u, b, played):
        return rest(static_system(program((w, u, b), Chip(spec, 1), fixed=law), played))

    inputs = [t.clone().requires_grad_() for t in (*matrices(3, 2, 0, 1.0, anchored=3), 0.5 * drives(2, 2))]
    assert torch.autograd.gradcheck(settle, inputs, atol=1e-5)


@pytest.mark.parametrize("wires", [{}, {"crossbar.wires": WIRES}], ids=["ideal wires", "wires"])
def test_a_population_is_its_chips(wires):
    spec, seeds = spec_with("rram", {"fixed_network.tolerance": 0.05} | wires), (3, 7, 11)
    weights, played = matrices(5, 3, 0, anchored=4), drives(4, 3)
    crowd = program(weights, Population(spec, seeds), fixed=LAW)
    rest = EquilibriumLayer(on_failure="raise")
    p = rest.rest(static_system(crowd, played))
    v = p * float(spec.activation.v_scale_volt)
    noise, moving = noise_at_rest(crowd, v), Transient(crowd, played)
    grid = torch.linspace(0, 5 * crowd.time_constant_second, 6, dtype=torch.float64)
    for k, seed in enumerate(seeds):
        alone = program(weights, Chip(spec, seed), fixed=LAW)
        for name in ("fixed_plus_siemens", "fixed_minus_siemens", "transfer_siemens", "load_siemens", "act_gain"):
            torch.testing.assert_close(getattr(crowd, name)[k], getattr(alone, name), rtol=1e-12, atol=1e-18)
        ours = rest.rest(static_system(alone, played))
        torch.testing.assert_close(p[k], ours, rtol=0, atol=1e-7)
        own = noise_at_rest(alone, ours * float(spec.activation.v_scale_volt))
        torch.testing.assert_close(noise.rms_volt[k], own.rms_volt, rtol=1e-5, atol=0)
        wave = Transient(alone, played).at(grid).v_volt
        torch.testing.assert_close(moving.at(grid).v_volt[:, k], wave, rtol=0, atol=2e-5 * moving.v_a)


def test_same_seed_same_resistors_whatever_is_learnt():
    first, second = held(ROUGH, 9), program(matrices(5, 3, 50), Chip(ROUGH, 9), fixed=LAW)
    ratio = [layer.fixed_effective / torch.where(LAW.columns() == 0, 1.0, LAW.columns()) for layer in (first, second)]
    torch.testing.assert_close(*ratio)
    assert not torch.equal(first.fixed_plus_siemens, held(ROUGH, 8).fixed_plus_siemens)


def test_wires_lie_before_the_crossbar_only():
    plain, wired = (held(spec_with("rram", NO_MISMATCH | w)) for w in ({}, {"crossbar.wires": WIRES}))
    assert torch.equal(plain.fixed_plus_siemens, wired.fixed_plus_siemens)
    without_law = program(matrices(5, 3, 0, anchored=4), Chip(wired.spec, 0))
    assert wired.r_feedback_ohm == without_law.r_feedback_ohm
    torch.testing.assert_close(wired.effective, without_law.effective + wired.fixed_effective)
    own = sum(f.sum(1) for f in wired.fixed_pairs).diag()
    torch.testing.assert_close(wired.load_siemens, without_law.load_siemens + own)


def test_resistors_that_are_bought_come_in_their_series():
    spec = spec_with("board", {"fixed_network": None})
    layer = held(spec)
    for f in layer.fixed_pairs:
        for g in f[f > 0]:
            assert 1 / float(g) == pytest.approx(nearest(1 / float(g), "E96"), rel=1e-12)
    used = LAW.columns() != 0
    assert float((layer.fixed_effective[used] / LAW.columns()[used] - 1).abs().max()) < 0.013


def test_at_rest_as_the_matrices_say():
    """The exact chip rests where the digital equation does; one with every flaw does not, but near it."""
    torch.manual_seed(0)
    cell, d = CircuitCell(5, 3, fixed=LAW).double(), 0.9 * drives(6, 3)
    with torch.no_grad():
        cell.recurrent.b.add_(0.3 * normal(4, 5, 5))
    ideal, exact, real = DigitalDevice(), TwinDevice(Chip(load_spec("ideal"), 0)), TwinDevice(Chip(ROUGH, 0))
    z = []
    for device in (ideal, exact, real):
        device.program(cell)
        z.append(device.settle(d).z)
    assert (z[1] - z[0]).abs().max() < 1e-4
    assert 1e-3 < (z[2] - z[0]).abs().max() < 0.5


def test_steady_diffusion_on_a_grid_is_solved():
    law = poisson_law(4)
    fixed = FixedCoupling.of(law)
    cell = CircuitCell(16, 16, fixed=fixed).double()
    with torch.no_grad():
        cell.recurrent.a.zero_()
    d = torch.round(drives(3, 16) * 32767) / 32767
    exact = torch.linalg.solve(torch.eye(16).double() - law.weight, law.input_weight @ d.T).T
    device = TwinDevice(Chip(load_spec("ideal"), 0))
    device.program(cell)
    # An open-loop gain of 1e9 and nothing else.
    assert (device.settle(d).z - exact).abs().max() < 1e-6
    assert exact.abs().max() > 0.3


def test_one_helper_programs_any_cell():
    torch.manual_seed(0)
    cell = CircuitCell(5, 3, fixed=LAW)
    chip, when = Chip(ROUGH, 1), Conditions(3600.0)
    ours = program_cell(cell, chip, when, dtype=torch.float64)
    theirs = program(tuple(m.double() for m in cell.matrices()), chip, when, fixed=LAW)
    assert ours.effective.dtype == torch.float64
    assert torch.equal(ours.effective, theirs.effective)
    model = HybridDEQ(torch.nn.Identity(), cell, torch.nn.Identity())
    assert model.program(chip, when).fixed_plus_siemens.dtype == torch.float32
    torch.testing.assert_close(model.program(chip, when).effective.double(), ours.effective, rtol=1e-4, atol=1e-5)
    state = model.on_chip(drives(2, 3).float(), chip)
    state.z.sum().backward()
    assert float(cell.input_weight.grad.abs().max()) > 0


def test_a_cell_without_activations_that_no_law_explains_is_refused():
    class Odd:
        states, drives = 3, 2
        activation = CircuitCell(3, 2, fixed=chain_law(3, 2, 2, linear=2)).activation

        def matrices(self):
            return matrices(3, 2)

    with pytest.raises(UserError, match="2 of the cell's states have no activation, a chip would have 0"):
        TwinDevice(Chip(EXACT, 0)).program(Odd())


def test_the_block_is_checked_switched_and_weakened():
    with pytest.raises(UserError, match=r"fixed_network\.tolerance"):
        spec_with("rram", {"fixed_network.tolerance": -0.001})
    with pytest.raises(UserError, match=r"tolerence.*did you mean 'tolerance'"):
        spec_with("rram", {"fixed_network": {"tolerence": 0.001}})
    with pytest.raises(UserError, match=r"fixed_network"):
        spec_with("rram", {"fixed_network": {}})
    assert [doubt.keys for doubt in doubts(spec_with("rram", {"fixed_network.tolerance": 0.1}))] == [
        ("fixed_network.tolerance",)
    ]
    assert not doubts(ROUGH)
    assert without(ROUGH, "fixed-network").fixed_network is None
    assert only(ROUGH, "fixed-network").fixed_network.tolerance == 0.05
    assert float(at_strength(ROUGH, 0.5).fixed_network.tolerance) == pytest.approx(0.025)


@pytest.mark.parametrize("preset", preset_names())
def test_presets_say_where_their_tolerance_comes_from(preset):
    block = load_spec(preset).fixed_network
    assert (block is None) == (preset == "ideal")
    assert block is None or (block.tolerance.source and 0 < block.tolerance < 0.01)
