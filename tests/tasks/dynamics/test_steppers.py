"""Learned steppers: exact data, a law to begin with, and measures that know the right map from a wrong one."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from equilog.baselines.matching import count_of, parameter_count
from equilog.drawing.style import document, drawing
from equilog.names import UserError
from equilog.pipeline.measured import predictor
from equilog.tasks import get_task
from equilog.tasks.dynamics import steppers
from equilog.tasks.dynamics.judged import judge
from equilog.tasks.dynamics.portrait import pictures_of
from equilog.tasks.dynamics.reference import starts
from equilog.tasks.dynamics.stepper import Stepper, law_of
from equilog.tasks.dynamics.systems import System
from equilog.tasks.measures import Measure, relative_error

NAMES = sorted(
    c.name for c in vars(steppers).values() if isinstance(c, type) and issubclass(c, Stepper) and c != Stepper
)
every_task = pytest.mark.parametrize("name", NAMES)


def system_of(name: str) -> System:
    task = get_task(name)
    assert isinstance(task, Stepper)
    return task.system


def runge_kutta(system: System, substeps: int = 4):
    """The classical method, on the tape: another way than DOP853 to the next state."""
    h = system.step / substeps

    def predict(x: torch.Tensor) -> torch.Tensor:
        for _ in range(substeps):
            a = system.f(x)
            b = system.f(x + h / 2 * a)
            c = system.f(x + h / 2 * b)
            x = x + h / 6 * (a + 2 * b + 2 * c + system.f(x + h * c))
        return x

    return predict


def named(measures: list[Measure]) -> dict[str, Measure]:
    return {m.name: m for m in measures}


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
    with pytest.raises(ValueError, match="expected at least 2 and 2"):
        task.build(task.model_defaults.model_copy(update={"states": 1}))


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="leave out --data"):
        get_task("lorenz63").load(tmp_path)


@cache
def shorter(name: str) -> System:
    """The same system over fewer steps: enough to tell right from wrong."""
    system = system_of(name)
    return replace(system, horizon={"lorenz63": 4.0, "roessler": 20.0, "lorenz96": 2.0}.get(name, system.horizon))


@every_task
def test_the_right_map_is_judged_right(name: str):
    system = shorter(name)
    found = named(judge(system, runge_kutta(system)))
    for key, measure in found.items():
        assert measure.value is not None, key
        if key.startswith(("roll-out error", "drift")):
            assert measure.value < 1e-3, key
    if system.kind in ("cycle", "orbits"):
        for key in ("period", "amplitude"):
            assert found[key].value == pytest.approx(found[key].reference, rel=1e-3)
    if system.kind == "wells":
        assert found["ends in the right well"].value == 1
    if system.kind == "chaos":
        exponent = found["largest Lyapunov exponent"]
        assert found["valid time"].value == pytest.approx(system.horizon * exponent.reference, rel=0.02)
        assert exponent.value == pytest.approx(exponent.reference, rel=0.3)
        assert found["distance of attractor statistics"].value < 0.01


FAST = 1.2


@every_task
def test_a_map_that_is_too_fast_is_judged_too_fast(name: str):
    system = shorter(name)
    found = named(judge(system, runge_kutta(replace(system, step=FAST * system.step))))
    for key, measure in found.items():
        if key.startswith("roll-out error"):
            assert measure.value > 0.05, key
    if system.kind in ("cycle", "orbits"):
        assert found["period"].value == pytest.approx(found["period"].reference / FAST, rel=2e-3)
        assert found["amplitude"].value == pytest.approx(found["amplitude"].reference, rel=2e-3)
    if system.kind == "orbits":
        assert found["drift of the invariant"].value < 1e-3
    if system.kind == "chaos":
        assert found["valid time"].value < 0.5 * system.horizon * found["largest Lyapunov exponent"].reference


@every_task
def test_a_map_that_diverges_is_survived(name: str):
    system = shorter(name)
    found = named(judge(system, lambda x: 3 * x + 1))
    for key, measure in found.items():
        assert measure.value is None or math.isfinite(measure.value), key
        assert measure.note
    gone = {
        "cycle": ("period", "amplitude"),
        "orbits": ("period", "amplitude", "drift of the invariant"),
        "wells": (),
        "chaos": ("largest Lyapunov exponent", "distance of attractor statistics"),
    }
    for key in gone[system.kind]:
        assert found[key].value is None, key
    if system.kind == "wells":
        assert found["ends in the right well"].value < 0.6
    if system.kind == "chaos":
        assert found["valid time"].value < 1


@pytest.mark.parametrize("name", ["van-der-pol", "lorenz63", "lorenz96"])
def test_pictures_are_drawn_whatever_the_roll_outs_do(name: str):
    system = shorter(name)
    pictures = pictures_of(system, runge_kutta(system), lambda x: 3 * x + 1)
    assert len({p.key for p in pictures}) == 2
    for picture in pictures:
        with drawing(picture.key):
            svg = document(picture.size, picture.draw)
        assert "on the chip" in svg


def test_the_solver_answers_as_the_targets_say():
    task = get_task("roessler")
    data = task.load().limited(16)
    answer = task.solver(data.test_x)
    assert answer.y.shape == data.test_y.shape
    assert relative_error(answer.y, data.test_y) < 1e-5
