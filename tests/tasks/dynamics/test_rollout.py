"""Roll-outs, their errors and exponents, of maps about which everything is known."""

from __future__ import annotations

import math

import pytest
import torch

from equilog.tasks.dynamics.products import Products
from equilog.tasks.dynamics.rollout import (
    distance_of_statistics,
    exponent_of_map,
    jacobians,
    rolled,
    rollout_error,
    valid_times,
)
from tests.builders import normal

CAT = torch.tensor([[2.0, 1.0], [1.0, 1.0]], dtype=torch.float64)


def test_a_linear_map_is_rolled_to_its_powers():
    a, x = 0.5 * normal(1, 3, 3), normal(2, 4, 3)
    path = rolled(lambda x: x @ a.T, x, 5)
    assert path.shape == (4, 6, 3)
    torch.testing.assert_close(path[:, 5], x @ torch.linalg.matrix_power(a, 5).T)


@pytest.mark.parametrize("end", [math.inf, math.nan, 1e9])
def test_a_trajectory_that_diverges_is_nan_from_there_and_leaves_the_others(end: float):
    def step(x: torch.Tensor) -> torch.Tensor:
        assert bool(x.isfinite().all())
        return torch.where(x > 3, end, x + 1)

    path = rolled(step, torch.tensor([[0.0], [2.0]], dtype=torch.float64), 3)
    assert path[0].flatten().tolist() == [0, 1, 2, 3]
    assert path[1, :2].flatten().tolist() == [2, 3]
    path = rolled(step, torch.tensor([[0.0], [3.0]], dtype=torch.float64), 3)
    assert path[1, 1].item() == 4
    assert bool(path[1, 2:].isnan().all())
    assert rollout_error(path, torch.ones_like(path), 3) is None
    assert rollout_error(path, torch.ones_like(path), 1) == pytest.approx(1.5)


def test_valid_time_is_when_the_error_passes_the_threshold():
    reference = torch.ones(3, 11, 4, dtype=torch.float64)
    path = reference.clone()
    path[0, 4:] += 0.41
    path[1, 7:] = math.nan
    path[2] += 0.39
    assert valid_times(path, reference, 0.5).tolist() == [2.0, 3.5, 5.0]


def test_jacobians_are_those_of_torch():
    a = normal(3, 3, 3)

    def f(x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ a.T) * x

    x = normal(4, 5, 3)
    torch.testing.assert_close(jacobians(f, x), torch.func.vmap(torch.func.jacrev(f))(x))


def test_the_cat_map_has_its_exponent():
    path = rolled(lambda x: (x @ CAT) % 1, torch.rand(5, 2, dtype=torch.float64), 40)
    found, error = exponent_of_map(lambda x: (x @ CAT) % 1, path, 0.5)
    assert found == pytest.approx(2 * math.log((3 + 5**0.5) / 2), rel=1e-6)
    assert error < 1e-9


def test_the_logistic_map_has_the_exponent_ln_2_within_its_error():
    def logistic(x: torch.Tensor) -> torch.Tensor:
        return 4 * x * (1 - x)

    start = torch.rand(200, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found, error = exponent_of_map(logistic, rolled(logistic, start, 100), 1.0)
    assert found == pytest.approx(math.log(2), abs=4 * error)
    assert error < 0.01


def test_there_is_no_exponent_of_what_diverged_or_forgot_everything():
    path = torch.ones(2, 9, 2, dtype=torch.float64)
    assert exponent_of_map(lambda x: 0 * x, path, 1.0) is None
    path[0, 5] = math.nan
    assert exponent_of_map(lambda x: x, path, 1.0) is None


def test_statistics_a_standard_deviation_apart_are_at_distance_one():
    reference = normal(5, 8, 200, 2)
    assert distance_of_statistics(reference, reference) == 0
    later = reference[:, 100:].flatten(0, 1)
    assert distance_of_statistics(reference + later.std(0), reference) == pytest.approx(1, rel=1e-6)
    assert distance_of_statistics(reference * math.nan, reference) is None


def test_products_are_all_monomials():
    layer = Products(3, 2, 3)
    x = torch.tensor([[2.0, 3.0, 5.0]])
    found = sorted(layer.products(x)[0].tolist())
    expected = [2, 3, 5, 4, 6, 10, 9, 15, 25, 8, 12, 20, 18, 30, 50, 27, 45, 75, 125]
    assert found == sorted(map(float, expected))
    assert layer(x).shape == (1, 2)
    assert Products(8, 1, 2).linear.in_features == 8 + 36
