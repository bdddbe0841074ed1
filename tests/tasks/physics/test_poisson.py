"""Poisson's equation: targets against closed forms, a model that is exact untrained, measures that see an error."""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from builders import normal
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import splu

from equilog.baselines.matching import count_of, parameter_count
from equilog.hardware import Chip, load_spec
from equilog.names import UserError
from equilog.pipeline.measured import predictor
from equilog.tasks import get_task
from equilog.tasks.computed import uniform
from equilog.tasks.measures import relative_error
from equilog.tasks.physics.poisson import AMPLITUDE, answer, continuous, law, patterns, waves
from equilog.tasks.physics.sparse_lu import multiplications
from equilog.tasks.physics.square import nodes, square_poisson


@pytest.fixture(scope="module")
def task():
    return get_task("poisson")


@pytest.fixture(scope="module")
def data(task):
    return task.load()


@pytest.fixture(scope="module")
def model(task):
    torch.manual_seed(0)
    return task.build(task.model_defaults)


def value_of(measures, name):
    return next(m.value for m in measures if m.name == name)


def test_every_pattern_is_an_eigenvector_with_the_eigenvalue_that_books_have():
    h = 1 / 17
    eigen = 4 / h**2 * (torch.sin(waves() * math.pi * h / 2) ** 2).sum(1)
    exact = (patterns() / eigen).T.unflatten(1, (16, 16))
    torch.testing.assert_close(answer(torch.eye(16, dtype=torch.float64)), exact, rtol=1e-11, atol=1e-12)


def test_the_closed_form_solves_the_equation_without_a_grid():
    x = torch.zeros(1, 16, dtype=torch.float64)
    x[0, 1] = 0.7  # i = 1 along x, j = 2 along y; rows are along y
    at = nodes(16)
    u = 0.7 * AMPLITUDE / (5 * math.pi**2) * torch.sin(math.pi * at)[None, :] * torch.sin(2 * math.pi * at)[:, None]
    torch.testing.assert_close(continuous(x)[0], u, rtol=1e-12, atol=1e-14)


def test_the_grid_is_of_second_order():
    errors = []
    for n in (7, 15, 31):
        at = nodes(n)
        f = (torch.sin(math.pi * at)[:, None] * torch.sin(2 * math.pi * at))[None]
        u = square_poisson(n, name="u", source="f").solve(f)
        errors.append(float((u - f / (5 * math.pi**2)).abs().max()))
    slopes = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    np.testing.assert_allclose(slopes, 2, atol=0.1)


def test_data_are_the_same_each_time_solve_the_law_and_are_never_shared(task, data):
    again = task.load()
    assert torch.equal(data.train_x, again.train_x)
    assert torch.equal(data.test_y, again.test_y)
    assert [tuple(t.shape) for t in (data.train_x, data.train_y)] == [(256, 16), (256, 16, 16)]
    assert [tuple(t.shape) for t in (data.test_x, data.test_y)] == [(128, 16), (128, 16, 16)]
    assert float(torch.cdist(data.test_x, data.train_x).min()) > 0.1
    f = (data.test_x.double() @ patterns().T).unflatten(1, (16, 16))
    assert float(law().consistency(data.test_y.double(), f).max()) < 1e-5


def test_untrained_it_is_exact_and_nothing_is_trained_by_default(task, data, model):
    x = data.test_x[:8].double()
    assert task.train_defaults.epochs == 0
    assert relative_error(predictor(model)(x), answer(x)) < 1e-6
    assert relative_error(predictor(model, Chip(load_spec("ideal"), 1))(x).detach(), answer(x)) < 1e-3
    with torch.no_grad():
        states = model.settle(model.parameterize(data.train_x))
    assert float(states.abs().max()) == pytest.approx(1 / 1.1, rel=1e-4)


def test_there_is_no_crossbar_behind_the_law(model):
    assert not model.cell.populated.any()
    assert model.cell.fixed.margin == pytest.approx(1 - math.cos(math.pi / 17), rel=1e-6)


def test_without_the_law_sizes_are_the_same_and_it_knows_nothing(task, data, model):
    torch.manual_seed(0)
    free = task.build(task.model_defaults.model_copy(update={"prior": False}))
    assert free.cell.fixed is None
    assert (free.cell.states, free.cell.drives) == (model.cell.states, model.cell.drives)
    assert parameter_count(free.readout) == parameter_count(model.readout)
    assert relative_error(free(data.test_x[:8]), data.test_y[:8]) > 0.5
    assert count_of(lambda: task.build(task.model_defaults.model_copy(update={"prior": False}))) == parameter_count(
        free
    )


def test_measures_know_the_exact_answer_and_a_wrong_one(task, data):
    few = SimpleNamespace(train_x=data.train_x, test_x=data.test_x[:16], test_y=data.test_y[:16])
    exact = task.measures(lambda x: answer(x.double()), few, ideal=True)
    assert value_of(exact, "largest error") < 1e-9
    assert value_of(exact, "residual of the law") < 1e-9
    grid = next(m for m in exact if m.name == "largest error against the closed form")
    assert grid.value == pytest.approx(grid.reference)
    assert 1 < grid.reference < 2
    assert value_of(exact, "error, inputs 1 % noisy") == pytest.approx(0.01, rel=0.3)
    wrong = task.measures(lambda x: 1.1 * answer(x.double()), few, ideal=True)
    assert value_of(wrong, "largest error") == pytest.approx(10)
    assert value_of(wrong, "residual of the law") > 0.05


def test_the_solver_gives_the_targets_and_says_what_it_takes(task, data):
    found = task.solver(data.test_x[:4].double())
    torch.testing.assert_close(found.y.float(), data.test_y[:4], rtol=1e-5, atol=1e-6)
    assert found.second_per_sample > 0
    assert 256 * 16 < found.operations_per_sample < 256**2


def test_multiplications_of_a_full_matrix_are_those_of_books():
    n = 7
    factors = splu(csc_matrix(normal(0, n, n).numpy() + n * np.eye(n)))
    assert multiplications(factors) == ((n - 1) * n * (2 * n - 1) / 6, n * (n + 1))


def test_a_folder_and_too_small_a_model_are_refused(task, tmp_path):
    with pytest.raises(UserError, match="the data of poisson are computed"):
        task.load(tmp_path)
    with pytest.raises(UserError, match="16 drives for a law of 256 states and 16 inputs"):
        task.build(task.model_defaults.model_copy(update={"states": 255}))


def test_pictures_are_drawn(task, data):
    from matplotlib.figure import Figure

    (picture,) = task.pictures(answer, lambda x: 0.9 * answer(x), data)
    figure = Figure(figsize=picture.size)
    picture.draw(figure)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["trusted", "ideal", "on the chip"]


def test_offsets_make_the_chips_error_as_the_page_says(capsys):
    page = (Path(__file__).parents[3] / "docs" / "fields.md").read_text(encoding="utf-8")
    exec(re.search(r"## Poisson\n.*?```python\n(.*?)```", page, re.DOTALL)[1], {})
    assert [float(line) for line in capsys.readouterr().out.split()] == pytest.approx([0.525, 0.0187], rel=0.01)


def test_inputs_are_as_documented(data):
    assert torch.equal(data.test_x, uniform(128, 16, 2).float())
