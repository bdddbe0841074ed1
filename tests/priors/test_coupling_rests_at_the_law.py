"""Fixed conductances of a linear law rest at its exact answer; what would not come to rest is refused by its margin."""

import copy

import numpy as np
import pytest
import torch
from builders import drives, generator, normal
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from equilog.cells import CircuitCell, LinearCell
from equilog.equilibrium import EquilibriumLayer
from equilog.priors import Field, Grid, Law, LinearLaw, linearised, poisson

SETTLE = EquilibriumLayer(on_failure="raise")


def law_of(n=5, m=3, seed=0, skew=0.0):
    """A law that rises with its state: positive definite, with a skew part scaled up; numbers of different sizes."""
    a, b = normal(seed, n, n), normal(seed + 1, n, n)
    size = torch.logspace(0, 1, n, dtype=torch.float64)
    matrix = size.diag() @ (a @ a.T / n + torch.eye(n)) @ size.diag() + skew * size[:, None] * (b - b.T)
    return LinearLaw(
        matrix,
        normal(seed + 2, n, m),
        normal(seed + 3, n),
        state=Field("state", (n,), "m"),
        sources=Field("load", (m,), "N"),
        unit="N",
    )


@given(st.integers(1, 7), st.integers(1, 4), st.integers(0, 10**6), st.sampled_from([0.0, 0.3]), st.floats(0.3, 3.0))
def test_cells_rest_at_the_exact_answer(n, m, seed, skew, damping):
    law = law_of(n, m, seed, skew)
    x = normal(seed + 5, 4, m)
    exact = law.solve(x)
    torch.testing.assert_close(law(exact, x), torch.zeros_like(exact), rtol=0, atol=1e-9)
    d, scale = x / 2.0, 0.5 + torch.rand(n, dtype=torch.float64, generator=generator(seed))
    fixed = None
    try:
        fixed = law.coupling(scale=scale, drives=2.0, damping=damping)
    except ValueError as error:
        refused = str(error)
    if fixed is None:
        assert "law.normal_equations()" in refused
        assert skew
        fixed = law.normal_equations().coupling(scale=scale, drives=2.0, damping=damping)
    assert fixed.linear == n
    z = SETTLE(LinearCell(*fixed.matrices()).system(d)) * scale
    torch.testing.assert_close(z, exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("hidden", [0, 3])
@pytest.mark.parametrize("rows", ["best", "diagonal", "symmetric"])
def test_the_untrained_circuit_cell_rests_there_too(hidden, rows):
    torch.manual_seed(0)
    law = poisson(Grid((3, 4), 0.1))
    fixed = law.coupling(scale=0.02, drives=3.0, rows=rows, hidden=hidden)
    cell = CircuitCell(12 + hidden, 12, fixed=fixed).double()
    d = drives(4, 12)
    z = SETTLE(cell.system(d))[:, :12] * 0.02
    torch.testing.assert_close(z, law.solve(3 * d.view(4, 3, 4)).flatten(1), rtol=0, atol=1e-7)
    assert cell.certificate().holds


def test_the_rows_that_were_asked_for():
    law = poisson(Grid((6,), 1.0))  # diagonal 2 inside, 3 beside a boundary; largest row sum 4
    diagonal = law.coupling(rows="diagonal")
    assert not diagonal.weight.diagonal().any()
    uniform = law.coupling(rows="symmetric")
    torch.testing.assert_close(uniform.weight, torch.eye(6) - torch.from_numpy(law.a.toarray()) / 4)
    assert law.coupling().margin == pytest.approx(max(diagonal.margin, uniform.margin))
    assert law.coupling(damping=0.5).margin == pytest.approx(law.coupling().margin / 2)


def test_drives_are_a_number_one_each_or_patterns():
    law, x = law_of(4, 3, skew=0.0), normal(9, 5, 3)
    law = law.normal_equations()
    each = torch.tensor([1.0, 2.0, 4.0]).double()
    patterns = normal(8, 3, 2)
    for given_, d, source in ((each, x, x * each), (patterns, x[:, :2], x[:, :2] @ patterns.T), (2.0, x, 2 * x)):
        fixed = law.coupling(drives=given_)
        assert fixed.drives == d.shape[1]
        torch.testing.assert_close(
            SETTLE(LinearCell(*fixed.matrices()).system(d)), law.solve(source), rtol=1e-5, atol=1e-6
        )
    with pytest.raises(ValueError, match=r"drives of shape \(2, 2\): expected a number, \(3,\)"):
        law.coupling(drives=torch.ones(2, 2))


def test_a_law_without_sources_has_one_idle_drive():
    law = LinearLaw(2 * torch.eye(2), None, torch.tensor([1.0, 2.0]), state=Field("state", (2,)))
    torch.testing.assert_close(law.solve(batch=2), torch.tensor([[0.5, 1.0]] * 2).double())
    fixed = law.coupling()
    assert fixed.drives == 1
    z = SETTLE(LinearCell(*fixed.matrices()).system(torch.ones(1, 1).double()))
    torch.testing.assert_close(z, law.solve(), rtol=0, atol=1e-8)


def test_what_runs_away_is_refused_with_its_margin():
    law = poisson(Grid((4,), 1.0))
    turned = LinearLaw(-law.a, state=Field("height", (4,)))
    with pytest.raises(ValueError, match=r"law of height: margin λ_min.* = -1 under symmetric .* runs away"):
        turned.coupling()
    # Stable, eigenvalues 1 and 2, and yet not monotone: a large one-way coupling.
    one_way = LinearLaw(torch.tensor([[1.0, 40.0], [0.0, 2.0]]), state=Field("pair", (2,)))
    with pytest.raises(ValueError, match=r"margin λ_min\(sym\(I − K_z\)\) = -\d.*though .* is stable"):
        one_way.coupling()
    assert one_way.normal_equations().coupling().margin > 0
    # The other way out: a scale of states that makes the coupling small.
    assert one_way.coupling(scale=torch.tensor([1.0, 0.01])).margin > 0
    with pytest.raises(ValueError, match=r"expected above 0\.5: the law is monotone, but with less; a damping of"):
        law.coupling(margin=0.5)
    with pytest.raises(ValueError, match="A has an entry on its diagonal that is not positive"):
        turned.coupling(rows="diagonal")


@given(st.integers(0, 10**6))
def test_the_margin_named_is_the_least_of_all(seed):
    law = law_of(4, 2, seed, 0.5)
    try:
        law.coupling(margin=1e9)
    except ValueError as error:
        named = float(str(error).split("K_z)) = ")[1].split()[0])
    diagonal, uniform = law.a.diagonal(), np.abs(law.a.toarray()).sum(1).max()
    found = []
    for s in (diagonal[:, None], uniform):
        m = law.a.toarray() / s
        found.append(np.linalg.eigvalsh((m + m.T) / 2)[0])
    assert named == pytest.approx(max(found), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("call", [{"scale": 0.0}, {"scale": torch.ones(3)}, {"damping": 0.0}, {"rows": "columns"}])
def test_arguments_out_of_range_are_named(call):
    with pytest.raises(ValueError, match=f"{next(iter(call))} = "):
        law_of(5).coupling(**call)


def test_matrices_that_do_not_fit_are_named():
    state = Field("state", (3,))
    with pytest.raises(ValueError, match=r"A has shape \(2, 2\): expected \(3, 3\)"):
        LinearLaw(torch.eye(2), state=state)
    with pytest.raises(ValueError, match=r"B has shape \(3, 3\): expected \(3, 2\)"):
        LinearLaw(torch.eye(3), torch.eye(3), state=state, sources=Field("load", (2,)))
    with pytest.raises(ValueError, match="A has an entry that is inf or nan"):
        LinearLaw(torch.eye(3) * np.nan, state=state)
    with pytest.raises(ValueError, match=r"c of shape \(2,\): expected \(3,\)"):
        LinearLaw(torch.eye(3), None, torch.ones(2), state=state)
    with pytest.raises(ValueError, match=r"the law of state is singular.*leak"):
        LinearLaw(torch.ones(3, 3), state=state).solve()


@pytest.mark.parametrize("form", ["dense", "scipy", "torch-sparse"])
def test_forms_of_matrices_are_equal(form):
    a = law_of(5).a.toarray()
    given_ = {
        "dense": torch.from_numpy(a),
        "scipy": sparse.coo_array(a),
        "torch-sparse": torch.from_numpy(a).to_sparse(),
    }[form]
    law = LinearLaw(given_, state=Field("state", (5,)))
    z = normal(0, 2, 5)
    torch.testing.assert_close(law(z), z @ torch.from_numpy(a).T)
    assert law.condition == pytest.approx(np.linalg.cond(a))


def test_large_laws_are_sparse_and_differentiable():
    law = poisson(Grid((40, 41), 1.0))  # 1640 unknowns: products are sparse
    z, x = normal(0, 2, 40, 41).requires_grad_(), normal(1, 2, 40, 41)
    torch.testing.assert_close(law(z, x), -Grid((40, 41), 1.0).divergence(z) - x)
    (g,) = torch.autograd.grad(law(z, x).square().sum() / 2, z)
    torch.testing.assert_close(g, -Grid((40, 41), 1.0).divergence(law(z, x)).detach())
    exact = np.linalg.cond(law.a.toarray())
    assert exact / 10 < law.condition < 10 * exact  # of another norm


def test_a_law_can_be_copied_after_it_was_solved():
    law = law_of()
    x = normal(0, 2, 3)
    first = law.solve(x)
    twin = copy.deepcopy(law)
    assert torch.equal(twin.solve(x), first)
    torch.testing.assert_close(twin(first, x), law(first, x))


def test_the_linear_part_touches_the_law():
    law = Law(lambda z, x: z.square() + x[:, :2] * z - x[:, 1:] ** 2, Field("state", (2,)), Field("load", (3,)))
    z, x = normal(0, 2) + 3, normal(1, 3)
    part = linearised(law, z, x)
    torch.testing.assert_close(part(z[None], x[None]), law(z[None], x[None]))
    dz, dx = 1e-5 * normal(2, 1, 2), 1e-5 * normal(3, 1, 3)
    torch.testing.assert_close(part(z + dz, x + dx), law(z + dz, x + dx), rtol=0, atol=1e-8)
    again = linearised(law_of(), torch.zeros(5), torch.zeros(3))
    np.testing.assert_allclose(again.a.toarray(), law_of().a.toarray())
    np.testing.assert_allclose(again.c, law_of().c)
    with pytest.raises(ValueError, match="expected the same"):
        linearised(Law(lambda z: z.sum(1)[:, None], Field("state", (2,)), shape=(1,)), z)
