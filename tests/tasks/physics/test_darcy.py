"""Darcy: pressures agree with known media and other solvers, the untrained model is the mean medium, measures tell."""

from __future__ import annotations

import math

import pytest
import torch

from equilog.baselines.fno import Fno
from equilog.baselines.matching import count_of, parameter_count
from equilog.hardware import Chip, load_spec
from equilog.names import UserError
from equilog.pipeline.measured import predictor
from equilog.priors import darcy as darcy_law
from equilog.tasks import get_task
from equilog.tasks.measures import relative_error
from equilog.tasks.physics import darcy
from equilog.tasks.physics.media import DEVIATION, SIDE, finer, grid, media, pressure, pressures, waves, weights
from equilog.tasks.task import Data


@pytest.fixture(scope="module")
def data() -> Data:
    return get_task("darcy").load()


def test_a_uniform_medium_has_its_series():
    # −∇²u = 1 on the unit square: Σ 16/(π⁴ j k (j² + k²)) sin jπx sin kπy over odd j, k.
    j = torch.arange(1, 200, 2, dtype=torch.float64)
    x = (torch.arange(SIDE, dtype=torch.float64) + 0.5) / SIDE
    line = torch.sin(math.pi * j[:, None] * x)
    weight = 16 / (math.pi**4 * j[:, None] * j * (j[:, None] ** 2 + j**2))
    exact = torch.einsum("jk,jx,ky->xy", weight, line, line)
    one = torch.ones(1, SIDE, SIDE, dtype=torch.float64)
    errors = [float((pressures(one, times)[0] - exact).abs().max() / exact.max()) for times in (2, 4, 8)]
    assert errors[1] < 2e-3
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.15)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.15)
    torch.testing.assert_close(pressures(5 * one), pressures(one) / 5)


def test_all_media_at_once_are_each_by_sparse_factors():
    a = media(3, 12)
    torch.testing.assert_close(pressures(a), torch.stack([pressure(one) for one in a]), rtol=1e-7, atol=0)


def test_a_finer_grid_changes_little():
    a = media(4, 13)
    assert relative_error(pressures(a), pressures(a, 8)) < 4e-3


def test_finer_media_are_the_same_waves():
    a = media(5, 2)
    fine = finer(a, 3)
    assert fine.shape == (5, 24, 24)
    torch.testing.assert_close(fine[:, 1::3, 1::3], a)


def test_media_spread_as_they_should():
    field = torch.einsum("k,kxy->kxy", weights(), waves(64)).square().sum(0)
    assert float(field.mean()) == pytest.approx(DEVIATION**2, rel=1e-2)
    # Of N(0, (−Δ + 9)⁻²): amplitudes of equal norm as 1/(π²(j² + k²) + 9).
    sigma = weights()
    assert float(sigma[1] / sigma[2]) == pytest.approx((4 * math.pi**2 + 9) / (math.pi**2 + 9))
    assert float(sigma[6] / sigma[1]) == pytest.approx(math.sqrt(2) * (math.pi**2 + 9) / (2 * math.pi**2 + 9))
    assert float(media(4000, 1).log().mean()) == pytest.approx(0, abs=0.02)


def test_data_are_as_their_summary_says(data):
    again = get_task("darcy").load()
    assert [tuple(t.shape) for t in (data.train_x, data.test_y)] == [(2048, 8, 8), (256, 8, 8)]
    assert torch.equal(data.train_x, again.train_x)
    assert torch.equal(data.test_y, again.test_y)
    assert float(torch.cdist(data.test_x.flatten(1), data.train_x.flatten(1)).min()) > 1e-2
    assert float(data.train_y.min()) > 0
    assert float(data.train_y.max()) < darcy.HIGHEST
    # A mean medium is not the answer.
    mean = darcy.mean_medium().solve(torch.zeros_like(data.test_x.double()))
    assert relative_error(mean, data.test_y) > 0.1


def test_the_untrained_model_rests_at_the_mean_medium_whatever_goes_in(data):
    task = get_task("darcy")
    found = predictor(task.build(task.model_defaults))(data.test_x[:10])
    mean = darcy_law(grid(), torch.ones(SIDE, SIDE, dtype=torch.float64)).solve(torch.ones(1, SIDE, SIDE).double())
    torch.testing.assert_close(found, mean.expand_as(found), rtol=1e-4, atol=1e-6)


def test_an_ideal_chip_gives_it_too(data):
    task = get_task("darcy")
    model, x = task.build(task.model_defaults), data.test_x[:10].double()
    chip = predictor(model, Chip(load_spec("ideal"), 1))(x).detach()
    assert relative_error(chip, darcy.mean_medium().solve(torch.zeros_like(x))) < 1e-3


def test_a_learnt_source_is_answered_by_the_law(data):
    task = get_task("darcy")
    model, x = task.build(task.model_defaults), data.test_x[:3].double()
    with torch.no_grad():
        model.parameterize[1].sum.bias[10] = 0.5
    source = torch.zeros_like(x)
    source[:, 1, 2] = 0.5 * darcy.SOURCE_SIZE
    torch.testing.assert_close(predictor(model)(x), darcy.mean_medium().solve(source), rtol=1e-4, atol=1e-6)


def test_without_the_law_it_is_as_large_and_knows_nothing(data):
    task = get_task("darcy")
    held, free = (task.build(task.model_defaults.model_copy(update={"prior": p})) for p in (True, False))
    assert free.cell.fixed is None
    count = count_of(lambda: task.build(task.model_defaults.model_copy(update={"prior": False})))
    assert count == parameter_count(free) > parameter_count(held)  # apart: nothing learnt among the law's own states
    assert (free.cell.states, free.cell.drives) == (held.cell.states, held.cell.drives)
    assert [p.shape for p in free.parameterize.parameters()] == [p.shape for p in held.parameterize.parameters()]
    assert relative_error(predictor(free)(data.test_x), data.test_y) > 0.5


def test_measures_of_the_exact_answer_and_of_wrong_ones(data):
    task = get_task("darcy")

    def of(predict):
        return {m.name: m for m in task.measures(predict, data, ideal=True)}

    exact, mean = of(pressures), of(lambda a: pressures(torch.ones_like(a)))
    for name in ("residual of Darcy's law", "imbalance of flow"):
        assert exact[name].value == pytest.approx(exact[name].reference, rel=1e-3)
        assert mean[name].value > 2 * exact[name].value
    own = of(lambda a: torch.stack([darcy_law(grid(), one).solve(torch.ones(1, 8, 8).double())[0] for one in a]))
    assert own["residual of Darcy's law"].value < 1e-9


def test_the_solver_answers_as_the_data_and_says_what_it_did(data):
    answer = get_task("darcy").solver(data.test_x[:3].double())
    assert relative_error(answer.y, data.test_y[:3]) < 1e-5
    assert answer.second_per_sample > 0
    assert answer.operations_per_sample == 1024 * ((1024 + 96) / 2 + 64)


def test_a_fourier_operator_takes_its_shapes(data):
    assert Fno(tuple(data.train_x.shape[1:]), 4)(data.train_x[:2]).shape == data.train_y[:2].shape


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="leave out --data"):
        get_task("darcy").load(tmp_path)
