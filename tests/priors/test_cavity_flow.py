"""The lid-driven cavity: conservation to rounding, convergence, and Ghia's velocities."""

import csv
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import normal
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from equilog.equilibrium import EquilibriumLayer, NewtonKrylov
from equilog.priors import Field, FlowError, Law, cavity, solve_cavity, stencil_jacobian
from equilog.priors.flow import divergence, face_velocities, staggered_velocities

DATA = Path(__file__).parents[3] / "shared" / "data" / "physics"


@given(st.integers(3, 9), st.integers(0, 10**6))
def test_any_stream_function_flows_without_sources(n, seed):
    psi, h = normal(seed, 2, n, n), 1 / (n - 1)
    for u, v in (staggered_velocities(psi, h), face_velocities(psi, h)):
        size = float(max(u.abs().max(), v.abs().max())) / h
        assert float(divergence(u, v, h).abs().max()) <= 1e-14 * size


@pytest.mark.parametrize("wall", ["thom", "woods"])
def test_the_coloured_jacobian_is_the_jacobian(wall):
    law = cavity(50.0, 8, wall=wall)
    z, lid = normal(0, 2, 6, 6), normal(1, 6)
    whole = torch.func.jacrev(lambda v: law(v[None], lid[None])[0])(z).reshape(72, 72)
    np.testing.assert_allclose(stencil_jacobian(law, z, lid).toarray(), whole, atol=1e-9)
    args = (normal(2, 2, 2, 6, 6).requires_grad_(), normal(3, 2, 6).requires_grad_())
    assert torch.autograd.gradcheck(law, args)


def test_other_stencils():
    law = Law(lambda z: z - 0.3 * torch.roll(z, 0) ** 2, Field("state", (1, 3, 2)))
    z = normal(0, 1, 3, 2)
    np.testing.assert_allclose(stencil_jacobian(law, z, reach=0).toarray(), np.diag((1 - 0.6 * z).reshape(-1)))


def manufactured(n, reynolds):
    """What is left of ψ = sin²πx sin²πy, which is at rest at all walls, and of its vorticity, at inner points."""
    x = torch.linspace(0, 1, n, dtype=torch.float64)
    pi = math.pi
    s, t = torch.sin(pi * x) ** 2, 2 * pi**2 * torch.cos(2 * pi * x)  # sin², and its second derivative
    psi = s[None, :] * s[:, None]
    omega = -(s[:, None] * t[None, :] + t[:, None] * s[None, :])
    d = pi * torch.sin(2 * pi * x)  # (sin²)'
    t1, t2 = -4 * pi**3 * torch.sin(2 * pi * x), -8 * pi**4 * torch.cos(2 * pi * x)
    u, v = d[:, None] * s[None, :], -s[:, None] * d[None, :]
    omega_x = -(s[:, None] * t1[None, :] + t[:, None] * d[None, :])
    omega_y = -(d[:, None] * t[None, :] + t1[:, None] * s[None, :])
    lap = -(s[:, None] * t2[None, :] + 2 * t[:, None] * t[None, :] + t2[:, None] * s[None, :])
    force = (u * omega_x + v * omega_y - lap / reynolds)[1:-1, 1:-1]
    z = torch.stack([psi, omega])[:, 1:-1, 1:-1][None]
    return cavity(reynolds, n)(z, torch.zeros(1, n - 2).double())[0], force


def test_inner_equations_are_of_second_order():
    errors = []
    for n in (33, 65, 129):
        r, force = manufactured(n, 10.0)
        inner = slice(2, -2)  # beside the walls their vorticity enters, which is of lower order there
        errors.append([float(r[0][inner, inner].abs().max()), float((r[1] - force)[inner, inner].abs().max())])
    slopes = np.log2(np.array(errors[1]) / np.array(errors[2]))
    np.testing.assert_allclose(slopes, 2, atol=0.1)


def profiles(flow):
    """u on the vertical centre line and v on the horizontal one, as functions of place; n odd."""
    n, h = len(flow.psi), flow.spacing
    u, v = flow.velocities()
    at = np.r_[0, (np.arange(n - 1) + 0.5) * h, 1]
    lid = CubicSpline(at, np.r_[0, u[:, n // 2].numpy(), 1])
    return lid, CubicSpline(at, np.r_[0, v[n // 2].numpy(), 0])


def test_velocities_converge_with_the_square_of_the_spacing():
    at = np.linspace(0.2, 0.8, 7)
    found = [np.stack([p(at) for p in profiles(solve_cavity(100.0, n))]) for n in (17, 33, 65)]
    steps = [np.abs(b - a).max() for a, b in itertools.pairwise(found)]
    assert 1.6 < math.log2(steps[0] / steps[1]) < 2.6


@pytest.mark.parametrize("wall", ["thom", "woods"])
def test_velocities_are_ghias(wall):
    tables = [DATA / f"ghia1982_{name}_Re100.csv" for name in ("u_x0.5", "v_y0.5")]
    if not all(t.exists() for t in tables):
        pytest.skip(f"no tables of Ghia et al. in {DATA}")
    for table, profile in zip(tables, profiles(solve_cavity(100.0, 65, wall=wall))):
        place, speed = np.array([[float(c) for c in row] for row in list(csv.reader(table.open()))[1:]]).T
        assert np.abs(profile(place) - speed).max() < 0.01


def test_slow_flow_is_symmetric_and_a_lid_that_turns_mirrors_it():
    flow = solve_cavity(1e-6, 17)
    torch.testing.assert_close(flow.psi, flow.psi.flip(1), rtol=0, atol=1e-7)
    assert float(flow.psi.min()) == pytest.approx(-0.100, abs=0.003)  # Stokes flow: −0.10008
    there = solve_cavity(100.0, 17)
    back = solve_cavity(100.0, 17, lid=-torch.ones(15))
    torch.testing.assert_close(back.psi, -there.psi.flip(1), rtol=0, atol=1e-10)
    assert there.residual < 1e-9


def test_a_start_nearby_saves_steps_and_ends_at_the_same_flow():
    there, near = solve_cavity(120.0, 17), solve_cavity(100.0, 17)
    assert near.state.shape == (2, 15, 15)
    begun = solve_cavity(120.0, 17, start=near.state)
    torch.testing.assert_close(begun.psi, there.psi, rtol=0, atol=1e-11)
    assert begun.steps <= there.steps
    assert solve_cavity(120.0, 17, start=there.state).steps == 0
    with pytest.raises(ValueError, match=r"start of shape \(2, 5, 5\): expected \(2, 15, 15\)"):
        solve_cavity(120.0, 17, start=torch.zeros(2, 5, 5))


def test_no_flow_without_a_lid():
    assert not solve_cavity(100.0, 9, lid=torch.zeros(7)).psi.any()


def test_the_engine_finds_the_same_flow():
    law, lid = cavity(10.0, 9), torch.ones(1, 7).double()
    layer = EquilibriumLayer(NewtonKrylov(memory=98), on_failure="raise")
    z = layer.fixed_point(law.as_map(1e-2), torch.zeros(1, 2, 7, 7).double(), lid)
    torch.testing.assert_close(z[0, 0], solve_cavity(10.0, 9).psi[1:-1, 1:-1], rtol=0, atol=1e-5)


def test_failures_are_named():
    with pytest.raises(FlowError, match=r"Re = 100, n = 17: residual .* after 1 steps"):
        solve_cavity(100.0, 17, max_steps=1)
    for call, message in (
        ((0.0, 9), "reynolds = 0.0"),
        ((10.0, 4), "n = 4"),
        ((10.0, 9, "jensen"), "wall = 'jensen': expected one of thom, woods"),
    ):
        with pytest.raises(ValueError, match=message):
            cavity(*call[:2], **({"wall": call[2]} if len(call) > 2 else {}))
