"""Monotone weights of any norm settle, to the tolerance that was asked for."""

import pytest
import torch
from builders import monotone, normal, system
from hypothesis import given
from hypothesis import strategies as st

from equilog.cells import AffineSystem, Tanh
from equilog.cells.monotone import monotone_margin
from equilog.equilibrium import Auto, Newton, Status
from equilog.equilibrium.reference_problems import near_critical


def true_residual(problem, p):
    return torch.linalg.vector_norm(torch.tanh(p) @ problem.weight.T + problem.injection - p, dim=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("norm", [0.5, 3.6, 15.0])
@pytest.mark.parametrize("n", [8, 24, 64])
def test_every_sample_settles_and_the_residual_is_what_is_said(n, norm, dtype):
    problem = system(n, 32, norm, seed=n)
    assert monotone_margin(problem.weight) > 0.29
    assert torch.linalg.matrix_norm(problem.weight, 2) > 0.8 * norm
    problem = AffineSystem(problem.weight.to(dtype), problem.injection.to(dtype), Tanh())
    solver = Auto()
    found = solver.solve(problem)
    assert found.converged.all()
    rtol, atol = solver.tolerance(dtype).rtol, solver.tolerance(dtype).atol
    residual = true_residual(problem, found.state)
    size = torch.linalg.vector_norm(found.state, dim=1)
    # Room for rounding in the recomputation only.
    rounding = 8 * torch.finfo(dtype).eps * norm * n**0.5
    assert (residual <= atol + rtol * size + rounding).all()
    torch.testing.assert_close(found.residual, residual, atol=rounding, rtol=1e-2)


@given(st.integers(1, 24), st.floats(0.1, 15), st.floats(1e-3, 100), st.integers(0, 10**6))
def test_any_size_norm_and_injection(n, norm, size, seed):
    norm = norm if n > 1 else 1.0
    weight = monotone(n, norm, seed) if n > 1 else torch.full((1, 1), -norm, dtype=torch.float64)
    problem = AffineSystem(weight, size * normal(seed, 3, n), Tanh())
    found = Auto().solve(problem)
    assert found.converged.all()
    assert (true_residual(problem, found.state) < 1e-9 * (1 + size * norm)).all()


@pytest.mark.parametrize(("rtol", "atol"), [(0.0, 1e-6), (1e-4, 0.0), (1e-9, 1e-9)])
def test_tolerances_mean_what_they_say(rtol, atol):
    problem = system(16, 20, 6.0, size=3.0)
    found = Auto(rtol=rtol, atol=atol).solve(problem)
    assert found.converged.all()
    limit = atol + rtol * torch.linalg.vector_norm(found.state, dim=1)
    assert (true_residual(problem, found.state) <= limit * (1 + 1e-6)).all()


def test_the_answer_does_not_depend_on_the_start():
    problem = system(12, 6, 5.0)
    cold = Auto().solve(problem)
    for seed in range(3):
        start = 5 * normal(seed, 6, 12)
        warm = Auto().solve(problem, start)
        assert warm.converged.all()
        torch.testing.assert_close(warm.state, cold.state, atol=1e-9, rtol=1e-9)


def test_starting_at_the_answer_takes_fewer_steps():
    problem = system(12, 6, 5.0)
    cold = Auto().solve(problem)
    warm = Auto().solve(problem, cold.state)
    assert warm.steps.max() < cold.steps.min()


def test_what_the_chord_leaves_newton_finishes():
    problem = near_critical(16, 8, torch.float64, 0)
    found = Auto(max_steps=20).solve(problem)
    assert found.converged.all()
    assert "newton" in found.summary()
    reference = Newton().solve(problem)
    torch.testing.assert_close(found.state, reference.state, atol=1e-8, rtol=1e-8)


def test_an_empty_batch_settles_to_nothing():
    found = Auto().solve(system(4, 0))
    assert found.state.shape == (0, 4)
    assert found.converged.shape == (0,)


def test_zero_injection_rests_at_zero():
    problem = system(4, 2)
    found = Auto().solve(AffineSystem(problem.weight, torch.zeros(2, 4, dtype=torch.float64), Tanh()))
    assert found.state.abs().max() == 0
    assert (found.status == Status.CONVERGED).all()
