"""A law beside what is learnt: the untrained cell gives its answer, every trained one keeps its certificate."""

import math

import pytest
import torch
from builders import chain_law, drives, normal, poisson_law
from hypothesis import given, settings
from hypothesis import strategies as st

from equilog.cells import (
    AffineSystem,
    CircuitCell,
    Curve,
    FixedCoupling,
    Linear,
    LinearCell,
    Mixed,
    MonotoneSpline,
    MonotoneWeight,
    OutsideCurveError,
    Tanh,
    certify,
    check_inside,
    total_of,
)
from equilog.cells.activation import lightened, select
from equilog.cells.curve import outside
from equilog.cells.monotone import monotone_margin
from equilog.equilibrium import EquilibriumLayer

SETTLE = EquilibriumLayer(on_failure="raise")


def physics(hidden, seed=0, law=None):
    """A cell of a law's states and some hidden ones."""
    torch.manual_seed(seed)
    law = poisson_law(3) if law is None else law
    return CircuitCell(law.states + hidden, law.drives, fixed=FixedCoupling.of(law, hidden)).double()


def answer(law, d):
    eye = torch.eye(law.states, dtype=torch.float64)
    return torch.linalg.solve(eye - law.weight, (d @ law.input_weight.T + law.bias).T).T


@pytest.mark.parametrize("hidden", [0, 1, 5])
def test_the_untrained_cell_rests_at_the_laws_own_answer(hidden):
    cell, law, d = physics(hidden), poisson_law(3), drives(4, 9)
    z = SETTLE(cell.system(d))
    # Without hidden states what is learnt starts a rounding error of single precision beside zero.
    torch.testing.assert_close(z[:, :9], answer(law, d), rtol=0, atol=1e-6)
    assert hidden == 0 or not cell.matrices()[0][:9].any()
    assert float(answer(law, d).abs().max()) > 0.2


def test_what_is_learnt_has_gradients_from_the_start():
    cell, d = physics(5), drives(16, 9)
    (SETTLE(cell.system(d)) - normal(1, 16, 14)).square().sum().backward()
    assert float(cell.input_weight.grad[:9].abs().min()) > 0
    assert float(cell.bias.grad.abs().min()) > 0
    assert float(cell.recurrent.b.grad[:9, 9:].abs().min()) > 0  # hidden to physical
    assert float(cell.recurrent.a.grad[:, :9].abs().max()) > 0
    alone = physics(0)
    SETTLE(alone.system(d)).square().sum().backward()
    assert float(alone.recurrent.a.grad.abs().max()) > 0


def test_some_steps_learn_what_the_law_leaves_out():
    law = poisson_law(3)
    cell, d = physics(6), drives(64, 9)
    wanted = answer(law, d) + 0.1 * torch.tanh(2 * answer(law, d)[:, [4]])
    optimiser = torch.optim.Adam(cell.parameters(), 0.02)
    losses = []
    for _ in range(30):
        loss = (SETTLE(cell.system(d))[:, :9] - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 4
    torch.testing.assert_close(cell.fixed.weight[:9, :9], law.weight)


@given(st.integers(1, 5), st.integers(0, 4), st.integers(0, 10**6), st.floats(0.05, 1.0), st.floats(0.1, 30.0))
@settings(max_examples=60, deadline=None)
def test_whatever_is_learnt_the_margin_is_the_laws_or_the_hidden_states(law, hidden, seed, margin, size):
    # Any coupling, monotone or not: its own λ_min(I − sym K) is what holds.
    k = 0.8 * normal(seed, law, law) / math.sqrt(law)
    n = law + hidden
    fixed = FixedCoupling.of(LinearCell(k, torch.ones(law, 1, dtype=torch.float64)), hidden)
    cell = CircuitCell(n, 1, margin=margin, fixed=fixed).double()
    with torch.no_grad():
        cell.recurrent.a.copy_(size * normal(seed + 1, n, n))
        cell.recurrent.b.copy_(size * normal(seed + 2, n, n))
    own = float(torch.linalg.eigvalsh(torch.eye(law) - (k + k.T) / 2)[0])
    assert fixed.margin == pytest.approx(own)
    expected = min(own, margin) if hidden else own
    assert monotone_margin(cell.total()[0].detach()) >= expected - 1e-12 * n * size**2 - 1e-12
    assert cell.certificate().promise.startswith("margin ≥ ")


def test_the_bound_is_tight():
    cell = physics(2)
    with torch.no_grad():
        cell.recurrent.a.zero_()
    found = cell.certificate()
    assert found.margin == pytest.approx(min(cell.fixed.margin, 0.3), abs=1e-9)
    assert found.holds
    assert found.promise == f"margin ≥ {min(cell.fixed.margin, 0.3):.6g}"
    plain = CircuitCell(3, 2)
    assert plain.certificate() == plain.recurrent.certificate()


def test_a_weight_without_a_promise_is_certified_as_it_is():
    fixed = chain_law(4, 2, 3)
    cell = CircuitCell(4, 2, recurrent=MonotoneWeight(4, dtype=torch.float64), fixed=fixed).double()
    assert cell.certificate() == certify(cell.total()[0])
    assert cell.certificate().promise == ""


def test_anchored_is_up_to_the_last_state_that_the_law_touches():
    zero, one = torch.zeros(4, 4), torch.zeros(4, 2)
    assert FixedCoupling(zero, one).anchored == 0
    assert FixedCoupling(zero, one, linear=2).anchored == 2
    for k in range(3):
        parts = [zero.clone(), one.clone(), torch.zeros(4)]
        parts[k][2] = 1.0
        assert FixedCoupling(*parts).anchored == 3 + (k == 0)  # a row of K_z has all columns
    assert FixedCoupling(zero, one).margin == math.inf


def test_the_whole_equation_is_the_sum():
    fixed = chain_law(5, 3, 3, linear=2)
    cell = CircuitCell(5, 3, fixed=fixed)
    for whole, learnt, law in zip(cell.total(), cell.matrices(), fixed.matrices()):
        torch.testing.assert_close(whole, learnt + law.float())
        assert whole.dtype == torch.float32
    d = drives(4, 3).float()
    system = cell.system(d)
    torch.testing.assert_close(system.injection, d @ cell.total()[1].T + cell.total()[2])
    assert system.activation == Mixed(2)
    assert CircuitCell(5, 3, fixed=chain_law(5, 3, 3)).activation == Tanh()

    class Plain:
        def matrices(self):
            return cell.matrices()

    torch.testing.assert_close(total_of(Plain())[0], cell.matrices()[0])


def test_a_law_is_saved_with_the_cell_and_is_no_parameter():
    first, second = (
        physics(2, seed=0),
        physics(2, seed=1, law=LinearCell(0.5 * poisson_law(3).weight, torch.ones(9, 9))),
    )
    second.load_state_dict(first.state_dict())
    for a, b in zip(first.total(), second.total()):
        assert torch.equal(a, b)
    assert {name for name, _ in first.named_parameters()} == {"recurrent.a", "recurrent.b", "input_weight", "bias"}
    assert {"fixed.weight", "fixed.input_weight", "fixed.bias"} <= first.state_dict().keys()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((torch.ones(2, 3), torch.ones(2, 1)), r"K_z, K_d, k of shapes .*expected \(n, n\)"),
        ((torch.ones(2, 2), torch.ones(3, 1)), "K_z, K_d, k of shapes"),
        ((torch.ones(2, 2), torch.ones(2, 1), torch.ones(3)), "K_z, K_d, k of shapes"),
        ((torch.ones(2, 2), torch.ones(2, 0)), "drives = 0"),
        ((torch.ones(2, 2), torch.full((2, 1), math.nan)), "K_d has an entry that is inf or nan"),
        ((torch.full((2, 2), math.inf), torch.ones(2, 1)), "K_z has an entry that is inf or nan"),
    ],
)
def test_a_law_that_is_none_is_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        FixedCoupling(*parts)


def test_wrong_sizes_are_named():
    law = chain_law(4, 2, 3)
    for linear in (-1, 5):
        with pytest.raises(ValueError, match=f"linear = {linear}"):
            FixedCoupling(law.weight, law.input_weight, linear=linear)
    with pytest.raises(ValueError, match="4 states and 2 drives beside matrices of 5 and 2"):
        CircuitCell(5, 2, fixed=law)
    with pytest.raises(ValueError, match="4 states and 2 drives beside matrices of 4 and 3"):
        CircuitCell(4, 3, fixed=law)
    with pytest.raises(ValueError, match="hidden = -1"):
        FixedCoupling.of(poisson_law(2), -1)
    with pytest.raises(ValueError, match="anchored = 4"):
        MonotoneWeight(3, anchored=4)
    assert "linear=0" in repr(law)
    assert "anchored=2" in repr(MonotoneWeight(3, anchored=2))


CURVE = Curve(MonotoneSpline(torch.linspace(-3, 3, 13), torch.atan(torch.linspace(-3, 3, 13))), v_scale_volt=0.1)


@pytest.mark.parametrize("of", [Tanh(), CURVE], ids=["tanh", "curve"])
@pytest.mark.parametrize("rail", [math.inf, 0.7])
def test_mixed_knows_its_slope(of, rail):
    gain, shift = 1 + 0.1 * normal(1, 5), 0.1 * normal(2, 5)
    mixed = Mixed(2, of, gain, shift, rail)
    p = normal(3, 4, 5).requires_grad_()
    z = mixed(p)
    torch.testing.assert_close(torch.autograd.grad(z.sum(), p)[0], mixed.slope(p), rtol=1e-9, atol=1e-9)
    clipped = p.clamp(-rail, rail) - shift
    torch.testing.assert_close(z[:, :2], (gain * clipped)[:, :2])
    torch.testing.assert_close(z[:, 2:], gain[2:] * of(clipped[:, 2:]))
    if rail == math.inf:
        assert torch.autograd.gradcheck(mixed, (p,), atol=1e-6)
    assert (mixed.slope(p)[:, :2] == torch.where(p.abs() < rail, gain, 0.0)[:, :2]).all()


def test_mixed_in_a_population_and_of_some_samples():
    gain = 1 + 0.1 * normal(1, 3, 1, 4)
    mixed, p = Mixed(1, Tanh(), gain, 0.1), normal(2, 3, 5, 4)
    rows, chips = torch.tensor([1, 7, 14]), torch.tensor([0, 1, 2])
    picked = select(mixed, rows, chips, p.shape)
    torch.testing.assert_close(picked(p.view(-1, 4)[rows][:, None]), mixed(p).view(-1, 4)[rows][:, None])
    weight = normal(3, 3, 4, 4)
    bare, scaled = lightened(mixed, weight)
    torch.testing.assert_close(bare(p) @ scaled.mT, mixed(p) @ weight.mT)
    assert bare.gain == 1.0


def test_all_states_linear_is_the_identity():
    p = normal(0, 3, 4)
    assert torch.equal(Mixed(4)(p), p)
    assert torch.equal(Mixed(4).slope(p), Linear(torch.ones(4)).slope(p))


def test_mixed_refuses_what_it_cannot_be():
    with pytest.raises(ValueError, match="linear = -1"):
        Mixed(-1)
    with pytest.raises(ValueError, match="give them to Mixed"):
        Mixed(1, Tanh(gain=torch.ones(3)))


def test_only_measured_neurons_can_lie_outside():
    p = torch.tensor([[9.0, 9.0, 0.0]])
    assert outside(Mixed(1, CURVE), p).tolist() == [[False, True, False]]
    assert not outside(Mixed(2, CURVE), p).any()
    assert not outside(Mixed(0), p).any()
    assert outside(CURVE, p).tolist() == [[True, True, False]]
    with pytest.raises(OutsideCurveError, match=r"neuron 1 of sample 0 rests at 0\.9 V"):
        check_inside(Mixed(1, CURVE), p)
    check_inside(Mixed(2, CURVE), p)
    check_inside(Mixed(1), p)


def test_gradients_through_a_mixed_rest():
    fixed = chain_law(4, 2, 3, linear=2)
    weight = (MonotoneWeight(4, anchored=3, dtype=torch.float64)().detach() + fixed.weight).requires_grad_()
    u, gain = normal(1, 3, 4).requires_grad_(), (1 + 0.1 * normal(2, 4)).requires_grad_()

    def rest(weight, u, gain):
        return SETTLE.rest(AffineSystem(weight, u, Mixed(2, Tanh(), gain, 0.05)))

    assert torch.autograd.gradcheck(rest, (weight, u, gain), atol=1e-5)
    assert torch.autograd.gradgradcheck(rest, (weight, u, gain), atol=1e-4)
