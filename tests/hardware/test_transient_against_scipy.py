"""The twin in time solves the circuit's differential equations: against SciPy, at rest, and in its own order."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from builders import NO_MISMATCH, spec_with
from hypothesis import given
from hypothesis import strategies as st
from transient_cases import UNLIMITED, away, circuit_derivative, error, make, references, rest_volt

from equilog.hardware import Chip, program
from equilog.hardware.transient import Transient

WIRES = {"word_line_ohm": 100.0, "bit_line_ohm": 50.0}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"amplifier.gbw_hertz": 1e7},
        {"amplifier.dc_gain": 100.0},
        {"amplifier.offset_sigma_volt": 0.02},
        {"crossbar.wires": WIRES},
        {"crossbar.wires": WIRES, "amplifier.gbw_hertz": 1e7},
        {"amplifier.input_bias_ampere": 1e-6},
        UNLIMITED,
    ],
    ids=["rram", "slow amplifier", "low gain", "large offset", "wires", "wires, slow", "bias current", "unlimited"],
)
def test_against_an_adaptive_integrator(changes):
    layer, played = make(spec_with("rram", changes))
    moving = Transient(layer, played, tolerance=1e-6)
    assert error(moving, layer, played, moving.grid(5 * layer.time_constant_second)) < 2e-6


def test_resistive_wires_and_bias_currents_are_seen():
    """What the test above compares is not lost in its tolerance."""
    both = {"crossbar.wires": WIRES, "amplifier.input_bias_ampere": 1e-6, "amplifier.dc_gain": 50.0}
    layer, played = make(spec_with("rram", both))
    moving = Transient(layer, played)
    time = moving.grid(2 * layer.time_constant_second)
    for missing in ("crossbar.wires", "amplifier.input_bias_ampere"):
        other, _ = make(spec_with("rram", {key: value for key, value in both.items() if key != missing}))
        assert error(moving, other, played, time) > 1e-3
    without = replace(layer, load_siemens=layer.load_siemens.diagonal().diag())
    with_neighbours, alone = (Transient(one, played, tolerance=1e-7).at(time).v_volt for one in (layer, without))
    assert (alone - with_neighbours).abs().max() / moving.v_a > 2e-5


@pytest.mark.parametrize("gbw_hertz", [1e7, 1e8, 1e9])
def test_error_keeps_to_the_tolerance_and_falls_with_it(gbw_hertz):
    layer, played = make(spec_with("rram", {"amplifier.gbw_hertz": gbw_hertz}), n=4, norm=4.0)
    time = Transient(layer, played).grid(3 * layer.time_constant_second)
    expected, errors = references(layer, played, time), []
    for tolerance in (1e-3, 1e-4, 1e-5, 1e-6):
        errors.append(away(Transient(layer, played, tolerance=tolerance), expected, time))
        assert errors[-1] < 1.5 * tolerance
    for loose, tight in pairwise(errors):
        assert tight < loose / 3


def test_the_default_is_a_decade_finer_than_verification_asks():
    layer, played = make(n=4, norm=4.0)
    moving = Transient(layer, played)
    assert 1e-8 < error(moving, layer, played, moving.grid(4 * layer.time_constant_second)) < 1e-5


def test_without_tolerance_error_falls_with_the_fourth_power_of_the_step():
    layer, played = make(spec_with("rram", UNLIMITED | {"amplifier.gbw_hertz": 1e7}), norm=4.0)
    time = Transient(layer, played).grid(3 * layer.time_constant_second)
    expected, errors = references(layer, played, time, 1e-12), []
    for steps in (10, 20, 40):
        moving = Transient(layer, played, steps_per_tau=steps)
        errors.append(away(moving, expected, time))
        assert (moving.statistics.rejected == 0).all()
    assert math.log2(errors[0] / errors[1]) > 3.2, errors
    assert math.log2(errors[1] / errors[2]) > 3.4, errors


def test_a_denser_grid_does_not_cost_steps():
    layer, played = make()
    runs = []
    for moving in (Transient(layer, played), Transient(layer, played, steps_per_tau=200)):
        moving.run(5 * moving.time_scale_second)
        runs.append((len(moving.grid(5 * moving.time_scale_second)), moving.statistics.steps))
    assert runs[0][0] < runs[1][0] / 5
    assert (runs[0][1] - runs[1][1]).abs().max() <= 1  # they do not end at the same instant


def test_every_sample_takes_its_own_steps():
    layer, played = make(n=6, batch=8, norm=4.0)
    moving = Transient(layer, played)
    moving.run(10 * layer.time_constant_second)
    assert len(moving.statistics.steps.unique()) > 3


def test_what_is_seen_does_not_depend_on_when_it_is_looked_at():
    layer, played = make(n=4)
    moving = Transient(layer, played)
    fine = torch.linspace(0, 6 * layer.time_constant_second, 2001, dtype=torch.float64)
    coarse = fine[torch.tensor([0, 3, 4, 5, 700, 701, 702, 1999])]
    of_fine, of_coarse = moving.at(fine), moving.at(coarse)
    where = torch.searchsorted(fine, coarse)
    assert torch.equal(of_fine.v_volt[where], of_coarse.v_volt)
    assert torch.equal(of_fine.slope_volt_per_second[where], of_coarse.slope_volt_per_second)


def test_two_passes_at_a_time_do_not_meet():
    layer, played = make(n=4)
    moving = Transient(layer, played)
    grid = moving.grid(3 * layer.time_constant_second)
    alone = list(moving.states(grid))
    for expected, (a, b) in zip(alone, zip(moving.states(grid), moving.states(grid))):
        assert torch.equal(a, expected)
        assert torch.equal(b, expected)


def test_the_recorded_slope_is_the_slope_of_the_record():
    layer, played = make()
    ours = Transient(layer, played).run(3 * layer.time_constant_second)
    for k in range(2):
        derivative = circuit_derivative(layer, played[k].numpy())
        at_start = derivative(0.0, np.zeros(6))[3:]
        np.testing.assert_allclose(ours.slope_volt_per_second[0, k], at_start, rtol=1e-10, atol=1e-6)
    t, v, slope = ours.time_second, ours.v_volt, ours.slope_volt_per_second
    middle = (v[2:] - v[:-2]) / (t[2:] - t[:-2])[:, None, None]
    late = slice(-40, -1)  # evenly spaced, smooth
    assert (middle[late] - slope[1:-1][late]).abs().max() < 1e-2 * slope.abs().max()


def test_states_and_their_slopes_fit_together():
    layer, played = make(n=4)
    moving = Transient(layer, played)
    grid = moving.grid(3 * layer.time_constant_second)
    ours = moving.run(3 * layer.time_constant_second)
    for k, w in enumerate(moving.states(grid)):
        assert w.shape == (2, 4, 2)
        assert torch.equal(w[..., 1], ours.v_volt[k])
        difference = (moving.slope(w)[..., 1] - ours.slope_volt_per_second[k]).abs().max()
        assert difference < 3e-4 * ours.slope_volt_per_second.abs().max()


@pytest.mark.parametrize("preset", ["rram", "board", "ideal"])
def test_ends_at_the_static_resting_point(preset):
    layer, played = make(spec_with(preset), n=6)
    moving, rest = Transient(layer, played), rest_volt(layer, played)
    duration = 25 / -float(moving.spectral_abscissa(rest).max())
    end = moving.at(torch.tensor([duration])).v_volt[-1]
    assert (end - rest).abs().max() / moving.v_a < 1e-9


@pytest.mark.parametrize("changes", [{}, {"crossbar.wires": WIRES, "amplifier.input_bias_ampere": 1e-6}])
def test_nothing_moves_at_the_static_resting_point(changes):
    layer, played = make(spec_with("rram", changes), n=5)
    moving, v = Transient(layer, played), rest_volt(layer, played)
    x = layer.amp_offset_volt - v / layer.dc_gain
    slope = moving.slope(torch.stack([x - v, v], dim=-1))
    assert slope.abs().max() * layer.time_constant_second / moving.v_a < 1e-9


@pytest.mark.parametrize("changes", [{}, {"crossbar.wires": WIRES}], ids=["ideal wires", "wires"])
def test_the_linearised_circuit_is_a_finite_difference_jacobian(changes):
    layer, played = make(spec_with("rram", changes), n=4, norm=4.0)
    moving, v = Transient(layer, played), rest_volt(layer, played)
    w = torch.stack([layer.amp_offset_volt - v / layer.dc_gain - v, v], dim=-1)
    matrix, abscissa = moving.linearised(v), moving.spectral_abscissa(v)
    step = 1e-6 * moving.v_a
    for k in range(len(played)):
        columns = []
        for unit in torch.eye(8, dtype=torch.float64).reshape(8, 4, 2):
            up, down = w.clone(), w.clone()
            up[k] += step * unit
            down[k] -= step * unit
            columns.append((moving.slope(up)[k] - moving.slope(down)[k]).flatten() / (2 * step))
        numerical = torch.stack(columns, dim=1)
        torch.testing.assert_close(matrix[k], numerical, rtol=1e-5, atol=1e-6 * float(matrix.abs().max()))
        poles = np.linalg.eigvals(numerical.numpy())
        assert float(abscissa[k]) == pytest.approx(poles.real.max(), rel=1e-5)


def test_settling_time_is_that_of_the_full_trajectory():
    layer, played = make(n=4, batch=5)
    moving, rest = Transient(layer, played), rest_volt(layer, played)
    duration, tolerance = 25 * layer.time_constant_second, 1e-3
    settled, end = moving.settle(rest, tolerance, duration)
    full = moving.run(duration)
    assert torch.equal(end, full.v_volt[-1])
    gap = (moving.activation(full.v_volt) - moving.activation(rest)).abs().amax(2)
    for k in range(5):
        last_outside = int((gap[:, k] > tolerance).nonzero().max())
        assert float(settled[k]) == float(full.time_second[last_outside + 1])


def test_a_sample_still_moving_at_the_end_never_settles():
    layer, played = make()
    moving = Transient(layer, played)
    settled, _ = moving.settle(rest_volt(layer, played), 1e-6, 0.5 * layer.time_constant_second)
    assert torch.isinf(settled).all()


def test_what_is_wide_of_the_mark_settles_at_once():
    layer, played = make()
    settled, _ = Transient(layer, played).settle(rest_volt(layer, played), 3.0, layer.time_constant_second)
    assert (settled == 0).all()


@given(st.floats(1e-12, 1e-4), st.integers(2, 200))
def test_the_grid_begins_at_zero_reaches_the_end_and_never_exceeds_its_step(duration, steps):
    layer, played = make(n=1, m=1, batch=1)
    moving = Transient(layer, played, steps_per_tau=steps)
    grid = moving.grid(min(duration, 50 * layer.time_constant_second))
    assert grid[0] == 0
    assert grid[-1] >= min(duration, 50 * layer.time_constant_second) * (1 - 1e-9)
    gaps = grid.diff()
    assert (gaps > 0).all()
    assert (gaps <= moving.step_second * (1 + 1e-9)).all()


def oscillator(gbw_hertz):
    """A pair with a strong skew coupling: the map settles, slow amplifiers turn it into an oscillator."""
    spec = spec_with("rram", NO_MISMATCH | {"amplifier.gbw_hertz": gbw_hertz})
    w = torch.tensor([[0.0, 12.0], [-12.0, 0.0]], dtype=torch.float64)
    zero = torch.full((2, 1), 1e-3, dtype=torch.float64)
    return program((w, zero, zero[:, 0]), Chip(spec, 0)), torch.zeros(1, 1, dtype=torch.float64)


def test_slow_amplifiers_destabilise_a_stable_map_and_that_is_seen():
    for gbw, stable in ((1e9, True), (2e6, False)):
        layer, played = oscillator(gbw)
        moving, rest = Transient(layer, played), rest_volt(layer, played)
        assert bool(moving.spectral_abscissa(rest)[0] < 0) is stable
        settled, _ = moving.settle(rest, 0.01, 60 * layer.time_constant_second)
        assert bool(torch.isfinite(settled[0])) is stable


def test_positive_feedback_beyond_one_is_unstable_at_the_origin():
    spec = spec_with("rram", NO_MISMATCH)
    one = torch.ones(1, 1, dtype=torch.float64)
    layer = program((3 * one, one, 0 * one[0]), Chip(spec, 0))
    abscissa = Transient(layer, 0 * one).spectral_abscissa(0 * one)
    # Near (3 − 1)/τ, amplifiers being fast.
    assert float(abscissa[0]) * layer.time_constant_second == pytest.approx(2, rel=0.2)
