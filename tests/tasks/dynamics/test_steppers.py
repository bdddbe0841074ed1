"""Learned steppers: exact data, and a law to begin with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from equilog.baselines.matching import count_of, parameter_count
from equilog.names import UserError
from equilog.pipeline.measured import predictor
from equilog.tasks import get_task
from equilog.tasks.dynamics.reference import starts
from equilog.tasks.dynamics.stepper import law_of
from equilog.tasks.measures import relative_error
from tests.tasks.dynamics.stepping import NAMES, every_task, runge_kutta, system_of


def test_all_eight_are_tasks():
    assert NAMES == [
        "bistable", "duffing", "fitzhugh-nagumo", "lorenz63", "lorenz96", "lotka-volterra", "roessler", "van-der-pol",
    ]  # fmt: skip


@every_task
def test_targets_are_states_a_step_later(name: str):
    task, system = get_task(name), system_of(name)
    data = task.load()
    assert data.train_x.shape == data.train_y.shape == (4096, system.size)
    assert data.test_x.dtype == data.test_y.dtype == torch.float32
    for x, y in zip(data.test_x[:3].double(), data.test_y[:3].double()):
        alone = solve_ivp(
            lambda _t, s: system.f_array(s), (0, system.step), x.numpy(), method="LSODA", rtol=1e-11, atol=1e-12
        )
        # Inputs are rounded to float32.
        np.testing.assert_allclose(alone.y[:, -1], y.numpy(), rtol=2e-6, atol=1e-5)
    assert f"h = {system.step:g}" in task.summary
    assert system.equation in task.summary


@pytest.mark.parametrize("name", ["bistable", "lorenz63", "lorenz96"])
def test_data_are_reproducible_and_no_test_state_is_trained_on(name: str):
    task = get_task(name)
    once, again = task.load(), task.load()
    assert torch.equal(once.train_x, again.train_x)
    assert torch.equal(once.test_y, again.test_y)
    both = torch.cat([once.train_x, once.test_x])
    assert len(both.unique(dim=0)) == len(both)


@every_task
def test_untrained_it_takes_the_midpoint_step_of_the_linear_part(name: str):
    task, system = get_task(name), system_of(name)
    point = torch.tensor(system.about, dtype=torch.float64)
    nudge = 1e-5 * torch.eye(system.size, dtype=torch.float64)
    a = ((system.f(point + nudge) - system.f(point - nudge)) / 2e-5).T
    x = starts(system, 16, 3)
    half, eye = system.step / 2, torch.eye(system.size, dtype=torch.float64)
    moved = (x - point) @ (eye + half * a).T + system.step * system.f(point)
    expected = point + torch.linalg.solve(eye - half * a, moved.T).T
    torch.manual_seed(0)
    found = predictor(task.build(task.model_defaults))(x)
    assert relative_error(found, expected) < 1e-5
    assert law_of(system).coupling(scale=torch.tensor(system.reach)).margin > 0.1


@every_task
def test_without_the_law_it_is_as_large_and_knows_nothing(name: str):
    task = get_task(name)
    torch.manual_seed(0)
    held = task.build(task.model_defaults)
    free = task.build(task.model_defaults.model_copy(update={"prior": False}))
    assert free.cell.fixed is None
    shapes = {key: value.shape for key, value in held.state_dict().items() if "fixed" not in key}
    assert shapes.keys() == {key for key in free.state_dict() if "fixed" not in key}
    assert count_of(lambda: task.build(task.model_defaults.model_copy(update={"prior": False}))) == parameter_count(
        free
    )
    assert parameter_count(free) >= parameter_count(held)
    assert free.cell.states == held.cell.states
    x = starts(system_of(name), 64, 3).float()
    y = runge_kutta(system_of(name))(x)
    assert relative_error(held(x), y) < 0.5 * relative_error(free(x), y)


def test_a_model_without_learnt_drives_is_the_law_alone():
    task = get_task("van-der-pol")
    model = task.build(task.model_defaults.model_copy(update={"drives": 2, "states": 2}))
    assert model.parameterize.mixture is None
    with pytest.raises(UserError, match="expected at least 2 and 2"):
        task.build(task.model_defaults.model_copy(update={"states": 1}))


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="leave out --data"):
        get_task("lorenz63").load(tmp_path)


def test_the_solver_answers_as_the_targets_say():
    task = get_task("roessler")
    data = task.load().limited(16)
    answer = task.solver(data.test_x)
    assert answer.y.shape == data.test_y.shape
    assert relative_error(answer.y, data.test_y) < 1e-5
