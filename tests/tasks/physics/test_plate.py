"""The plate with a hole: its loads, its law against scikit-fem, stress at the hole, what its mesh errs by."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from equilog.baselines.matching import parameter_count
from equilog.names import UserError
from equilog.pipeline.measured import predictor
from equilog.priors import plane_stress
from equilog.tasks import get_task
from equilog.tasks.measures import relative_error

pytest.importorskip("skfem")

from equilog.tasks.physics import plate as module
from equilog.tasks.physics.plate import (
    HOLE_METRE,
    POISSON_RATIO,
    SIDE_METRE,
    THICKNESS_METRE,
    YOUNG_PASCAL,
    answer,
    fine,
    heywood,
    plate,
    stress_concentration,
    tractions,
)


def test_the_plate_is_what_its_summary_says() -> None:
    structure, summary = plate(), get_task("plate").summary
    assert f"{len(structure.nodes)} nodes, {structure.law.state.size} degrees of freedom" in summary
    assert structure.law.condition == pytest.approx(922, rel=0.01)
    radius = structure.nodes.norm(dim=1)
    assert float(radius.min()) == pytest.approx(HOLE_METRE)
    assert float(structure.nodes.max()) == pytest.approx(SIDE_METRE)


def test_edges_carry_what_the_patterns_say() -> None:
    """Loads of a pattern add up to its traction over the edge: 1 MPa · 5 mm · 100 mm; 4 η (1 − η) has a mean of 2/3."""
    _, loads = module._assembled(module._mesh(1), module._skfem().ElementTriP1())
    sums = 1e6 * loads.reshape(-1, 2, 6).sum(0)
    along_x, along_y = [500.0, 0.0, 0.0, 0.0, 0.0, 1000 / 3], [0.0, 0.0, 1000 / 3, 500.0, 0.0, 0.0]
    np.testing.assert_allclose(sums, [along_x, along_y], atol=1e-6)


def test_the_law_and_scikit_fems_operator_agree() -> None:
    x = tractions(5, 3)
    by_law = 1e3 * plate().law.solve(x @ plate().patterns.T)
    torch.testing.assert_close(by_law, answer(x), rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(get_task("plate").solver(x).y, answer(x))


def test_without_a_hole_an_even_pull_is_exact() -> None:
    """Rollers at both lines of symmetry: u = σx/E, v = −νσy/E, which linear triangles hold."""
    import skfem

    mesh = skfem.MeshTri.init_tensor(np.linspace(0, SIDE_METRE, 4), np.linspace(0, SIDE_METRE, 3))
    law = plane_stress(mesh, YOUNG_PASCAL, POISSON_RATIO, THICKNESS_METRE, module._symmetric)
    _, loads = module._assembled(mesh, skfem.ElementTriP1())
    u = law.displacements(law.solve(torch.from_numpy(1e6 * loads[law.free, 0])[None]))[0].view(-1, 2)
    exact = 1e6 / YOUNG_PASCAL * mesh.p.T * np.array([1.0, -POISSON_RATIO])
    np.testing.assert_allclose(u, exact, atol=1e-12)
    with pytest.raises(ValueError, match="in one direction alone"):
        plane_stress(mesh, 1.0, 0.3, 1.0, lambda x: np.stack([x[0] < 1e-9, x[0] < -1]))


def test_stress_at_the_hole_of_an_endless_plate_is_three() -> None:
    """Displacements of Kirsch's solution (polar, plane stress), evaluated at the plate's nodes."""
    x, y = plate().nodes.T
    r, t = plate().nodes.norm(dim=1), torch.atan2(y, x)
    a2, nu, e = HOLE_METRE**2, POISSON_RATIO, YOUNG_PASCAL / 1e6
    radial = ((1 - nu) * r + (1 + nu) * a2 / r) / (2 * e)
    radial = radial + ((1 + nu) * r + 4 * a2 / r - (1 + nu) * a2**2 / r**3) * torch.cos(2 * t) / (2 * e)
    around = -((1 + nu) * r + 2 * (1 - nu) * a2 / r + (1 + nu) * a2**2 / r**3) * torch.sin(2 * t) / (2 * e)
    u = torch.stack([radial * t.cos() - around * t.sin(), radial * t.sin() + around * t.cos()], dim=1).flatten()
    assert stress_concentration(1e3 * u[plate().law.free]) == pytest.approx(3, abs=1e-6)


def test_a_finer_mesh_of_better_elements_tells_the_error() -> None:
    pull = torch.eye(6, dtype=torch.float64)[:1]
    coarse, trusted = answer(pull)[0], fine()[:, 0]
    assert 0.01 < float((coarse - trusted).norm() / trusted.norm()) < 0.1
    # Linear triangles are stiff: they move less. A square plate is weaker than a long strip, that than no edges.
    assert float(coarse.norm()) < float(trusted.norm())
    assert 3 < heywood() < stress_concentration(trusted) < 3.6
    assert heywood() == pytest.approx(3.14, abs=0.005)  # Howland 1930, d/W = 0.2
    assert stress_concentration(coarse) < stress_concentration(trusted)


def test_untrained_the_model_answers_unseen_loads_within_its_scale() -> None:
    task = get_task("plate")
    model, x = task.build(task.model_defaults), tractions(20, 99)
    assert relative_error(predictor(model)(x), answer(x)) < 1e-4
    with torch.no_grad():
        states = model.settle(model.parameterize(50 * torch.sign(x).float()))
    assert float(states.abs().max()) <= 1 + 1e-4
    free = task.build(task.model_defaults.model_copy(update={"prior": False}))
    assert (model.cell.states, model.cell.drives) == (free.cell.states, free.cell.drives)
    assert parameter_count(model.readout) == parameter_count(free.readout)
    assert model.cell.certificate().margin > 0


def test_measures_of_the_exact_answer_are_zero_and_of_a_wrong_one_are_not() -> None:
    task, data = get_task("plate"), get_task("plate").load().limited(32)
    exact = {m.name: m for m in task.measures(answer, data, ideal=True)}
    wrong = {m.name: m.value for m in task.measures(lambda x: 1.1 * answer(x), data, ideal=False)}
    worst, stress = "largest error of a displacement", "stress concentration at the hole"
    assert exact[worst].value < 1e-6
    assert exact["forces out of balance"].value < 1e-9
    assert wrong[worst] == pytest.approx(0.1 * float(data.test_y.abs().max()), rel=1e-3)
    assert wrong[stress] == pytest.approx(1.1 * exact[stress].value)
    assert exact[stress].reference == pytest.approx(stress_concentration(fine()[:, 0]))
    assert 0.03 < exact["error of the mesh"].value < 0.3
    assert "error of the mesh" not in wrong


def test_data_and_refusals(tmp_path, monkeypatch) -> None:
    task = get_task("plate")
    data, again = task.load(), task.load()
    assert torch.equal(data.test_x, again.test_x)
    assert float(torch.cdist(data.test_x, data.train_x).min()) > 1e-2
    with pytest.raises(UserError, match="leave out --data"):
        task.load(tmp_path)
    monkeypatch.setitem(sys.modules, "skfem", None)
    plate.cache_clear()
    with pytest.raises(UserError, match=r"pip install 'equilog\[physics\]'"):
        task.build(task.model_defaults)
