"""Every number of a certificate against the thing it speaks of: spectra, flows, iterations and moved equilibria."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from builders import monotone, normal
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from equilog.cells import Certificate, ContractiveWeight, MonotoneWeight, SymmetricWeight, certify
from equilog.cells.monotone import monotone_margin

square = st.integers(1, 6).flatmap(lambda n: hnp.arrays(np.float64, (n, n), elements=st.floats(-10, 10)))
Phi = Callable[[Tensor], Tensor]
ACTIVATIONS: list[Phi] = [torch.tanh, torch.relu, lambda p: p.clamp(-0.3, 0.5), lambda p: p]
SKEW = torch.tensor([[0.0, 3.0], [-3.0, 0.0]], dtype=torch.float64)


def weights() -> list[Tensor]:
    """Margins 0.05 to 1, norms 0.5 to 8, symmetric, skew, rotated; all have m > 0."""
    some = [monotone(n, norm, n, margin) for n, norm, margin in [(1, 0, 0.3), (4, 8, 0.05), (7, 3, 0.3), (5, 2, 1.0)]]
    torch.manual_seed(3)
    made = [ContractiveWeight(6, 0.4, scale=3, dtype=torch.float64), SymmetricWeight(5, 0.2, dtype=torch.float64)]
    return [*some, *(m().detach() for m in made), SKEW]


def only_row_sums(n: int = 9, c: float = 0.9) -> Tensor:
    """Row sums c, but ‖W‖₂ = c√n and a margin far below 0."""
    weight = torch.zeros(n, n, dtype=torch.float64)
    weight[:, 0] = c * torch.tensor([(-1.0) ** i for i in range(n)])
    return weight


def chord(weight: Tensor) -> tuple[Tensor, Tensor]:
    inverse = torch.linalg.inv(torch.eye(len(weight)).double() - weight / 2)
    return inverse @ weight, inverse


def rest(weight: Tensor, injection: Tensor, phi: Phi) -> Tensor:
    """p* of ``(batch, n)`` injections to rounding: loop-shifted chord, or damped if only the row margin is positive."""
    k, inverse = chord(weight)
    shifted = monotone_margin(weight) > 0
    p = torch.zeros_like(injection)
    for _ in range(20000):
        damped = (p + phi(p) @ weight.T + injection) / 2
        new = (phi(p) - p / 2) @ k.T + injection @ inverse.T if shifted else damped
        if (new - p).abs().max() < 1e-14:
            break
        p = new
    assert (phi(p) @ weight.T + injection - p).abs().max() < 1e-11
    return p


def flow(weight: Tensor, injection: Tensor, phi: Phi, p: Tensor, step: float, steps: int) -> Tensor:
    """p(t) by RK4 at the multiples of step, ``(steps + 1, batch, n)``, τ = 1."""

    def rate(p: Tensor) -> Tensor:
        return phi(p) @ weight.T + injection - p

    path = [p]
    for _ in range(steps):
        a = rate(p)
        b = rate(p + step / 2 * a)
        c = rate(p + step / 2 * b)
        p = p + step / 6 * (a + 2 * b + 2 * c + rate(p + step * c))
        path.append(p)
    return torch.stack(path)


@given(square)
def test_numbers_are_those_of_the_matrix_and_err_on_the_safe_side(entries):
    weight = torch.from_numpy(entries)
    found = certify(weight)
    off = np.abs(entries - np.diag(np.diag(entries))).sum(1)
    expected = {
        "margin": np.linalg.eigvalsh(np.eye(len(entries)) - (entries + entries.T) / 2)[0],
        "row_margin": 1 - (off + np.maximum(np.diag(entries), 0)).max(),
        "spectral_norm": np.linalg.svd(entries, compute_uv=False)[0],
        "row_sum": np.abs(entries).sum(1).max(),
    }
    for name, value in expected.items():
        sign = 1 if "margin" in name else -1
        assert 0 <= sign * (value - getattr(found, name)) + 1e-15 * len(entries) <= 1e-10, name
    assert found.margin == pytest.approx(monotone_margin(weight), abs=1e-11)
    assert found.holds == (found.margin > 0 or found.row_margin > 0)


@given(square, st.floats(0.01, 1))
def test_chord_contracts_for_every_margin(entries, margin):
    module = MonotoneWeight(len(entries), margin, dtype=torch.float64)
    with torch.no_grad():
        module.b.copy_(torch.from_numpy(entries))
    found = module.certificate()
    norm = torch.linalg.matrix_norm(chord(module().detach())[0], 2)
    assert found.chord_rate == pytest.approx(float(norm) / 2, abs=1e-9)
    assert found.chord_rate <= found.spectral_norm / math.hypot(found.spectral_norm, 2 * found.margin**0.5) + 1e-9
    assert found.chord_rate < 1


def test_bound_on_the_chord_rate_is_reached_by_a_rotation():
    assert certify(SKEW).chord_rate == pytest.approx(3 / math.sqrt(9 + 4))


@pytest.mark.parametrize("phi", ACTIVATIONS)
@pytest.mark.parametrize("weight", weights())
def test_iterations_contract_at_the_rates_stated(weight, phi):
    found = certify(weight)
    k, inverse = chord(weight)
    injection = normal(0, len(weight))
    p, r = 3 * normal(1, 2, 50, len(weight))
    steps = {
        found.chord_rate: lambda p: (phi(p) - p / 2) @ k.T + inverse @ injection,
        found.spectral_norm: lambda p: phi(p) @ weight.T + injection,
    }
    for rate, step in steps.items():
        before, after = (torch.linalg.vector_norm(x, dim=1) for x in (p - r, step(p) - step(r)))
        assert (after <= rate * before * (1 + 1e-9) + 1e-14).all()
    assert found.picard_rate == min(found.spectral_norm, found.row_sum)


@pytest.mark.parametrize("phi", ACTIVATIONS)
@pytest.mark.parametrize("weight", [*weights(), only_row_sums()])
def test_flow_settles_as_fast_as_stated(weight, phi):
    found = certify(weight)
    injection = normal(0, 20, len(weight))
    start = 4 * normal(1, 20, len(weight))
    equilibrium = rest(weight, injection, phi)
    path = flow(weight, injection, phi, start, 0.02, 600)
    time = 0.02 * torch.arange(601, dtype=torch.float64)
    checked = 0
    for norm, order in (("spectral", 2), ("row-sum", math.inf)):
        if (rate := found.rate(norm)) > 0:
            distance = torch.linalg.vector_norm(phi(path) - phi(equilibrium), order, dim=2)
            begin = torch.linalg.vector_norm(start - equilibrium, order, dim=1)
            assert (distance <= begin * torch.exp(-rate * time)[:, None] + 1e-8).all()
            settled = int(found.settling_time(1e-2, norm=norm) / 0.02) + 1
            if settled <= 600:
                assert (distance[settled:] <= 1e-2 * begin).all()
            checked += 1
    assert checked


@pytest.mark.parametrize("margin", [0.1, 0.4])
def test_settling_time_is_exact_for_the_slowest_linear_neuron(margin):
    weight = (1 - margin) * torch.eye(2, dtype=torch.float64)
    weight[0, 1], weight[1, 0] = 1.0, -1.0
    time = certify(weight).settling_time(1e-2)
    path = flow(weight, torch.zeros(1, 2).double(), lambda p: p, torch.tensor([[1.0, 0.0]]).double(), time / 1500, 1500)
    assert float(path[-1].norm()) == pytest.approx(1e-2, rel=1e-6)
    assert certify(weight).settling_time(1e-2, tau_second=1e-6) == pytest.approx(1e-6 * time)


@given(st.integers(0, 10**6), st.integers(1, 6), st.floats(0.01, 2), st.floats(0, 1))
def test_near_rest_no_mode_is_slower_than_stated(seed, n, size, saturated):
    weight = size * normal(seed, n, n)
    slopes = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    slopes[slopes < saturated / 2] = 0.0
    modes = torch.linalg.eigvals(weight * slopes - torch.eye(n)).real
    assert float(modes.max()) <= -certify(weight).asymptotic_rate + 1e-9


@pytest.mark.parametrize("phi", ACTIVATIONS)
@pytest.mark.parametrize("weight", weights())
def test_displacement_of_equilibria_that_really_moved(weight, phi):
    found, n = certify(weight), len(weight)
    injection, change = normal(0, 30, n), 0.3 * normal(1, 30, n)
    z = phi(rest(weight, injection, phi))
    moved = phi(rest(weight, injection + change, phi)) - z
    for k in range(30):
        assert float(moved[k].norm()) <= found.displacement(float(change[k].norm())) + 1e-10
    error = 0.2 * max(found.margin, 0.1) / n * normal(2, n, n)
    wrong = certify(weight + error)
    if wrong.margin > 0:
        moved = phi(rest(weight + error, injection, phi)) - z
        for k in range(30):
            assert float(moved[k].norm()) <= wrong.displacement(float((error @ z[k]).norm())) + 1e-10


def test_displacement_is_exact_for_a_linear_neuron_in_both_norms():
    weight = torch.diag(torch.tensor([0.7, 0.1, -2.0], dtype=torch.float64))
    change = torch.tensor([[0.5, 0.0, 0.0]], dtype=torch.float64)
    moved = float(rest(weight, change, lambda p: p).norm())
    assert certify(weight).displacement(0.5) == pytest.approx(moved)
    assert certify(weight).displacement(0.5, "row-sum") == pytest.approx(moved)


def test_row_sums_alone_are_enough():
    found = certify(only_row_sums())
    assert found.margin < 0 < found.row_margin
    assert found.holds
    assert found.settling_time(0.1) == math.inf
    assert found.displacement(1.0) == math.inf
    assert found.displacement(1.0, "row-sum") == pytest.approx(10)


def test_energy_falls_along_the_flow_of_a_symmetric_weight():
    torch.manual_seed(1)
    module = SymmetricWeight(6, 0.2, scale=1.5, dtype=torch.float64)
    weight, u = module().detach(), normal(2, 1, 6)
    path = flow(weight, u, torch.tanh, 2 * normal(3, 1, 6), 0.02, 1000)[:, 0]
    z = torch.tanh(path)
    inverse = (z * path + torch.log1p(-(z**2)) / 2).sum(1)  # Σ∫₀ᶻ artanh
    energy = -0.5 * ((z @ weight) * z).sum(1) - z @ u[0] + inverse
    assert (energy.diff() <= 1e-12).all()
    assert energy[0] - energy[-1] > 0.1
    assert torch.linalg.eigvals(weight * (1 - z[-1] ** 2) - torch.eye(6)).imag.abs().max() < 1e-12
    assert "energy" in str(module.certificate())
    assert "energy" not in str(certify(weight))


@given(square, st.floats(1e-3, 1))
def test_symmetric_weight_for_any_parameters(entries, margin):
    module = SymmetricWeight(len(entries), margin, dtype=torch.float64)
    with torch.no_grad():
        module.a.copy_(torch.from_numpy(entries))
    weight = module().detach()
    assert torch.equal(weight, weight.T)
    assert torch.linalg.eigvalsh(weight)[-1] <= 1 - margin + 1e-11
    assert module.certificate().symmetric


def test_a_weight_without_guarantee_says_so():
    found = certify(3 * torch.eye(2))
    assert not found.holds
    assert found.chord_rate == math.inf
    assert found.settling_time(0.1) == found.displacement(0.1) == math.inf
    assert "NOT certain" in str(found)


@pytest.mark.parametrize("module", [MonotoneWeight(4), SymmetricWeight(4), ContractiveWeight(4)])
def test_a_module_says_what_holds_by_construction(module):
    text = str(module.certificate())
    assert "exactly one equilibrium" in text
    assert f"≥ {0.3}" in text or f"‖W‖₂ ≤ {0.9}" in text
    assert isinstance(module.certificate(), Certificate)
    assert module.certificate() == module.certificate()


@pytest.mark.parametrize("shape", [(2, 3), (3,), (0, 0), (2, 2, 2)])
def test_a_weight_of_the_wrong_shape_is_named(shape):
    with pytest.raises(ValueError, match=r"weight has shape .* expected \(n, n\)"):
        certify(torch.zeros(shape))


def test_what_makes_no_sense_is_named():
    found = certify(torch.zeros(2, 2))
    with pytest.raises(ValueError, match="inf or nan"):
        certify(torch.tensor([[math.nan]]))
    with pytest.raises(ValueError, match=r"tolerance = 0: expected a number in \(0, 1\)"):
        found.settling_time(0)
    with pytest.raises(ValueError, match=r"tau_second = -1: expected a positive time"):
        found.settling_time(0.1, -1)
    with pytest.raises(ValueError, match="perturbation = -1: expected"):
        found.displacement(-1)
    with pytest.raises(ValueError, match=r"norm = 'spectrl' \(did you mean 'spectral'\?\)"):
        found.rate("spectrl")
    with pytest.raises(ValueError, match="margin = 2"):
        SymmetricWeight(3, 2)
    with pytest.raises(ValueError, match="n = 0"):
        SymmetricWeight(0)


def test_symmetric_weight_is_differentiable():
    module = SymmetricWeight(4, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda a: torch.func.functional_call(module, {"a": a}), module.a.detach().requires_grad_()
    )
