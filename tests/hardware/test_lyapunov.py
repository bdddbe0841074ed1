"""The Lyapunov equation: two independent methods, its residual, its gradient, and unstable matrices told apart."""

import pytest
import torch
from builders import normal
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from equilog.hardware.noise.lyapunov import lyapunov, relative_residual


def stable(n, batch, seed, gap):
    """Matrices whose slowest pole is at −gap, far from normal, with rates over four decades."""
    a = normal(seed, batch, n, n) * torch.logspace(0, 4, n, dtype=torch.float64)[:, None]
    shift = torch.linalg.eigvals(a).real.amax(-1) + gap
    return a - shift[:, None, None] * torch.eye(n)


def intensity(n, batch, seed):
    root = normal(seed, batch, n, n)
    return root @ root.mT


@given(n=st.integers(1, 12), seed=st.integers(0, 2**20), gap=st.floats(1e-3, 10))
def test_doubling_is_bartels_and_stewart(n, seed, gap):
    a, q = stable(n, 3, seed, gap), intensity(n, 3, seed + 1)
    ours, good = lyapunov(a, q)
    theirs, also_good = lyapunov(a, q, "schur")
    assert good.all()
    assert also_good.all()
    size = torch.linalg.matrix_norm(theirs)[:, None, None]
    assert ((ours - theirs).abs() <= 1e-7 * size).all()  # as ill-conditioned as that gap makes it
    assert torch.equal(ours, ours.mT)


def test_residual_is_that_of_the_equation():
    a, q = stable(6, 2, 0, 1.0), intensity(6, 2, 1)
    x, _ = lyapunov(a, q)
    assert (relative_residual(a, q, x) < 1e-10).all()
    assert torch.allclose(relative_residual(a, q, 0 * x), torch.ones(2, dtype=torch.float64))
    assert (relative_residual(a, q, 1.01 * x) > 1e-3).all()


@pytest.mark.parametrize("method", ["doubling", "schur"])
@pytest.mark.parametrize("pole", [1e-9, 1e-3, 1.0, 1e6])
def test_each_unstable_matrix_is_told_and_spoils_no_other(method, pole):
    eye = torch.eye(3, dtype=torch.float64)
    a = torch.stack([-eye, torch.diag(torch.tensor([-1.0, pole, -5.0], dtype=torch.float64)), -eye])
    q = eye.expand(3, 3, 3)
    x, good = lyapunov(a, q, method)
    assert good.tolist() == [True, False, True]
    assert torch.allclose(x[[0, 2]], q[:2] / 2, rtol=1e-14)


def test_a_pole_on_the_axis_is_not_stable():
    a = torch.tensor([[[0.0, 1.0], [-1.0, 0.0]]], dtype=torch.float64)
    _, good = lyapunov(a, torch.eye(2).double()[None])
    assert not good.any()


@pytest.mark.parametrize("method", ["doubling", "schur"])
def test_gradients_of_both_orders(method):
    a, root = normal(3, 2, 3, 3) - 3 * torch.eye(3), normal(4, 2, 3, 3)
    inputs = (a.requires_grad_(), root.requires_grad_())

    def solved(a, root):
        return lyapunov(a, root @ root.mT, method)[0]

    assert gradcheck(solved, inputs, rtol=1e-6)
    assert gradgradcheck(solved, inputs, rtol=1e-6)
