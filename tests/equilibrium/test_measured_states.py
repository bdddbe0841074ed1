"""The gradient at a state found elsewhere: the implicit one where that state is the true one, and finite otherwise."""

import pytest
import torch
from builders import monotone, normal

from equilog.cells import AffineSystem, Tanh
from equilog.equilibrium import Auto, EquilibriumLayer

TIGHT = Auto(rtol=1e-13, atol=1e-14)


def arguments(n=4, batch=3):
    return [
        monotone(n, 3.0, 0).requires_grad_(),
        normal(1, batch, n).requires_grad_(),
        (1 + 0.05 * normal(2, n)).requires_grad_(),
        (0.1 * normal(3, n)).requires_grad_(),
    ]


def system_of(weight, injection, gain, shift):
    return AffineSystem(weight, injection, Tanh(gain, shift))


def test_gradcheck_where_the_measured_state_is_the_true_one():
    layer = EquilibriumLayer(TIGHT)

    def measured(*theta):
        system = system_of(*theta)
        with torch.no_grad():  # as a machine would find it, for these very parameters
            p = EquilibriumLayer(TIGHT).rest(system)
        return system.activation(layer.rest_at(system, p))

    assert torch.autograd.gradcheck(measured, arguments(), atol=1e-7, rtol=1e-6)


def test_value_is_the_measured_one_and_the_gradient_linearises_there():
    theta, co = arguments(), normal(7, 3, 4)
    system = system_of(*theta)
    p = EquilibriumLayer(TIGHT).rest(system).detach() + 0.3 * normal(8, 3, 4)
    out = EquilibriumLayer(TIGHT).rest_at(system, p)
    assert torch.equal(out, p)
    (found,) = torch.autograd.grad((co * out).sum(), theta[1])
    weight, slope = theta[0].detach(), system.activation.slope(p).detach()
    expected = torch.stack([
        torch.linalg.solve(torch.eye(4) - slope[b, :, None] * weight.T, co[b]) for b in range(len(p))
    ])  # fmt: skip
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_without_gradients_it_is_the_state():
    p = normal(1, 3, 4)
    with torch.no_grad():
        assert torch.equal(EquilibriumLayer().rest_at(system_of(*arguments()), p), p)


def test_unseen_states_and_other_shapes_are_refused():
    system = system_of(*arguments())
    with pytest.raises(ValueError, match="inf or nan"):
        EquilibriumLayer().rest_at(system, torch.full((3, 4), torch.nan))
    with pytest.raises(ValueError, match=r"expected \(3, 4\)"):
        EquilibriumLayer().rest_at(system, torch.zeros(2, 4))
