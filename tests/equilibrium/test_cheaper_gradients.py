"""Each cheaper gradient neglects what it says it neglects, and the telemetry tells how much that was."""

import pytest
import torch
from builders import monotone, normal

from equilog.cells import AffineSystem, Tanh
from equilog.equilibrium import (
    Anderson,
    Auto,
    Broyden,
    Chord,
    EquilibriumLayer,
    Exact,
    Neumann,
    OneStep,
    Reuse,
    Watched,
)

TIGHT = Auto(rtol=1e-13, atol=1e-14)
CO = normal(9, 4, 6)


def contractive(norm=0.5):
    weight = normal(1, 6, 6)
    return weight * (norm / torch.linalg.matrix_norm(weight, 2))


def gradient(weight, gradient=None, solver=TIGHT):
    u = normal(2, 4, 6).requires_grad_()
    layer = EquilibriumLayer(solver, gradient=gradient)
    p = layer.rest(AffineSystem(weight, u, Tanh()))
    (found,) = torch.autograd.grad((CO * p).sum(), u)
    return found, p.detach(), layer


def exact(weight):
    """λ by a dense solve, sample by sample."""
    _, p, _ = gradient(weight)
    slope = 1 - torch.tanh(p) ** 2
    return torch.stack(
        [torch.linalg.solve(torch.eye(6).double() - slope[k][:, None] * weight.T, CO[k]) for k in range(4)]
    )


def test_exact_is_the_dense_solve():
    for weight in (contractive(), monotone(6, 5.0, 0)):
        torch.testing.assert_close(gradient(weight)[0], exact(weight), rtol=1e-9, atol=1e-11)


def test_one_step_neglects_the_jacobian():
    torch.testing.assert_close(gradient(contractive(), OneStep())[0], CO)


@pytest.mark.parametrize("terms", [1, 3, 8])
def test_neumann_error_shrinks_with_the_power_of_the_norm(terms):
    weight = contractive(0.5)
    error = torch.linalg.norm(gradient(weight, Neumann(terms))[0] - exact(weight)) / torch.linalg.norm(exact(weight))
    assert error <= 0.5 ** (terms + 1) * 1.5
    assert error > 1e-6  # it is an estimate, and known as one


def test_reuse_of_the_chord_is_the_inverse_at_half_slope():
    weight = monotone(6, 5.0, 0)
    found, _, _ = gradient(weight, Reuse(), Chord(rtol=1e-10))
    expected = torch.linalg.solve(torch.eye(6).double() - 0.5 * weight.T, CO.T).T
    torch.testing.assert_close(found, expected)


def test_reuse_of_broyden_points_the_right_way():
    weight = contractive(0.8)
    found, _, _ = gradient(weight, Reuse(), Broyden(rtol=1e-10))
    cosine = torch.nn.functional.cosine_similarity(found, exact(weight), dim=1)
    plain = torch.nn.functional.cosine_similarity(CO, exact(weight), dim=1)
    assert cosine.mean() > plain.mean()


def test_reuse_without_an_estimate_is_refused_by_name():
    with pytest.raises(RuntimeError, match=r"Broyden\(\) or Chord\(\)"):
        gradient(contractive(), Reuse(), Anderson(rtol=1e-10))


def test_telemetry_compares_on_sampled_batches():
    watched = Watched(OneStep(), Exact(TIGHT), every=2)
    weight = contractive(0.8)
    cosine = torch.nn.functional.cosine_similarity(CO, exact(weight), dim=1)
    for _ in range(5):
        gradient(weight, watched)
    assert len(watched.cosines) == 3
    assert watched.cosines[0] == pytest.approx((float(cosine.min()), float(cosine.mean())))


def test_neumann_without_terms_is_refused():
    with pytest.raises(ValueError, match="terms = 0"):
        Neumann(0)
