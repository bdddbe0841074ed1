"""The linear system is what its summary says, its answers are exact, and so is the model that holds it in resistors."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from equilog.baselines.matching import count_of, parameter_count
from equilog.drawing.style import document, drawing
from equilog.hardware import Chip, load_spec
from equilog.names import UserError
from equilog.pipeline.measured import predictor
from equilog.runs import RunConfig
from equilog.tasks import get_task
from equilog.tasks.computed import made_up, uniform
from equilog.tasks.dynamics.linear import STEP_SECOND, steady_state, step, system
from equilog.tasks.dynamics.stable_matrix import stable_matrix


def test_the_system_is_as_its_summary_says():
    a, b = system()
    rates = -torch.linalg.eigvalsh((a + a.T) / 2)
    assert (float(rates.min()), float(rates.max())) == (pytest.approx(0.5), pytest.approx(2))
    assert float(torch.linalg.matrix_norm((a - a.T) / 2, 2)) == pytest.approx(1)
    assert f"condition number {float(torch.linalg.cond(a)):.1f}" in get_task("linear-system").summary
    assert (a.shape, b.shape) == ((8, 8), (8, 4))


def test_answers_are_at_rest_and_within_one():
    data, (a, b) = get_task("linear-system").load(), system()
    assert [len(t) for t in (data.train_x, data.train_y, data.test_x, data.test_y)] == [512, 512, 256, 256]
    assert data.test_y.dtype == data.test_x.dtype == torch.float32
    x = data.test_x.double()
    assert float((steady_state(x) @ a.T + x @ b.T).abs().max()) < 1e-14
    torch.testing.assert_close(data.test_y, steady_state(x).float(), atol=1e-6, rtol=0)
    assert x.abs().max() <= 1
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 4)
    assert float(steady_state(corners).abs().max()) == pytest.approx(1)


def test_data_are_the_same_each_time_and_no_test_sample_is_trained_on():
    torch.manual_seed(1)
    once, again = get_task("linear-system").load(), get_task("linear-system").load()
    assert torch.equal(once.train_x, again.train_x)
    assert torch.equal(once.test_y, again.test_y)
    assert float(torch.cdist(once.test_x, once.train_x).min()) > 1e-4


@pytest.mark.parametrize("name", ["linear-system", "linear-steps"])
def test_nothing_is_learnt_and_the_answer_is_exact(name):
    task = get_task(name)
    data = task.load()
    model = task.build(task.model_defaults)
    assert task.train_defaults.epochs == 0
    assert not bool(model.cell.populated.any())  # resistors alone
    predict = torch.no_grad()(predictor(model))
    exact = task.targets(data.test_x.double())
    assert float((predict(data.test_x) - exact).abs().max()) < 1e-6
    said = {m.name: m.value for m in task.measures(predict, data, ideal=True)}
    assert said["largest error"] < 1e-6
    assert said["residual of the law"] < 1e-6
    assert all(0 <= value < 0.02 for value in said.values())
    wrong = {m.name: m.value for m in task.measures(lambda x: 1.1 * predict(x), data, ideal=True)}
    assert wrong["largest error"] == pytest.approx(0.1 * float(exact.abs().max()), rel=1e-3)
    answer = task.solver(data.test_x.double())
    torch.testing.assert_close(answer.y, exact, rtol=0, atol=1e-12)
    assert answer.second_per_sample > 0


def test_a_step_is_that_of_an_integrator():
    a, b = (m.numpy() for m in system())
    start = uniform(3, 12, 5)
    for row, after in zip(start.numpy(), step(start).numpy()):
        push = b @ row[8:]
        found = solve_ivp(lambda _t, z, u: a @ z + u, (0, STEP_SECOND), row[:8], args=(push,), rtol=1e-11, atol=1e-12)
        assert found.y[:, -1] == pytest.approx(after, abs=1e-9)


def test_a_chip_drifts_off_where_the_ideal_model_does_not():
    task = get_task("linear-steps")
    data, model = task.load(), task.build(task.model_defaults)
    ideal, twin = predictor(model), predictor(model, Chip(load_spec("rram"), 1))
    after = [
        {m.name: m.value for m in task.measures(p, data, ideal=True)}["error after 40 steps"] for p in (ideal, twin)
    ]
    assert after[0] < 1e-6
    assert 0.01 < after[1] < 1
    picture = task.pictures(ideal, twin, data)[0]
    with drawing(picture.key):
        assert "time, s" in document(picture.size, picture.draw)


@pytest.mark.parametrize("name", ["linear-system", "linear-steps"])
def test_without_the_law_the_same_sizes_are_trained(name):
    task = get_task(name)
    config = RunConfig.for_task(name, {"model": {"prior": False}})
    assert config.training.epochs == 80
    assert RunConfig.for_task(name).training.epochs == 0
    own, without = task.build(task.model_defaults), task.build(config.model)
    assert without.cell.fixed is None
    assert (own.cell.states, own.cell.drives) == (without.cell.states, without.cell.drives)
    x = task.load().test_x[:5]
    assert own(x).shape == without(x).shape == (5, 8)
    assert own.parameterize(100 * x).abs().max() <= 1
    assert count_of(lambda: task.build(config.model)) == parameter_count(without)


def test_the_loss_of_knowing_nothing_is_one():
    task = get_task("linear-system")
    data = task.load()
    goal = task.objective(data, task.train_defaults)
    assert float(goal.loss(torch.zeros_like(data.train_y), data.train_y)) == pytest.approx(1, rel=1e-5)
    assert (goal.score_name, goal.higher_is_better) == ("error", False)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="leave out --data"):
        get_task("linear-system").load(tmp_path)


@given(st.integers(1, 12), st.floats(0.1, 3), st.floats(1, 20), st.floats(0, 30), st.integers(0, 99))
def test_a_stable_matrix_is_stable(n, slowest, ratio, coupling, seed):
    a = stable_matrix(n, slowest, slowest * ratio, coupling, seed)
    assert float(torch.linalg.eigvals(a).real.max()) <= -slowest * (1 - 1e-9)
    assert float(torch.linalg.eigvalsh((a + a.T) / 2).min()) >= -slowest * ratio * (1 + 1e-9)
    assert torch.equal(a, stable_matrix(n, slowest, slowest * ratio, coupling, seed))


def test_what_makes_no_data_is_named():
    with pytest.raises(ValueError, match="the slower first"):
        stable_matrix(3, 2.0, 1.0, 0.0, 0)
    with pytest.raises(ValueError, match="expected two different ones"):
        made_up(lambda count, seed: uniform(count, 2, seed), lambda x: x, (4, 4), (1, 1), "nothing")
