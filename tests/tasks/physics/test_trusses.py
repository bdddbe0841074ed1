"""The girder against forces of its bars, a model that rests there untrained, measures that notice a wrong answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from equilog.baselines.matching import parameter_count
from equilog.names import UserError
from equilog.pipeline.measured import predictor
from equilog.tasks import get_task
from equilog.tasks.measures import relative_error
from equilog.tasks.physics.trusses import AXIAL_NEWTON, PANELS, girder, loads


def by_forces(x: torch.Tensor) -> np.ndarray:
    """Displacements in mm from the forces of bars: of all that balance the loads, those of least energy (Castigliano).

    A stiffness matrix is nowhere: min Σ N² l / 2EA with Bᵀ N = f; the multipliers are the displacements.
    """
    structure = girder()
    xy, free = structure.nodes.numpy(), structure.law.free
    stretch = np.zeros((len(structure.lines), structure.law.total))
    length = np.zeros(len(structure.lines))
    for row, (a, b) in enumerate(structure.lines):
        along = xy[b] - xy[a]
        length[row] = np.hypot(*along)
        stretch[row, 2 * a : 2 * a + 2], stretch[row, 2 * b : 2 * b + 2] = -along / length[row], along / length[row]
    stretch = stretch[:, free]
    bars, n = stretch.shape
    system = np.block([[np.diag(-length / AXIAL_NEWTON), stretch], [stretch.T, np.zeros((n, n))]])
    f = (x.double() @ structure.patterns.T).numpy()
    found = np.linalg.solve(system, np.concatenate([np.zeros((len(f), bars)), f], axis=1).T)
    return 1e3 * found[bars:].T


def test_targets_are_those_of_the_bars_forces() -> None:
    data = get_task("trusses").load()
    np.testing.assert_allclose(data.test_y[:32], by_forces(data.test_x[:32]), atol=1e-5)


def test_the_girder_is_what_its_summary_says() -> None:
    structure, summary = girder(), get_task("trusses").summary
    reactions = structure.law.total - structure.law.state.size
    for count in (f"{len(structure.nodes)} joints", f"{len(structure.lines)} bars", "two spans of 12 m"):
        assert count in summary
    assert f"{structure.law.state.size} degrees of freedom" in summary
    assert f"{structure.patterns.shape[1]} random loads" in summary
    assert structure.law.condition == pytest.approx(116, rel=0.01)
    # One bar or support more than joints can have without forces of their own: statically indeterminate.
    assert len(structure.lines) + reactions - structure.law.total == 1


def test_loads_are_in_their_range_and_no_test_sample_is_trained_on() -> None:
    data, again = get_task("trusses").load(), get_task("trusses").load()
    down, sideways = data.train_x[:, :-PANELS], data.train_x[:, -PANELS:]
    assert -20 <= float(down.min()) < -19.5
    assert -0.5 < float(down.max()) <= 0
    assert 4.9 < float(sideways.abs().max()) <= 5
    assert torch.equal(data.train_x, again.train_x)
    assert float(torch.cdist(data.test_x, data.train_x).min()) > 1e-2


def test_untrained_the_model_answers_unseen_loads_within_its_scale() -> None:
    task = get_task("trusses")
    model, x = task.build(task.model_defaults), loads(50, 99)
    assert relative_error(predictor(model)(x), torch.from_numpy(by_forces(x))) < 1e-5
    signs = torch.where(torch.rand(64, 16, generator=torch.Generator().manual_seed(3)) < 0.5, -1.0, 1.0)
    with torch.no_grad():
        states = model.settle(model.parameterize(signs * girder().largest))
    assert float(states.abs().max()) <= 1 + 1e-6
    assert 0.1 < model.cell.certificate().margin < 0.13


def test_without_the_law_it_is_as_large_and_knows_nothing() -> None:
    task, x = get_task("trusses"), loads(50, 99)
    held, free = (task.build(task.model_defaults.model_copy(update={"prior": prior})) for prior in (True, False))
    assert (held.cell.states, held.cell.drives) == (free.cell.states, free.cell.drives)
    assert parameter_count(held.readout) == parameter_count(free.readout)
    assert free.cell.fixed is None
    assert relative_error(predictor(free)(x), girder().answer(x)) > 0.5


def test_measures_of_the_exact_answer_are_zero_and_of_a_wrong_one_are_not() -> None:
    task = get_task("trusses")
    data = task.load()
    exact = {m.name: m.value for m in task.measures(girder().answer, data, ideal=True)}
    wrong = {m.name: m.value for m in task.measures(lambda x: 1.1 * girder().answer(x), data, ideal=True)}
    worst, unbalanced = "largest error of a displacement", "forces out of balance"
    assert exact[worst] < 1e-6
    assert exact[unbalanced] < 1e-10
    assert wrong[worst] == pytest.approx(0.1 * float(data.test_y.abs().max()), rel=1e-3)
    assert wrong[unbalanced] > 0.01
    # 1 % of a load's spread moves the exact answer by some thousandths.
    assert 1e-3 < exact["error, inputs 1 % noisy"] < 0.01


def test_the_solver_answers_and_counts() -> None:
    x = loads(80, 5)
    answer = get_task("trusses").solver(x)
    np.testing.assert_allclose(answer.y, by_forces(x), atol=1e-9)
    assert answer.operations_per_sample == 22 * 23
    assert answer.second_per_sample > 0


def test_the_picture_shows_all_three_shapes() -> None:
    task = get_task("trusses")
    (picture,) = task.pictures(girder().answer, lambda x: 2 * girder().answer(x), task.load())
    figure = Figure(figsize=picture.size)
    picture.draw(figure)
    trusted, ideal, twin = (line.get_ydata() for line in figure.axes[0].lines[1:])
    np.testing.assert_allclose(trusted, ideal)
    assert np.nanmax(np.abs(twin - trusted)) > 0.1


def test_a_folder_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="leave out --data"):
        get_task("trusses").load(tmp_path)
