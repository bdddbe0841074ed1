"""The twin in time solves the circuit's differential equations: against SciPy, at rest, and in its own order."""

import math

import numpy as np
import pytest
import torch
from builders import NO_MISMATCH, drives, layer_of, spec_with
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from equilog.equilibrium import EquilibriumLayer
from equilog.hardware import Chip, program
from equilog.hardware.transient import Transient
from equilog.hardware.twin import static_system

RRAM = spec_with("rram")


def make(spec=RRAM, n=3, m=2, batch=2, seed=1, norm=2.0):
    return layer_of(spec, n, m, seed, norm), drives(batch, m, seed)


def rest_volt(layer, played):
    p = EquilibriumLayer(on_failure="raise").rest(static_system(layer, played))
    return p * float(layer.spec.activation.v_scale_volt)


def circuit_derivative(layer, played):
    """d(x, v)/dt of one sample, from node currents and the amplifier's pole, independent of the library."""
    spec, n = layer.spec, layer.states
    plus, minus = layer.g_plus_siemens.numpy(), layer.g_minus_siemens.numpy()
    r_f, c_f = float(layer.r_feedback_ohm), float(layer.c_feedback_farad)
    omega = 2 * math.pi * layer.gbw_hertz.numpy()
    fixed = np.append(played, 1.0) * float(spec.dac.full_scale_volt)

    def derivative(_t, state):
        x, v = state[:n], state[n:]
        s = (
            float(spec.activation.v_out_volt)
            * layer.act_gain.numpy()
            * np.tanh((v - layer.act_offset_volt.numpy()) / float(spec.activation.v_scale_volt))
        )
        source = np.concatenate([s, fixed])
        current = (plus * (-source - x[:, None])).sum(1) + (minus * (source - x[:, None])).sum(1)
        dv = omega * (layer.amp_offset_volt.numpy() - x) - omega / layer.dc_gain.numpy() * v
        # Current into node x leaves through R_f and C_f: C_f d(x − v)/dt = current − (x − v)/R_f.
        dx = dv + (current - (x - v) / r_f) / c_f
        return np.concatenate([dx, dv])

    return derivative


@pytest.mark.parametrize(
    "changes",
    [{}, {"amplifier.gbw_hertz": 1e7}, {"amplifier.dc_gain": 100.0}, {"amplifier.offset_sigma_volt": 0.02}],
    ids=["rram", "slow amplifier", "low gain", "large offset"],
)
def test_against_an_adaptive_integrator(changes):
    layer, played = make(spec_with("rram", changes))
    moving = Transient(layer, played)
    ours = moving.run(5 * layer.time_constant_second)
    for k in range(len(played)):
        reference = solve_ivp(
            circuit_derivative(layer, played[k].numpy()),
            (0, float(ours.time_second[-1])),
            np.zeros(2 * layer.states),
            method="DOP853",
            t_eval=ours.time_second.numpy(),
            rtol=1e-11,
            atol=1e-14,
        )
        v = torch.from_numpy(reference.y[layer.states :].T)
        assert (ours.v_volt[:, k] - v).abs().max() / moving.v_a < 2e-6


def test_the_recorded_slope_is_the_slope_of_the_record():
    layer, played = make()
    ours = Transient(layer, played).run(3 * layer.time_constant_second)
    for k in range(2):
        derivative = circuit_derivative(layer, played[k].numpy())
        at_start = derivative(0.0, np.zeros(6))[3:]
        np.testing.assert_allclose(ours.slope_volt_per_second[0, k], at_start, rtol=1e-10, atol=1e-6)
    t, v, slope = ours.time_second, ours.v_volt, ours.slope_volt_per_second
    middle = (v[2:] - v[:-2]) / (t[2:] - t[:-2])[:, None, None]
    late = slice(-150, -1)  # evenly spaced, smooth
    assert (middle[late] - slope[1:-1][late]).abs().max() < 1e-3 * slope.abs().max()


def worst_error(layer, played, steps):
    """Against the adaptive integrator, over the whole way, second sample, in units of V_a."""
    moving = Transient(layer, played, steps_per_tau=steps)
    ours = moving.run(3 * layer.time_constant_second)
    reference = solve_ivp(
        circuit_derivative(layer, played[1].numpy()),
        (0, float(ours.time_second[-1])),
        np.zeros(2 * layer.states),
        method="DOP853",
        t_eval=ours.time_second.numpy(),
        rtol=1e-12,
        atol=1e-15,
    )
    return np.abs(ours.v_volt[:, 1].numpy() - reference.y[layer.states :].T).max() / moving.v_a


def test_error_falls_with_the_fourth_power_of_the_step():
    layer, played = make(spec_with("rram", {"amplifier.gbw_hertz": 1e7}), norm=4.0)
    errors = [worst_error(layer, played, steps) for steps in (20, 40, 80)]
    assert math.log2(errors[0] / errors[1]) > 3.2, errors
    assert math.log2(errors[1] / errors[2]) > 3.4, errors


@pytest.mark.parametrize("gbw_hertz", [1e7, 1e8, 1e9])
def test_the_default_step_is_a_decade_finer_than_verification_asks(gbw_hertz):
    """Amplifiers far faster than the step cost the method its order, but not the verdict."""
    layer, played = make(spec_with("rram", {"amplifier.gbw_hertz": gbw_hertz}), n=4, norm=4.0)
    assert worst_error(layer, played, 100) < 1e-5


@pytest.mark.parametrize("preset", ["rram", "board", "ideal"])
def test_ends_at_the_static_resting_point(preset):
    layer, played = make(spec_with(preset), n=6)
    moving, rest = Transient(layer, played, steps_per_tau=20), rest_volt(layer, played)
    duration = 25 / -float(moving.spectral_abscissa(rest).max())
    end = moving.run(duration).v_volt[-1]
    assert (end - rest).abs().max() / moving.v_a < 1e-9


def test_nothing_moves_at_the_static_resting_point():
    layer, played = make(n=5)
    moving, v = Transient(layer, played), rest_volt(layer, played)
    x = layer.amp_offset_volt - v / layer.dc_gain
    slope = moving.slope(torch.stack([x - v, v], dim=-1))
    assert slope.abs().max() * layer.time_constant_second / moving.v_a < 1e-9


def test_spectral_abscissa_is_that_of_a_finite_difference_jacobian():
    layer, played = make(n=4, norm=4.0)
    moving, v = Transient(layer, played), rest_volt(layer, played)
    w = torch.stack([layer.amp_offset_volt - v / layer.dc_gain - v, v], dim=-1)
    step = 1e-6 * moving.v_a
    for k in range(len(played)):
        columns = []
        for unit in torch.eye(8, dtype=torch.float64).reshape(8, 4, 2):
            up, down = w.clone(), w.clone()
            up[k] += step * unit
            down[k] -= step * unit
            columns.append((moving.slope(up)[k] - moving.slope(down)[k]).flatten() / (2 * step))
        poles = np.linalg.eigvals(torch.stack(columns, dim=1).numpy())
        found = float(moving.spectral_abscissa(v)[k])
        assert found == pytest.approx(poles.real.max(), rel=1e-5)


def test_settling_time_is_that_of_the_full_trajectory():
    layer, played = make(n=4, batch=5)
    moving, rest = Transient(layer, played, steps_per_tau=30), rest_volt(layer, played)
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
        moving, rest = Transient(layer, played, steps_per_tau=20), rest_volt(layer, played)
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
