"""The activation knows its own slope, and the system is the equation it says it is."""

import torch
from builders import normal

from equilog.cells import AffineSystem, Tanh


def test_slope_is_the_derivative():
    gain, shift = 1 + 0.1 * normal(1, 4), 0.2 * normal(2, 4)
    phi = Tanh(gain, shift)
    p = normal(3, 5, 4).requires_grad_()
    (derivative,) = torch.autograd.grad(phi(p).sum(), p)
    torch.testing.assert_close(phi.slope(p), derivative)


def test_system_evaluates_sample_by_sample():
    weight, injection, p = normal(1, 3, 3), normal(2, 4, 3), normal(3, 4, 3)
    found = AffineSystem(weight, injection, Tanh())(p)
    for k in range(4):
        torch.testing.assert_close(found[k], weight @ torch.tanh(p[k]) + injection[k])
