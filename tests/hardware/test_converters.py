"""Quantisers: nearest code, clipped at the ends, zero is a code, gradient straight through and zero outside."""

import numpy as np
import pytest
import torch
from builders import drives, layer_of, normal, spec_with
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from equilog.hardware.quantise import convert, to_levels
from equilog.hardware.twin import adc, dac

bits = st.integers(2, 16)
values = hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(-3, 3)).map(torch.from_numpy)
ROUNDING = 1e-12


@given(values, bits)
def test_error_is_at_most_half_a_code_inside_and_clips_outside(x, b):
    top = 2 ** (b - 1) - 1
    found = convert(x, b)
    inside = x.abs() <= 1
    assert ((found - x).abs()[inside] <= 0.5 / top + ROUNDING).all()
    assert torch.equal(found[~inside], x.sign()[~inside])


@given(values, bits)
def test_output_is_a_code(x, b):
    top = 2 ** (b - 1) - 1
    codes = convert(x, b) * top
    torch.testing.assert_close(codes, codes.round(), atol=1e-9, rtol=0)
    assert codes.abs().max() <= top + 1e-9


@given(values, bits)
def test_idempotent(x, b):
    once = convert(x, b)
    assert torch.equal(convert(once, b), once)


@given(values, bits)
def test_monotone_and_odd(x, b):
    x = x.sort().values
    assert (convert(x, b).diff() >= 0).all()
    assert torch.equal(convert(-x, b), -convert(x, b))


@given(bits)
def test_zero_and_full_scale_are_codes(b):
    ends = torch.tensor([-1.0, 0.0, 1.0])
    assert torch.equal(convert(ends, b), ends)


@given(values, bits)
def test_gradient_is_one_inside_and_zero_outside(x, b):
    x = x[x.abs() != 1].clone().requires_grad_()
    (slope,) = torch.autograd.grad(convert(x, b).sum(), x)
    torch.testing.assert_close(slope, (x.detach().abs() < 1).double())


@given(values, st.integers(2, 64))
def test_levels_are_nearest_and_clip(x, count):
    low, high = -0.5, 2.0
    found = to_levels(x, low, high, count)
    grid = torch.linspace(low, high, count, dtype=torch.float64)
    nearest = (x.clamp(low, high)[:, None] - grid).abs().amin(1)
    torch.testing.assert_close((found - x.clamp(low, high)).abs(), nearest, atol=1e-12, rtol=0)


def test_nan_is_not_hidden():
    assert convert(torch.tensor([float("nan")]), 8).isnan().all()


def test_dac_uses_its_bits_and_refuses_a_wrong_shape():
    layer = layer_of(spec_with("rram", {"dac.bits": 3}), 2, 2)
    played = dac(layer, torch.tensor([[0.4, -7.0]]))
    torch.testing.assert_close(played, torch.tensor([[1 / 3, -1.0]]))
    with pytest.raises(ValueError, match="one column per DAC channel"):
        dac(layer, drives(1, 3))


def test_adc_clips_at_its_own_full_scale():
    volts = {"adc.bits": 8, "adc.full_scale_volt": 0.22, "activation.v_out_volt": 0.2}
    layer = layer_of(spec_with("rram", volts), 2, 2)
    read = adc(layer, torch.tensor([[5.0, -5.0]]))
    torch.testing.assert_close(read, torch.tensor([[1.1, -1.1]]))
    z = 1.05 * normal(1, 10, 2).tanh()
    assert (adc(layer, z) - z).abs().max() <= 0.5 * 1.1 / 127 + ROUNDING
