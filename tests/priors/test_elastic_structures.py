"""Trusses worked by hand, plates against beam theory and scikit-fem's own operator."""

import math
import sys

import numpy as np
import pytest
import torch
from builders import normal

from equilog.cells import LinearCell
from equilog.equilibrium import EquilibriumLayer
from equilog.names import UserError
from equilog.priors import plane_stress, truss

TRIANGLE = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
BARS = [(0, 1), (1, 2), (0, 2)]


def test_a_bracket_by_hand():
    """A load F down at node 1: √2 F in the oblique bar, F in the two others; EA = 1 MN, F = 1 kN."""
    law = truss(TRIANGLE, BARS, 1e6, [(0, 0), (0, 1), (2, 0)])
    u = law.displacements(law.solve(torch.tensor([[0.0, -1000.0, 0.0]]).double()))[0]
    # Unit-load method: Σ N n l / EA = (1·1 + 1·1 + √2·√2·√2) F / EA.
    expected = torch.tensor([0, 0, -1, -(2 + 2 * math.sqrt(2)), 0, -1]).double() * 1e-3
    torch.testing.assert_close(u, expected)
    assert (law.state.unit, law.sources[0].unit, law.unit) == ("m", "N", "N")


def test_one_bar_is_a_spring():
    law = truss(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), [(0, 1)], 10.0, [(0, 0), (0, 1), (1, 1)])
    assert float(law.a.toarray()[0, 0]) == pytest.approx(10 / 5 * 0.6**2)


def test_stiffness_is_positive_and_a_rigid_motion_is_refused():
    nodes = normal(0, 5, 2)
    bars = [(i, j) for i in range(5) for j in range(i)]
    ea = 1 + torch.rand(len(bars))
    law = truss(nodes, bars, ea, [(0, 0), (0, 1), (1, 0)])
    k = law.a.toarray()
    np.testing.assert_allclose(k, k.T)
    assert np.linalg.eigvalsh(k)[0] > 0
    # With node 1 at the height of node 0, turning about node 0 does not move it in x: nothing is held against that.
    level = nodes - nodes[0]
    level[1, 1] = 0.0
    with pytest.raises(ValueError, match="mechanism: it moves in 1 ways"):
        truss(level, bars, ea, [(0, 0), (0, 1), (1, 0)])


def test_a_chip_holds_a_truss():
    law = truss(TRIANGLE, BARS, torch.tensor([1e6, 2e6, 1.5e6]), [(0, 0), (0, 1), (2, 0)])
    fixed = law.coupling(scale=1e-2, drives=1e3)
    d = normal(0, 4, 3).clamp(-1, 1)
    z = EquilibriumLayer(on_failure="raise")(LinearCell(*fixed.matrices()).system(d))
    torch.testing.assert_close(z * 1e-2, law.solve(d * 1e3), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"supports": [(0, 0), (0, 1)]}, "the truss is a mechanism: it moves in 1 ways"),
        ({"bars": [(0, 1), (1, 3)]}, "bars name node 3: expected 0 to 2"),
        ({"bars": [(0, 0)]}, "bar 0 has no length"),
        ({"axial_stiffness": 0.0}, "axial_stiffness = 0.0"),
        ({"supports": [(3, 0)]}, r"support \(3, 0\)"),
        ({"supports": [(i, k) for i in range(3) for k in (0, 1)]}, "every node is supported"),
        ({"nodes": torch.zeros(3, 3)}, r"nodes of shape \(3, 3\)"),
    ],
)
def test_trusses_that_are_none_are_refused(changes, message):
    given = {"nodes": TRIANGLE, "bars": BARS, "axial_stiffness": 1e6, "supports": [(0, 0), (0, 1), (2, 0)]} | changes
    with pytest.raises(ValueError, match=message):
        truss(**given)


def plate(nx, ny, length=1.0, height=0.1, **options):
    skfem = pytest.importorskip("skfem")
    mesh = skfem.MeshTri.init_tensor(np.linspace(0, length, nx), np.linspace(0, height, ny))
    return mesh, plane_stress(mesh, 2e11, 0.3, 0.01, lambda x: x[0] < 1e-9, **options)


def test_stiffness_is_scikit_fems_own():
    skfem = pytest.importorskip("skfem")
    from skfem.models.elasticity import lame_parameters, linear_elasticity

    mesh, law = plate(4, 3)
    lam, mu = lame_parameters(2e11, 0.3)
    basis = skfem.Basis(mesh, skfem.ElementVector(skfem.ElementTriP1()))
    # Plane stress is plane strain with 2λμ/(λ + 2μ) for λ.
    whole = linear_elasticity(2 * lam * mu / (lam + 2 * mu), mu).assemble(basis) * 0.01
    np.testing.assert_allclose(law.a.toarray(), whole[law.free][:, law.free].toarray(), atol=1e-12 * abs(whole).max())


def test_a_strip_that_is_pulled_is_exact():
    """Uniform tension σ, both ends free to contract: u = σx/E, v = −νσy/E is linear, so elements hold it exactly."""
    skfem = pytest.importorskip("skfem")
    mesh, law = plate(5, 4)
    stress, young, nu, thickness = 1e6, 2e11, 0.3, 0.01
    x, y = mesh.p
    exact = torch.from_numpy(np.stack([stress * x / young, -nu * stress * y / young], 1).reshape(-1))
    basis = (
        skfem.FacetBasis(mesh, skfem.ElementVector(skfem.ElementTriP1()), facets=mesh.boundaries_of(mesh))
        if hasattr(mesh, "boundaries_of")
        else skfem.FacetBasis(mesh, skfem.ElementVector(skfem.ElementTriP1()))
    )
    traction = skfem.LinearForm(lambda v, w: thickness * stress * w.n[0] * v[0]).assemble(basis)
    whole = plane_stress(mesh, young, nu, thickness, lambda p: (p[0] < 1e-9) & (p[1] < 1e-9))
    r = torch.from_numpy(whole.a.toarray()) @ exact[whole.free] - torch.from_numpy(traction[whole.free])
    assert float(r.abs().max()) < 1e-9 * stress * thickness
    assert law.total == 2 * mesh.p.shape[1]


def test_a_cantilever_bends_as_a_beam():
    """Tip deflection F l³/3EI + 6Fl/5GA under its end load; linear triangles are stiff, so the mesh is fine."""
    deflection = []
    for nx, ny in ((41, 9), (81, 17)):
        mesh, law = plate(nx, ny)
        tip = np.flatnonzero(mesh.p[0] > 1 - 1e-9)
        load = torch.zeros(law.total).double()
        load[2 * tip + 1] = -100.0 / len(tip)
        u = law.displacements(law.solve(load[law.free][None]))[0]
        deflection.append(float(u[2 * tip + 1].mean()))
    inertia, area = 0.01 * 0.1**3 / 12, 0.01 * 0.1
    shear = 2e11 / 2.6
    beam = -(100 / (3 * 2e11 * inertia) + 6 * 100 / (5 * shear * area))
    extrapolated = deflection[1] + (deflection[1] - deflection[0]) / 3
    assert extrapolated == pytest.approx(beam, rel=0.01)


def test_weight_alone():
    """What the support carries is the weight: the sum of loads on all free nodes is all but the clamped share."""
    mesh, law = plate(21, 3, body_force=(0.0, -7.8e4))
    u = law.solve(torch.zeros(1, law.state.size).double())
    assert float(law.displacements(u)[0][1::2].min()) < 0
    total = -7.8e4 * 1.0 * 0.1 * 0.01
    assert total < law.c.sum() < 0.9 * total
    assert mesh.p.shape[0] == 2


def test_plates_that_are_none_are_refused(monkeypatch):
    mesh, _ = plate(3, 3)
    with pytest.raises(ValueError, match="clamped at no node"):
        plane_stress(mesh, 1.0, 0.3, 1.0, lambda x: x[0] > 5)
    with pytest.raises(ValueError, match=r"ν = 0.7"):
        plane_stress(mesh, 1.0, 0.7, 1.0, lambda x: x[0] < 1e-9)
    monkeypatch.setitem(sys.modules, "skfem", None)
    with pytest.raises(UserError, match=r"pip install 'equilog\[physics\]'"):
        plane_stress(mesh, 1.0, 0.3, 1.0, lambda x: x[0] < 1e-9)
