"""Weights become conductances within the technology's range, on its levels, with its error and no other."""

import math

import pytest
import torch
from builders import CONTINUOUS, NO_MISMATCH, layer_of, matrices, normal, spec_with
from hypothesis import given
from hypothesis import strategies as st

from equilog.hardware import Chip, load_spec, preset_names, program

EXACT = spec_with("rram", NO_MISMATCH)


def test_effective_weights_are_the_targets_when_everything_is_ideal():
    layer = layer_of(EXACT, 5, 3)
    torch.testing.assert_close(layer.effective, layer.target, rtol=1e-11, atol=1e-13)
    w, u, b = matrices(5, 3)
    assert torch.equal(layer.target, torch.cat([w, u, b[:, None]], 1))


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_any_weights_stay_in_range_and_use_all_of_it(n, m, seed, size):
    w, u, b = (size * a for a in matrices(n, m, seed))
    layer = program((w, u, b), Chip(EXACT, 0))
    low, high = EXACT.crossbar.g_min_siemens, EXACT.crossbar.g_max_siemens
    g = torch.stack([layer.g_plus_siemens, layer.g_minus_siemens])
    assert (g >= low).all()
    assert (g <= high * (1 + 1e-12)).all()
    assert float(g.max()) == pytest.approx(high)
    # One device of every pair idles at the least conductance.
    assert torch.equal(g.amin(0), torch.full_like(g[0], low))


def test_sources_of_unlike_amplitude_get_unlike_conductances():
    spec = spec_with("rram", NO_MISMATCH | {"dac.full_scale_volt": 0.4})
    layer = layer_of(spec, 3, 2)
    torch.testing.assert_close(layer.effective, layer.target, rtol=1e-11, atol=1e-13)


def test_levels_are_really_on_the_grid():
    spec = spec_with("rram", {"crossbar.programming_sigma": None, "crossbar.levels": 5})
    layer = layer_of(spec, 6, 3)
    low, high = spec.crossbar.g_min_siemens, spec.crossbar.g_max_siemens
    g = torch.stack([layer.g_plus_siemens, layer.g_minus_siemens])
    codes = (g - low) / (high - low) * 4
    torch.testing.assert_close(codes, codes.round(), atol=1e-9, rtol=0)
    assert set(codes.round().int().flatten().tolist()) <= {0, 1, 2, 3, 4}
    # Rounding to the nearest: no further than half a step of the weight that spans the range.
    step = layer.target.abs().max() / 4
    assert (layer.effective - layer.target).abs().max() <= step / 2 * (1 + 1e-9)


@pytest.mark.parametrize("size", [0.2, 0.5, 1.0])
def test_programming_error_follows_the_polynomial(size):
    spec = spec_with("rram", {"crossbar.levels": None})
    bar = spec.crossbar
    n = 40
    # All weights equal but one, so that every G+ aims at the same conductance.
    weight = torch.full((n, n), size, dtype=torch.float64)
    weight[0, 0] = 1.0
    columns = torch.full((n, n), size, dtype=torch.float64)
    layer = program((weight, columns, columns[:, 0]), Chip(spec, 3))
    aim = bar.g_min_siemens + size * (bar.g_max_siemens - bar.g_min_siemens)
    g = layer.g_plus_siemens.flatten()[1:]
    x = aim / bar.g_max_siemens
    sigma = sum(c * x**k for k, c in enumerate(bar.programming_sigma.coefficients_siemens))
    count = len(g)
    assert float(g.mean()) == pytest.approx(aim, abs=5 * sigma / math.sqrt(count))
    assert float(g.std()) == pytest.approx(sigma, rel=5 / math.sqrt(2 * count))


def test_no_device_conducts_less_than_nothing():
    spec = spec_with("rram", {"crossbar.programming_sigma": {"coefficients_siemens": [1e-4], "source": "absurd"}})
    layer = layer_of(spec, 8, 4)
    g = torch.stack([layer.g_plus_siemens, layer.g_minus_siemens])
    assert (g >= 0).all()
    assert (g == 0).any()


def test_a_polynomial_below_zero_counts_as_no_error():
    sigma = {"coefficients_siemens": [-1e-6], "source": "absurd"}
    layer = layer_of(spec_with("rram", {"crossbar.levels": None, "crossbar.programming_sigma": sigma}), 4, 2)
    torch.testing.assert_close(layer.effective, layer.target, rtol=1e-11, atol=1e-13)


def test_mismatch_has_the_spread_of_the_spec():
    spec = load_spec("rram")
    n = 700
    row = torch.ones(n, 1, dtype=torch.float64)
    layer = program((torch.zeros(n, n, dtype=torch.float64), row, row[:, 0]), Chip(spec, 1))
    close = 5 / math.sqrt(2 * n)
    assert float(layer.amp_offset_volt.std()) == pytest.approx(spec.amplifier.offset_sigma_volt, rel=close)
    assert float(layer.act_gain.std()) == pytest.approx(spec.activation.gain_sigma, rel=close)
    assert float(layer.act_gain.mean()) == pytest.approx(1, abs=0.01)
    assert float(layer.act_offset_volt.std()) == pytest.approx(spec.activation.offset_sigma_volt, rel=close)


def test_all_weights_zero_is_refused():
    zero = torch.zeros(2, 2)
    with pytest.raises(ValueError, match="all weights are zero"):
        program((zero, zero, zero[0]), Chip(EXACT, 0))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", [0, 1, 2])
def test_a_weight_that_is_not_finite_is_refused(where, bad):
    parts = [a.clone() for a in matrices(3, 2)]
    parts[where].view(-1)[0] = bad
    with pytest.raises(ValueError, match="inf or nan"):
        program(tuple(parts), Chip(EXACT, 0))


@pytest.mark.parametrize("preset", preset_names())
def test_noise_gain_and_time_constant_by_hand(preset):
    layer = layer_of(spec_with(preset, {"crossbar.wires": None}), 3, 2)
    for i in range(3):
        row = sum(float(g) for g in [*layer.g_plus_siemens[i], *layer.g_minus_siemens[i]])
        assert float(layer.noise_gain[i]) == pytest.approx(1 + float(layer.r_feedback_ohm) * row)
    tau = float(layer.r_feedback_ohm) * layer.spec.amplifier.c_feedback_farad
    assert layer.time_constant_second == pytest.approx(tau)
    assert (layer.states, layer.drives) == (3, 2)


def test_conversion_of_precision_keeps_the_numbers():
    layer = layer_of(load_spec("rram"), 3, 2)
    single = layer.to(torch.float32)
    assert single.g_plus_siemens.dtype == single.act_gain.dtype == torch.float32
    assert torch.equal(single.to(torch.float64).g_plus_siemens, layer.g_plus_siemens.float().double())
    assert single.spec is layer.spec


def gradient_of(function, spec, parts):
    parts = [a.clone().requires_grad_() for a in parts]
    value = function(program(tuple(parts), Chip(spec, 2)))
    return torch.autograd.grad(value, parts)


def test_gradcheck_of_conductances():
    spec = spec_with("rram", {"crossbar.levels": None})

    def conductances(w, u, b):
        layer = program((w, u, b), Chip(spec, 2))
        return layer.g_plus_siemens * 1e5, layer.g_minus_siemens * 1e5, layer.r_feedback_ohm / 1e4

    parts = tuple(a.requires_grad_() for a in matrices(3, 2))
    assert torch.autograd.gradcheck(conductances, parts)


def test_gradient_passes_straight_through_the_levels():
    co = normal(8, 3, 6)
    smooth = gradient_of(lambda layer: (co * layer.effective).sum(), EXACT, matrices(3, 2))
    spec = spec_with("rram", NO_MISMATCH | {"crossbar.levels": 2**20})
    rounded = gradient_of(lambda layer: (co * layer.effective).sum(), spec, matrices(3, 2))
    for ours, truth in zip(rounded, smooth):
        torch.testing.assert_close(ours, truth, rtol=1e-4, atol=1e-4)


def test_gradient_at_a_weight_of_zero():
    """On an ideal chip the realised weight is the weight: slope 1, at zero (where every bias starts) as elsewhere."""
    w, u, b = matrices(3, 2)
    _, _, slope = gradient_of(lambda layer: layer.effective[:, -1].sum(), EXACT, (w, u, torch.zeros_like(b)))
    torch.testing.assert_close(slope, torch.ones(3, dtype=torch.float64))


def test_continuous_means_no_levels():
    assert spec_with("rram", CONTINUOUS).crossbar.levels is None
