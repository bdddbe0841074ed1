"""Gains moved into the weight, and rails beyond saturation left out, change nothing that a solver finds."""

import pytest
import torch
from builders import monotone, normal

from equilog.cells import AffineSystem, Tanh
from equilog.cells.activation import lightened
from equilog.equilibrium import EquilibriumLayer


@pytest.mark.parametrize("shape", [(4,), (2, 1, 4)])
def test_gains_in_the_columns_of_the_weight(shape):
    weight = torch.stack([monotone(4, 2.0, 0), monotone(4, 2.0, 1)]) if len(shape) == 3 else monotone(4, 2.0, 0)
    activation = Tanh(1 + 0.2 * normal(1, *shape), 0.1 * normal(2, *shape))
    bare, scaled = lightened(activation, weight)
    p = normal(3, *(shape[0], 5, 4) if len(shape) == 3 else (5, 4))
    torch.testing.assert_close(bare(p) @ scaled.mT, activation(p) @ weight.mT)
    assert bare.gain == 1.0


def test_gains_of_every_sample_stay_where_they_are():
    activation, weight = Tanh(1 + 0.2 * normal(1, 5, 4)), monotone(4, 2.0, 0)
    assert lightened(activation, weight) == (activation, weight)
    assert lightened(Tanh(), weight) == (Tanh(), weight)


def test_rest_and_gradients_are_those_of_the_equation():
    weight, u = monotone(4, 2.0, 0).requires_grad_(), normal(1, 3, 4).requires_grad_()
    gain, shift = (1 + 0.2 * normal(2, 4)).requires_grad_(), (0.1 * normal(3, 4)).requires_grad_()
    settle = EquilibriumLayer(on_failure="raise")

    def rest(weight, u, gain, shift):
        return settle.rest(AffineSystem(weight, u, Tanh(gain, shift)))

    p = rest(weight, u, gain, shift)
    torch.testing.assert_close(gain * torch.tanh(p - shift) @ weight.T + u, p, rtol=1e-9, atol=1e-9)
    assert torch.autograd.gradcheck(rest, (weight, u, gain, shift), atol=1e-6)
    assert torch.autograd.gradgradcheck(rest, (weight, u, gain, shift), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_only_a_rail_that_changes_nothing_is_left_out(dtype):
    p, weight = torch.linspace(-60, 60, 4001, dtype=dtype), torch.eye(1, dtype=dtype)
    for rail in (0.5, 3.0, 8.0, 9.0, 15.0, 19.0, 25.0):
        activation = Tanh(shift=torch.tensor(0.05, dtype=dtype), rail=rail)
        light = lightened(activation, weight)[0]
        assert light.rail == (rail if rail < (8 if dtype == torch.float32 else 18) else light.rail)
        assert float((light(p) - activation(p)).abs().max()) <= torch.finfo(dtype).eps / 2
        assert float((light.slope(p) - activation.slope(p)).abs().max()) <= 2 * torch.finfo(dtype).eps
    assert lightened(Tanh(rail=25.0), weight)[0].rail == float("inf")
