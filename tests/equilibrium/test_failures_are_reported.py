"""A sample that did not come to rest is reported with its residual; nothing passes silently."""

import math
import warnings

import pytest
import torch
from builders import system

from equilog.cells import AffineSystem, ReLU, Tanh
from equilog.equilibrium import (
    AdjointWarning,
    Auto,
    EquilibriumLayer,
    EquilibriumWarning,
    NotConvergedError,
    Status,
)


class Shifted(Tanh):
    """φ(p) = p + 1, so that p = φ(p) + 0 has no solution at all."""

    def __call__(self, p):
        return p + 1

    def slope(self, p):
        return torch.ones_like(p)


def without_fixed_point(batch=2, n=3):
    eye = torch.eye(n, dtype=torch.float64)
    return AffineSystem(eye, torch.zeros(batch, n, dtype=torch.float64), Shifted())


def starved():
    """A hard problem with one step allowed."""
    return Auto(max_steps=1), system(24, 6, 15.0, size=5.0)


def test_an_equation_without_a_solution_says_so():
    found = Auto().solve(without_fixed_point())
    assert not found.converged.any()
    # The residual of p = p + 1 is exactly (1, 1, 1) wherever one stands.
    torch.testing.assert_close(found.residual, torch.full((2,), math.sqrt(3), dtype=torch.float64))


def test_a_singular_jacobian_is_not_mistaken_for_bad_input():
    # p = tanh(p) + 0.3 has a solution, but the slope at the origin is exactly 1: Newton's first matrix is singular.
    eye = torch.eye(2, dtype=torch.float64)
    found = Auto(max_steps=3).solve(AffineSystem(eye, 0.3 + 0 * eye, Tanh()))
    assert torch.isfinite(found.state).all()
    assert (found.status != Status.NOT_FINITE).all()


def test_too_few_steps_say_so_with_the_true_residual():
    solver, problem = starved()
    found = solver.solve(problem)
    assert (found.status == Status.MAX_STEPS).any()
    residual = torch.linalg.vector_norm(problem(found.state) - found.state, dim=1)
    torch.testing.assert_close(found.residual, residual)


def test_warn_names_count_worst_sample_residual_and_advice():
    solver, problem = starved()
    layer = EquilibriumLayer(solver)
    with pytest.warns(EquilibriumWarning) as caught:
        layer(problem)
    bad = ~layer.last.converged
    worst = int(torch.where(bad, layer.last.residual, -1.0).argmax())
    message = str(caught[0].message)
    assert f"{int(bad.sum())} of 6 samples" in message
    assert f"sample {worst} with residual {float(layer.last.residual[worst]):.2e}" in message
    assert "MAX_STEPS" in message
    assert "max_steps" in message


def test_raise_policy_raises():
    solver, problem = starved()
    with pytest.raises(NotConvergedError, match="did not come to rest"):
        EquilibriumLayer(solver, on_failure="raise")(problem)


def test_ignore_policy_is_silent_and_still_keeps_the_verdict():
    solver, problem = starved()
    layer = EquilibriumLayer(solver, on_failure="ignore")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(problem)
    assert not layer.last.converged.all()


def test_no_warning_when_all_is_well():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EquilibriumLayer()(system(8, 4))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_not_finite_injection_is_named_worst(bad):
    problem = system(6, 4)
    problem.injection[1, 2] = bad
    layer = EquilibriumLayer()
    with pytest.warns(EquilibriumWarning, match=r"1 of 4 samples .* sample 1 .*NOT_FINITE.*inf or nan"):
        layer(problem)


def test_not_finite_weight_fails_every_sample():
    problem = system(6, 4)
    problem.weight[0, 0] = math.nan
    found = Auto().solve(problem)
    assert (found.status == Status.NOT_FINITE).all()


@pytest.mark.parametrize("status", list(Status))
def test_every_status_has_advice(status):
    assert status.advice


def test_an_adjoint_spoilt_by_nan_counts_the_samples():
    problem = system(4, 3)
    z = EquilibriumLayer()(AffineSystem(problem.weight, problem.injection.requires_grad_(), problem.activation))
    spoilt = torch.ones_like(z)
    spoilt[1, 0] = math.nan
    with pytest.warns(AdjointWarning, match="1 of 3"):
        z.backward(spoilt)


def test_a_singular_adjoint_warns():
    # p = ReLU(p) + 0 rests everywhere at p > 0, with I − W D = 0.
    eye = torch.eye(3, dtype=torch.float64)
    drive = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    start = torch.ones(2, 3, dtype=torch.float64)
    z = EquilibriumLayer()(AffineSystem(eye, drive, ReLU()), start)
    with pytest.warns(AdjointWarning, match=r"2 of 2 .*singular"):
        z.sum().backward()


def test_the_backward_pass_keeps_its_verdicts():
    problem = system(6, 4)
    layer = EquilibriumLayer()
    z = layer(AffineSystem(problem.weight, problem.injection.requires_grad_(), problem.activation))
    assert layer.last_backward is None
    z.square().sum().backward()
    assert layer.last_backward.converged.all()
    assert layer.last_backward.steps.shape == (4,)
