"""What a sample settles to does not depend on its neighbours."""

import math

import pytest
import torch
from builders import normal, system
from hypothesis import given
from hypothesis import strategies as st

from equilog.cells import AffineSystem
from equilog.equilibrium import Auto, EquilibriumLayer, Status

CLOSE = {"atol": 1e-9, "rtol": 1e-9}


def only(problem, k):
    return AffineSystem(problem.weight, problem.injection[k : k + 1], problem.activation)


@given(st.integers(2, 16), st.integers(2, 8), st.floats(0.1, 12), st.integers(0, 10**6))
def test_alone_equals_in_batch(n, batch, norm, seed):
    problem = system(n, batch, norm, seed)
    together = Auto().solve(problem)
    for k in range(batch):
        alone = Auto().solve(only(problem, k))
        torch.testing.assert_close(alone.state[0], together.state[k], **CLOSE)


@given(st.permutations(range(6)))
def test_order_does_not_matter(order):
    problem = system(10, 6, 5.0)
    shuffled = AffineSystem(problem.weight, problem.injection[list(order)], problem.activation)
    torch.testing.assert_close(Auto().solve(shuffled).state, Auto().solve(problem).state[list(order)], **CLOSE)


def test_a_hard_neighbour_leaves_converged_samples_alone():
    problem = system(12, 5, 10.0)
    injection = problem.injection.clone()
    injection[4] *= 300
    crowd = AffineSystem(problem.weight, injection, problem.activation)
    easy, hard = Auto().solve(problem), Auto().solve(crowd)
    assert hard.converged.all()
    torch.testing.assert_close(hard.state[:4], easy.state[:4], **CLOSE)


def test_nan_in_one_sample_is_its_own_affair():
    problem = system(12, 5, 4.0)
    injection = problem.injection.clone()
    injection[2, 7] = math.nan
    clean, spoilt = (
        Auto().solve(problem),
        Auto().solve(AffineSystem(problem.weight, injection, problem.activation)),
    )
    others = torch.arange(5) != 2
    assert spoilt.status[2] == Status.NOT_FINITE
    assert (spoilt.status[others] == Status.CONVERGED).all()
    torch.testing.assert_close(spoilt.state[others], clean.state[others], **CLOSE)


@pytest.mark.filterwarnings("ignore::equilog.equilibrium.adjoint.AdjointWarning")
def test_nan_in_one_sample_leaves_the_others_gradients():
    def gradient(injection):
        injection = injection.clone().requires_grad_()
        problem = system(8, 4, 4.0)
        layer = EquilibriumLayer(on_failure="ignore")
        z = layer(AffineSystem(problem.weight, injection, problem.activation))
        (found,) = torch.autograd.grad(z[[0, 1, 3]].pow(2).sum(), injection)
        return found[[0, 1, 3]]

    injection = normal(5, 4, 8)
    spoilt = injection.clone()
    spoilt[2, 0] = math.nan
    torch.testing.assert_close(gradient(spoilt), gradient(injection), **CLOSE)
