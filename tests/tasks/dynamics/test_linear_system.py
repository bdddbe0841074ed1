"""The linear system is what its summary says, its answers are exact, and its model can learn them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equilog.names import UserError
from equilog.tasks import get_task
from equilog.tasks.dynamics.linear import steady_state, system
from equilog.tasks.dynamics.synthetic import made_up, stable_matrix, uniform
from equilog.tasks.task import ModelConfig


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


def test_the_model_begins_with_its_inputs_as_drives():
    task, x = get_task("linear-system"), uniform(5, 4, 0).float()
    model = task.build(ModelConfig(states=6, drives=4))
    assert torch.equal(model.parameterize(x), x)
    assert model.parameterize(100 * x).abs().max() <= 1
    assert model(x).shape == (5, 8)


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
