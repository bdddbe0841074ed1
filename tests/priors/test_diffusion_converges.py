"""Grids and graphs: Laplacians as they must be, and manufactured solutions met with the square of the spacing."""

import math

import numpy as np
import pytest
import torch
from builders import generator, normal
from hypothesis import given
from hypothesis import strategies as st

from equilog.priors import (
    Grid,
    Side,
    darcy,
    darcy_of_permeability,
    dirichlet,
    graph_diffusion,
    graph_laplacian,
    heat_step,
    neumann,
    periodic,
    poisson,
    screened_poisson,
)
from equilog.priors import units as unit_strings

PAIRS = {
    "dirichlet": (dirichlet(0.4), dirichlet(-0.2)),
    "neumann": (neumann(0.3), neumann(-1.0)),
    "periodic": (periodic(), periodic()),
    "mixed": (dirichlet(1.0), neumann(0.5)),
}
SIDES = st.sampled_from(sorted(PAIRS)).map(PAIRS.get)


@st.composite
def grids(draw):
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=2)))
    steps = tuple(draw(st.floats(0.1, 3.0)) for _ in shape)
    return Grid(shape, steps, tuple(draw(SIDES) for _ in shape))


def positive(seed, *shape):
    return 0.2 + torch.rand(*shape, dtype=torch.float64, generator=generator(seed))


@given(grids(), st.integers(0, 10**6))
def test_the_operator_is_symmetric_and_never_positive(grid, seed):
    matrix = grid.operator(positive(seed, *grid.shape))[0].toarray()
    np.testing.assert_allclose(matrix, matrix.T, rtol=0, atol=1e-12 * np.abs(matrix).max())
    largest = np.linalg.eigvalsh(matrix)[-1]
    size = max(np.abs(matrix).max(), 1e-300)
    assert largest <= 1e-12 * size
    # Rows sum to zero, so that a constant is free, exactly where no side holds u.
    assert (np.abs(matrix.sum(1)).max() <= 1e-12 * size) == grid.floats
    off = matrix - np.diag(matrix.diagonal())
    assert (off >= 0).all()


@given(grids(), st.integers(0, 10**6))
def test_the_matrix_is_the_stencil(grid, seed):
    u, a = normal(seed, 3, *grid.shape), positive(seed, *grid.shape)
    matrix, boundary = grid.operator(a)
    expected = u.flatten(1) @ torch.from_numpy(matrix.toarray()).T + torch.from_numpy(boundary)
    torch.testing.assert_close(grid.divergence(u, a).flatten(1), expected, rtol=1e-9, atol=1e-9)


@given(st.integers(1, 4), st.integers(0, 10**6))
def test_what_leaves_one_cell_enters_the_next(n, seed):
    grid = Grid((n, 3), 0.5, ((neumann(), neumann()), (periodic(), periodic())))
    total = grid.divergence(normal(seed, 2, n, 3), positive(seed, n, 3)).sum((1, 2))
    torch.testing.assert_close(total, torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-11)


def slope(errors):
    return math.log2(errors[-2] / errors[-1])


def side(axis, at, kind, u, du, a, grid):
    """A boundary with the values that a solution has there."""
    coordinate = [c.select(axis, 0) for c in grid.centres()]
    coordinate[axis] = torch.full_like(coordinate[axis], at)
    if kind == "dirichlet":
        return dirichlet(u(*coordinate))
    flux = du[axis](*coordinate) * a(*coordinate)
    return neumann(flux if at > 0 else -flux)


KINDS = [
    ("dirichlet", "dirichlet", "dirichlet", "dirichlet"),
    ("dirichlet", "neumann", "neumann", "neumann"),
    ("neumann", "dirichlet", "dirichlet", "neumann"),
]


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("law", ["poisson", "screened", "darcy"])
def test_manufactured_solutions_in_two_dimensions(kinds, law):
    """u = sin(x + 2y) + x²; a = 1 + x y² for Darcy's law, κ = 2 for the screened one."""
    errors = []
    medium = (lambda x, y: 1 + x * y**2) if law == "darcy" else (lambda x, y: 1.0)
    for n in (16, 32, 64):
        plain = Grid((n, n), (1 / n, 1.5 / n))

        def u(x, y):
            return torch.sin(x + 2 * y) + x**2

        du = (lambda x, y: torch.cos(x + 2 * y) + 2 * x, lambda x, y: 2 * torch.cos(x + 2 * y))
        pairs = [
            [side(axis, at, kind, u, du, medium, plain) for at, kind in zip((0.0, end), kinds[2 * axis : 2 * axis + 2])]
            for axis, end in ((0, 1.0), (1, 1.5))
        ]
        grid = Grid(plain.shape, plain.spacing_metre, pairs)
        x, y = grid.centres()
        laplacian = -5 * torch.sin(x + 2 * y) + 2
        if law == "darcy":
            a = medium(x, y)
            f = -(a * laplacian + y**2 * du[0](x, y) + 2 * x * y * du[1](x, y))
            held = darcy(grid, a, unit="", permeability_unit="", source_unit="1/m^2")
        elif law == "screened":
            held, f = screened_poisson(grid, 2.0), -laplacian + 4 * u(x, y)
        else:
            held, f = poisson(grid), -laplacian
        found = held.solve(f[None])
        assert float(held.consistency(found, f[None])) < 1e-8
        errors.append(float((found[0] - u(x, y)).abs().max()))
    assert errors[-1] < 2e-3
    assert 1.8 < slope(errors) < 2.3, errors


def test_manufactured_solution_on_a_ring():
    errors = []
    for n in (32, 64):
        grid = Grid((n,), 2 * math.pi / n, ((periodic(), periodic()),))
        (x,) = grid.centres()
        found = screened_poisson(grid, 1.5).solve(((1 + 2.25) * torch.sin(x))[None])
        errors.append(float((found[0] - torch.sin(x)).abs().max()))
    assert slope(errors) == pytest.approx(2, abs=0.05)


def test_a_jump_of_permeability_is_exact():
    """Two slabs in series between 0 and 1: the flux is that of two resistances, whatever the ratio."""
    a = torch.tensor([1.0, 1, 1, 1, 100, 100, 100, 100]).double()
    grid = Grid((8,), 0.25, ((dirichlet(0.0), dirichlet(1.0)),))
    u = darcy(grid, a).solve(torch.zeros(1, 8).double())[0]
    (x,) = grid.centres()
    flux = 1 / (1 / 1 + 1 / 100)
    torch.testing.assert_close(u, torch.where(x < 1, flux * x, 1 - flux * (2 - x) / 100))


def test_the_law_of_the_permeability_is_the_same():
    grid = Grid((4, 3), (0.5, 0.25), ((dirichlet(2.0), neumann(0.5)), (periodic(), periodic())))
    a, f = positive(1, 4, 3), normal(2, 4, 3)
    u = darcy(grid, a).solve(f[None])
    law = darcy_of_permeability(grid, f)
    assert float(law(u, a[None]).abs().max()) < 1e-11
    z, medium = normal(3, 2, 4, 3).requires_grad_(), positive(4, 2, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(law, (z, medium))


@pytest.mark.parametrize("make", [poisson, lambda g: screened_poisson(g, 1.0), lambda g: heat_step(g, 0.1, 0.2)])
def test_gradients(make):
    law = make(Grid((3, 2), (0.5, 1.0), ((dirichlet(1.0), neumann(1.0)), (periodic(), periodic()))))
    args = [normal(k, 2, *f.shape).requires_grad_() for k, f in enumerate((law.state, *law.sources))]
    assert torch.autograd.gradcheck(law, args)
    assert torch.autograd.gradgradcheck(law, args)


def test_heat_follows_its_slowest_mode():
    """sin πx decays by 1/(1 + τDλ) a step, λ of the grid; with both refined as exp(−Dπ²t)."""
    errors = []
    for n, steps in ((16, 40), (32, 160)):
        grid = Grid((n,), 1 / n)
        law = heat_step(grid, 0.5, 0.2 / steps)
        (x,) = grid.centres()
        u, still = torch.sin(math.pi * x)[None], torch.zeros(1, n).double()
        for _ in range(steps):
            u = law.solve(u, still)
        errors.append(float((u[0] - math.exp(-0.1 * math.pi**2) * torch.sin(math.pi * x)).abs().max()))
    assert slope(errors) == pytest.approx(2, abs=0.1)  # spacing halved, step quartered


def test_heat_without_a_boundary_keeps_its_mean():
    grid = Grid((5, 4), 0.3, ((neumann(), neumann()), (periodic(), periodic())))
    u, q = normal(0, 2, 5, 4), normal(1, 2, 5, 4)
    after = heat_step(grid, 0.7, 0.5).solve(u, q)
    torch.testing.assert_close(after.mean((1, 2)), (u + 0.5 * q).mean((1, 2)))


@st.composite
def graphs(draw):
    n = draw(st.integers(2, 7))
    pairs = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda p: p[0] != p[1])
    edges = draw(st.lists(pairs, max_size=12))
    return n, edges, positive(draw(st.integers(0, 10**6)), len(edges))


@given(graphs())
def test_graph_laplacians(graph):
    n, edges, w = graph
    matrix = graph_laplacian(n, edges, w).toarray()
    np.testing.assert_allclose(matrix, matrix.T)
    np.testing.assert_allclose(matrix.sum(1), 0, atol=1e-12)
    assert np.linalg.eigvalsh(matrix)[0] > -1e-12
    u = normal(0, n)
    energy = sum(float(k) * float(u[i] - u[j]) ** 2 for k, (i, j) in zip(w, edges))
    assert float(u @ torch.from_numpy(matrix) @ u) == pytest.approx(energy, abs=1e-10)


def test_a_chain_is_a_divider():
    leak = torch.tensor([0.0, 0.0, 1.0]).double()
    law = graph_diffusion(3, [(0, 1), (1, 2)], torch.tensor([1.0, 0.5]).double(), leak, unit="V", weight_unit="S")
    u = law.solve(torch.tensor([[2.0, 0.0, 0.0]]).double())
    torch.testing.assert_close(u, torch.tensor([[8.0, 6.0, 2.0]]).double())


def test_what_floats_is_refused():
    floating = Grid((4,), 1.0, ((neumann(), neumann()),))
    for make in (poisson, lambda g: darcy(g, torch.ones(4)), lambda g: darcy_of_permeability(g, 1.0)):
        with pytest.raises(ValueError, match="given at no side of the grid"):
            make(floating)
    assert screened_poisson(floating, 0.1).condition > 1
    with pytest.raises(ValueError, match="node 2 has no leak anywhere in its part"):
        graph_diffusion(4, [(0, 1), (2, 3)], torch.ones(2), torch.tensor([1.0, 0, 0, 0]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Grid((2, 3, 4), 1.0), "expected one or two numbers of cells"),
        (lambda: Grid((3,), (1.0, 2.0)), "spacing_metre"),
        (lambda: Grid((3,), -1.0), "spacing_metre = -1.0"),
        (lambda: Grid((3,), 1.0, ((periodic(), dirichlet()),)), "direction 0 is periodic at one side only"),
        (lambda: Grid((3, 2), 1.0, ((dirichlet(), dirichlet()),)), "in each of 2 directions"),
        (
            lambda: Grid((3, 2), 1.0, ((dirichlet(torch.ones(3)), dirichlet()),) * 2),
            r"value of shape \(3,\) at a side of direction 0: expected \(2,\)",
        ),
        (lambda: Side("robin"), "boundary 'robin': expected one of dirichlet, neumann, periodic"),
        (lambda: dirichlet(math.nan), "expected a finite number"),
        (lambda: darcy(Grid((3,), 1.0), torch.zeros(3)), "positive and finite"),
        (lambda: screened_poisson(Grid((3,), 1.0), -1.0), "screening_per_metre = -1.0"),
        (lambda: heat_step(Grid((3,), 1.0), 1.0, 0.0), "step_second = 0.0"),
        (lambda: graph_laplacian(2, [(0, 2)], torch.ones(1)), r"edge \(0, 2\): expected two different nodes"),
        (lambda: graph_laplacian(2, [(1, 1)], torch.ones(1)), r"edge \(1, 1\)"),
        (lambda: graph_laplacian(2, [(0, 1)], -torch.ones(1)), "weights of 1 edges"),
        (lambda: graph_diffusion(2, [(0, 1)], torch.ones(1), torch.ones(3)), r"leak of shape \(3,\)"),
    ],
)
def test_arguments_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_units_of_the_laws_are_read():
    if unit_strings.registry() is None:
        pytest.skip("pint is not installed")
    grid = Grid((3,), 0.1)
    assert poisson(grid, unit="V").sources[0].unit == "(V)/m^2"
    with pytest.raises(ValueError, match="unit 'volts per' of potential"):
        poisson(grid, unit="volts per")
    darcy(grid, torch.ones(3), unit="K", permeability_unit="W/m/K", source_unit="W/m^3")
    with pytest.raises(ValueError, match="unit 'W' of source has dimension"):
        darcy(grid, torch.ones(3), unit="K", permeability_unit="W/m/K", source_unit="W")
