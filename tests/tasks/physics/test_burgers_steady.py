"""Burgers at rest: sine modes agree with finer differences, the untrained model is viscous, measures tell."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_bvp
from scipy.linalg import solve_banded

from equilog.baselines.matching import count_of, parameter_count
from equilog.hardware import Chip, load_spec
from equilog.names import UserError
from equilog.pipeline.measured import predictor
from equilog.tasks import get_task
from equilog.tasks.measures import relative_error
from equilog.tasks.physics import burgers_steady
from equilog.tasks.physics.burgers_steady import forcings, velocities, viscous
from equilog.tasks.physics.steady_burgers_flow import PATTERNS, POINTS, VISCOSITY, amplitudes, at_rest, centres, sines
from equilog.tasks.task import Data

FINE = 1024


@pytest.fixture(scope="module")
def data() -> Data:
    return get_task("burgers-steady").load()


def of_differences(c: np.ndarray) -> np.ndarray:
    """Newton's method on 1025 points with central differences, at the 32 centres, which are among them."""
    x = np.arange(1, FINE) / FINE
    f, h = np.sin(np.pi * np.outer(x, np.arange(1, len(c) + 1))) @ c, 1 / FINE
    u = np.zeros(FINE - 1)
    for _ in range(12):
        left, right = np.append(0, u[:-1]), np.append(u[1:], 0)
        r = -VISCOSITY * (left - 2 * u + right) / h**2 + (right**2 - left**2) / (4 * h) - f
        bands = np.full((3, FINE - 1), 2 * VISCOSITY / h**2)
        bands[0, 1:] = -VISCOSITY / h**2 + u[1:] / (2 * h)
        bands[2, :-1] = -VISCOSITY / h**2 - u[:-1] / (2 * h)
        u = u - solve_banded((1, 1), bands, r)
    assert np.abs(r).max() < 1e-6
    return u[FINE // POINTS // 2 - 1 :: FINE // POINTS]


def test_sine_modes_agree_with_differences_on_1025_points():
    f = forcings(4, 9)
    exact = velocities(f)
    for u, c in zip(exact, amplitudes(f, PATTERNS)):
        assert np.abs(of_differences(c.numpy()) - u.numpy()).max() < 3e-5


def test_they_agree_with_scipys_collocation():
    c = amplitudes(forcings(1, 4), PATTERNS)[0].numpy()
    k = np.arange(1, PATTERNS + 1)

    def slope(x, y):
        return np.stack([y[1], (y[0] * y[1] - c @ np.sin(np.pi * np.outer(k, x))) / VISCOSITY])

    x = np.linspace(0, 1, 41)
    found = solve_bvp(slope, lambda a, b: np.array([a[0], b[0]]), x, np.zeros((2, 41)), tol=1e-9, max_nodes=50_000)
    assert found.success
    mine = velocities(torch.from_numpy(c)[None] @ sines(centres(), PATTERNS).T)[0]
    assert np.abs(found.sol(centres().numpy())[0] - mine.numpy()).max() < 1e-7


def test_more_modes_change_nothing_and_too_little_viscosity_is_said():
    c = amplitudes(forcings(4, 5), PATTERNS)
    few, steps = at_rest(c)
    more, _ = at_rest(c, modes=48)
    assert 3 <= steps <= 10
    torch.testing.assert_close(few, more[:, :32], rtol=0, atol=1e-8)
    with pytest.raises(RuntimeError, match="from rest after"):
        at_rest(1e3 * c, viscosity=1e-4)


def test_amplitudes_of_sines_at_centres_are_exact():
    c = torch.randn(3, PATTERNS, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(amplitudes(c @ sines(centres(), PATTERNS).T, 6), torch.nn.functional.pad(c, (0, 2)))


def test_data_are_as_their_summary_says(data):
    once, again = data, get_task("burgers-steady").load()
    assert [tuple(t.shape) for t in (once.train_x, once.test_y)] == [(2048, 32), (256, 32)]
    assert torch.equal(once.train_x, again.train_x)
    assert torch.equal(once.test_y, again.test_y)
    assert float(torch.cdist(once.test_x, once.train_x).min()) > 1e-3
    linear = viscous().solve(once.train_x.double()).abs().amax(1)
    assert 0.24 < float(linear.min()) < float(linear.max()) < 0.51
    assert float(once.train_y.abs().max()) < burgers_steady.FASTEST
    # The product matters: without it the answer is far off.
    assert relative_error(viscous().solve(once.test_x.double()), once.test_y) > 0.1


def test_the_untrained_model_rests_at_the_viscous_answer_of_the_chain(data):
    task, x = get_task("burgers-steady"), data.test_x[:40].double()
    k = math.pi * torch.arange(1, PATTERNS + 1, dtype=torch.float64)
    exact = viscous().solve(x)
    torch.testing.assert_close(predictor(task.build(task.model_defaults))(x), exact, rtol=1e-4, atol=1e-5)
    # Of differences on 32 cells the fourth sine has an error of (kh)²/12, 1.3 %.
    continuous = (amplitudes(x, PATTERNS) / (VISCOSITY * k.square())) @ sines(centres(), PATTERNS).T
    torch.testing.assert_close(exact, continuous, rtol=0, atol=5e-3)


def test_an_ideal_chip_gives_it_too_and_no_drive_is_clipped(data):
    task = get_task("burgers-steady")
    model = task.build(task.model_defaults)
    x = data.test_x[:20].double()
    chip = predictor(model, Chip(load_spec("ideal"), 1))(x).detach()
    assert relative_error(chip, viscous().solve(x)) < 1e-3
    offered = model.parameterize(data.train_x).detach()[:, : PATTERNS + burgers_steady.SOURCES]
    assert float(offered.abs().max()) < 1


def test_a_learnt_source_is_answered_by_the_law():
    task = get_task("burgers-steady")
    model = task.build(task.model_defaults)
    with torch.no_grad():
        model.parameterize[0].sum.bias[6] = 0.5  # of 0.9 m/s², the seventh sine
    x = forcings(5, 8)
    wanted = viscous().solve(x + 0.45 * sines(centres(), 7)[:, 6])
    torch.testing.assert_close(predictor(model)(x), wanted, rtol=1e-4, atol=1e-5)


def test_without_the_law_it_is_as_large_and_knows_nothing():
    task, x = get_task("burgers-steady"), forcings(40, 3)
    held, free = (task.build(task.model_defaults.model_copy(update={"prior": p})) for p in (True, False))
    assert free.cell.fixed is None
    count = count_of(lambda: task.build(task.model_defaults.model_copy(update={"prior": False})))
    assert count == parameter_count(free) > parameter_count(held)  # apart: nothing learnt among the law's own states
    assert (free.cell.states, free.cell.drives) == (held.cell.states, held.cell.drives)
    assert [p.shape for p in free.parameterize.parameters()] == [p.shape for p in held.parameterize.parameters()]
    assert relative_error(predictor(free)(x), velocities(x)) > 0.5


def test_measures_of_the_exact_answer_and_of_wrong_ones(data):
    task = get_task("burgers-steady")

    def of(predict):
        return {m.name: m for m in task.measures(predict, data, ideal=True)}

    exact, still = of(velocities), of(lambda f: 1e-9 * f)
    for name in ("residual of Burgers' equation", "imbalance of momentum"):
        assert exact[name].value == pytest.approx(exact[name].reference, rel=1e-3)
        assert exact[name].value < 0.02
    assert still["residual of Burgers' equation"].value > 0.8
    assert still["imbalance of momentum"].value > 0.1
    assert exact["error, inputs 1 % noisy"].value < 0.05


def test_the_solver_answers_as_the_data_and_says_what_it_did(data):
    task = get_task("burgers-steady")
    answer = task.solver(data.test_x[:3].double())
    assert relative_error(answer.y, data.test_y[:3]) < 1e-6
    assert answer.second_per_sample > 0
    assert answer.operations_per_sample > 1e5


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="leave out --data"):
        get_task("burgers-steady").load(tmp_path)
