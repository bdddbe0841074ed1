"""A law apart: nothing learnt beside it but what hidden states bring, whatever an optimiser does."""

import pytest
import torch
from builders import apart_cell, chain_law, drives, normal, poisson_law
from hypothesis import given, settings
from hypothesis import strategies as st

from equilog.cells import CircuitCell, FixedCoupling, LinearCell, MonotoneWeight, populated_of
from equilog.cells.monotone import monotone_margin
from equilog.equilibrium import EquilibriumLayer

SETTLE = EquilibriumLayer(on_failure="raise")


def untrained(hidden, seed=0):
    torch.manual_seed(seed)
    law = poisson_law(3)
    return CircuitCell(9 + hidden, 9, fixed=FixedCoupling.of(law, hidden), apart=True).double()


def answer(d):
    law = poisson_law(3)
    return torch.linalg.solve(torch.eye(9).double() - law.weight, law.input_weight @ d.T).T


@given(st.integers(1, 5), st.integers(0, 4), st.integers(0, 10**6), st.floats(0.05, 1.0), st.floats(0.1, 30.0))
@settings(max_examples=60, deadline=None)
def test_the_margin_is_the_laws_or_the_hidden_states_and_zeros_stay_zero(law, hidden, seed, margin, size):
    k = 0.8 * normal(seed, law, law) / law**0.5
    n = law + hidden
    fixed = FixedCoupling.of(LinearCell(k, torch.ones(law, 1, dtype=torch.float64)), hidden)
    cell = CircuitCell(n, 1, margin=margin, fixed=fixed, apart=True).double()
    with torch.no_grad():
        for j, parameter in enumerate(cell.parameters()):
            parameter.copy_(size * normal(seed + j, *parameter.shape))
    own = float(torch.linalg.eigvalsh(torch.eye(law) - (k + k.T) / 2)[0])
    expected = min(own, margin) if hidden else own
    assert monotone_margin(cell.total()[0].detach()) >= expected - 1e-12 * n * size**2 - 1e-12
    weight, input_weight, bias = cell.matrices()
    assert not weight[:law, :law].any()
    assert not input_weight[:law].any()
    assert not bias[:law].any()
    assert torch.equal(weight[:law, law:], -weight[law:, :law].T)
    lost = torch.cat([weight, input_weight, bias[:, None]], dim=1)[~cell.populated]
    assert not lost.any()
    assert cell.certificate().promise == f"margin ≥ {min(cell.fixed.margin, margin):.6g}"


def test_the_bound_is_tight():
    cell = apart_cell(5, 2, chain_law(5, 2, 3), size=2.0)
    with torch.no_grad():
        cell.recurrent.a.zero_()
    assert cell.certificate().margin == pytest.approx(min(cell.fixed.margin, 0.3), abs=1e-9)


@pytest.mark.parametrize("hidden", [0, 3])
def test_untrained_it_rests_exactly_at_the_laws_answer(hidden):
    d = drives(4, 9)
    z = SETTLE(untrained(hidden).system(d))
    torch.testing.assert_close(z[:, :9], answer(d), rtol=0, atol=1e-9)


def test_what_is_learnt_reaches_the_law_through_hidden_states():
    cell, d = untrained(3), drives(16, 9)
    wanted = answer(d) + 0.1 * torch.sin(3 * d)
    optimiser = torch.optim.AdamW(cell.parameters(), lr=0.03, weight_decay=0.1)
    first = last = None
    for _ in range(60):
        loss = (SETTLE(cell.system(d))[:, :9] - wanted).square().sum()
        optimiser.zero_grad()
        loss.backward()
        if first is None:
            first = float(loss.detach())
            assert float(cell.recurrent.b.grad[:9].abs().min()) > 0  # S has a gradient from the start
        optimiser.step()
        last = float(loss.detach())
    assert last < 0.9 * first
    assert all(bool(p.grad.any()) for p in cell.parameters())
    weight, input_weight, bias = cell.matrices()
    assert weight[:9, 9:].any()
    assert not torch.cat([weight[:9, :9], input_weight[:9], bias[:9, None]], 1).any()


def test_no_parameter_is_without_effect():
    """What an optimiser can move is what a crossbar holds: as many numbers as W (skew across), U and b have."""
    cell = apart_cell(7, 3, chain_law(7, 3, 4))
    before = [m.detach().clone() for m in cell.matrices()]
    for parameter in cell.parameters():
        for k in range(parameter.numel()):
            with torch.no_grad():
                kept = float(parameter.view(-1)[k])
                parameter.view(-1)[k] += 0.5
                moved = cell.matrices()
                parameter.view(-1)[k] = kept
            own_diagonal = parameter is cell.recurrent.b and k in (4 * 3, 5 * 3 + 1, 6 * 3 + 2)
            # B's diagonal cancels in B − Bᵀ, apart or not.
            assert any(bool((a - b).abs().max() > 1e-3) for a, b in zip(before, moved)) != own_diagonal


def test_without_hidden_states_there_is_nothing_to_learn():
    cell = untrained(0)
    assert sum(p.numel() for p in cell.parameters()) == 0
    assert cell.populated.sum() == 0
    assert not any(bool(m.any()) for m in cell.matrices())
    assert cell.certificate().margin == pytest.approx(cell.fixed.margin)
    optimiser = torch.optim.Adam(cell.parameters())
    SETTLE(cell.system(drives(2, 9))).sum().backward()
    optimiser.step()


def test_where_devices_are():
    cell = untrained(2)
    where = populated_of(cell)
    assert where.shape == (11, 21)
    assert where[9:].all()
    assert where[:9, 9:11].all()
    assert int(where.sum()) == 2 * 21 + 9 * 2
    assert cell.apart
    plain = CircuitCell(11, 9, fixed=FixedCoupling.of(poisson_law(3), 2))
    assert not plain.apart
    assert populated_of(plain) is None


def test_a_saved_cell_is_the_same_cell():
    cell = apart_cell(6, 2, chain_law(6, 2, 4), seed=3)
    other = CircuitCell(6, 2, fixed=chain_law(6, 2, 4), apart=True).double()
    other.load_state_dict(cell.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(cell.matrices(), other.matrices()))


def test_what_cannot_be_apart_is_refused():
    with pytest.raises(ValueError, match="apart = True without a law"):
        CircuitCell(3, 2, apart=True)
    zero = FixedCoupling(torch.zeros(3, 3), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="apart = True without a law"):
        CircuitCell(3, 2, fixed=zero, apart=True)
    fixed = chain_law(4, 2, 3)
    for recurrent in (MonotoneWeight(4, anchored=3), MonotoneWeight(4, anchored=2, apart=True), torch.nn.Linear(4, 4)):
        with pytest.raises(ValueError, match=r"expected a MonotoneWeight\(…, anchored=3, apart=True\)"):
            CircuitCell(4, 2, recurrent=recurrent, fixed=fixed, apart=True)
    own = MonotoneWeight(4, anchored=3, apart=True)
    assert CircuitCell(4, 2, recurrent=own, fixed=fixed, apart=True).recurrent is own
    assert "apart=True" in repr(own)


def test_nothing_anchored_is_the_plain_weight():
    torch.manual_seed(1)
    plain = MonotoneWeight(4)
    torch.manual_seed(1)
    apart = MonotoneWeight(4, apart=True)
    assert torch.equal(plain(), apart())
