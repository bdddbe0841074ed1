"""The implicit gradient is the gradient: of every argument, of every sample, at every scale of the loss."""

import pytest
import torch
from builders import generator, monotone, normal, system

from equilog.cells import AffineSystem, Tanh
from equilog.equilibrium import Auto, EquilibriumLayer

TIGHT = Auto(rtol=1e-13, atol=1e-14)


def settle(weight, injection, gain, shift):
    return EquilibriumLayer(TIGHT, on_failure="raise")(AffineSystem(weight, injection, Tanh(gain, shift)))


def arguments(n=4, batch=3, norm=3.0):
    return [
        monotone(n, norm, 0).requires_grad_(),
        normal(1, batch, n).requires_grad_(),
        (1 + 0.05 * normal(2, n)).requires_grad_(),
        (0.1 * normal(3, n)).requires_grad_(),
    ]


def test_gradcheck_of_weight_injection_gain_and_shift():
    assert torch.autograd.gradcheck(settle, arguments(), atol=1e-7, rtol=1e-6)


def test_gradcheck_of_the_resting_preactivation():
    def rest(weight, injection, gain, shift):
        return EquilibriumLayer(TIGHT).rest(AffineSystem(weight, injection, Tanh(gain, shift)))

    assert torch.autograd.gradcheck(rest, arguments(), atol=1e-7, rtol=1e-6)


def test_gradient_equals_autograd_through_a_long_picard_iteration():
    weight, injection, gain, shift = arguments(n=6, batch=8, norm=0.4)
    phi = Tanh(gain, shift)
    with torch.no_grad():
        weight *= 0.6 / torch.linalg.matrix_norm(weight, 2)  # contractive: Picard converges
    z = settle(weight, injection, gain, shift)
    p = torch.zeros_like(injection)
    for _ in range(200):
        p = phi(p) @ weight.T + injection
    co = normal(9, *z.shape)
    inputs = (weight, injection, gain, shift)
    implicit = torch.autograd.grad((co * z).sum(), inputs)
    unrolled = torch.autograd.grad((co * phi(p)).sum(), inputs)
    for ours, reference in zip(implicit, unrolled):
        torch.testing.assert_close(ours, reference, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6])
def test_relative_error_does_not_depend_on_the_size_of_the_loss(dtype, scale):
    weight, injection, gain, shift = (a.detach().to(dtype).requires_grad_() for a in arguments(n=8, batch=5))
    exact = [a.detach().double().requires_grad_() for a in (weight, injection, gain, shift)]
    layer = EquilibriumLayer()
    co = normal(9, 5, 8)
    z = layer(AffineSystem(weight, injection, Tanh(gain, shift)))
    found = torch.autograd.grad(scale * (co.to(dtype) * z).sum(), (weight, injection, gain, shift))
    reference = torch.autograd.grad((co * settle(*exact)).sum(), exact)
    limit = 1e-9 if dtype == torch.float64 else 1e-3
    for ours, truth in zip(found, reference):
        error = torch.linalg.norm(ours.double() / scale - truth) / torch.linalg.norm(truth)
        assert error < limit


def test_a_huge_gradient_of_one_sample_does_not_spoil_the_others():
    def gradient(co):
        weight, injection, gain, shift = arguments(n=8, batch=4)
        z = settle(weight, injection, gain, shift)
        (found,) = torch.autograd.grad((co * z).sum(), injection)
        return found

    co = normal(9, 4, 8)
    loud = co.clone()
    loud[2] *= 1e9
    quiet = torch.arange(4) != 2
    torch.testing.assert_close(gradient(loud)[quiet], gradient(co)[quiet], rtol=1e-9, atol=1e-12)


def test_samples_without_a_gradient_get_none():
    weight, injection, gain, shift = arguments(n=4, batch=3)
    (found,) = torch.autograd.grad(settle(weight, injection, gain, shift)[1].sum(), injection)
    assert found[[0, 2]].abs().max() == 0
    assert found[1].abs().min() > 0


def test_memory_does_not_grow_with_the_steps():
    def saved_bytes(rtol):
        problem = system(16, 8, norm=8.0)
        injection = problem.injection.clone().requires_grad_()
        seen = []

        def pack(t):
            seen.append(t.numel() * t.element_size())
            return t

        layer = EquilibriumLayer(Auto(rtol=rtol, atol=rtol))
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            layer(AffineSystem(problem.weight, injection, problem.activation))
        return int(layer.last.steps.max()), sum(seen)

    few, many = saved_bytes(1e-1), saved_bytes(1e-12)
    assert few[0] < many[0]
    assert few[1] == many[1]


def test_second_derivatives_of_weight_injection_gain_and_shift():
    assert torch.autograd.gradgradcheck(settle, arguments(n=3, batch=2), atol=1e-6, rtol=1e-5)


def test_third_derivatives():
    weight, injection, gain, shift = (a.detach() for a in arguments(n=2, batch=1))

    def curvature(u):
        (first,) = torch.autograd.grad(settle(weight, u, gain, shift).sum(), u, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), u, create_graph=True)
        return second

    assert torch.autograd.gradcheck(curvature, injection.requires_grad_(), atol=1e-6, rtol=1e-5)


def test_second_derivatives_of_a_function_and_its_arguments():
    weight, injection, _, _ = arguments(n=3, batch=2, norm=1.5)
    layer = EquilibriumLayer(TIGHT, on_failure="raise")

    def run(w, u):
        return layer.fixed_point(lambda z, w, u: torch.tanh(z @ w.T + u), torch.zeros_like(u), w, u)

    assert torch.autograd.gradcheck(run, (weight, injection), atol=1e-7, rtol=1e-6)
    assert torch.autograd.gradgradcheck(run, (weight, injection), atol=1e-6, rtol=1e-5)


def test_second_derivatives_of_a_module_and_its_parameters():
    torch.manual_seed(0)
    cell = torch.nn.Linear(3, 3).double()
    layer = EquilibriumLayer(TIGHT, on_failure="raise")

    class Cell(torch.nn.Module):
        def __init__(self, weight, bias):
            super().__init__()
            self.weight, self.bias = torch.nn.Parameter(weight), torch.nn.Parameter(bias)

        def forward(self, z, u):
            return torch.tanh(torch.nn.functional.linear(z, self.weight, self.bias) + u)

    module = Cell(0.5 * cell.weight.detach(), cell.bias.detach())
    u = normal(1, 2, 3).requires_grad_()
    first = torch.autograd.grad(layer.fixed_point(module, torch.zeros_like(u), u).square().sum(), u, create_graph=True)
    ours = torch.autograd.grad(first[0].square().sum(), module.weight)[0]

    z = torch.zeros_like(u)
    for _ in range(100):
        z = module(z, u)
    first = torch.autograd.grad(z.square().sum(), u, create_graph=True)
    unrolled = torch.autograd.grad(first[0].square().sum(), module.weight)[0]
    torch.testing.assert_close(ours, unrolled, rtol=1e-8, atol=1e-10)


def test_second_derivatives_of_what_a_function_closes_over_are_refused_by_name():
    weight, injection, _, _ = arguments(n=3, batch=2, norm=1.5)
    z = EquilibriumLayer().fixed_point(lambda z: torch.tanh(z @ weight.T + injection), torch.zeros_like(injection))
    with pytest.raises(RuntimeError, match=r"fixed_point\(f, z, \*tensors\)"):
        torch.autograd.grad(z.sum(), weight, create_graph=True)


def test_no_graph_without_gradients():
    with torch.no_grad():
        z = settle(*arguments())
    assert not z.requires_grad


def test_gradient_survives_a_weight_too_stiff_for_the_shared_jacobian():
    # Saturated and unsaturated samples in one batch: the mean slope suits none of them.
    weight = monotone(5, 12.0, 3).requires_grad_()
    size = torch.tensor([[0.01], [1.0], [30.0]], dtype=torch.float64)
    injection = (size * torch.randn(3, 5, dtype=torch.float64, generator=generator(4))).requires_grad_()

    def run(w, u):
        return settle(w, u, torch.ones(5, dtype=torch.float64), torch.zeros(5, dtype=torch.float64))

    assert torch.autograd.gradcheck(run, (weight, injection), atol=1e-6, rtol=1e-5)
