"""The residual network to compare with has the parameters of the model it is compared with."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equilog.baselines.matching import parameter_count
from equilog.baselines.resnet import matched_resnet, resnet
from equilog.tasks import get_task
from equilog.tasks.vision.cifar import STAGES

STATISTICS = (0.5, 0.4, 0.3), (0.2, 0.2, 0.2)


@settings(max_examples=15)
@given(
    parameters=st.integers(100_000, 2_000_000),
    widths=st.sampled_from([(16, 32, 64), (32, 64, 128), (24, 24, 96)]),
    classes=st.sampled_from([10, 100]),
    blocks=st.sampled_from([1, 2]),
)
def test_parameters_are_matched_within_two_percent(
    parameters: int, widths: tuple[int, ...], classes: int, blocks: int
) -> None:
    network, found = matched_resnet(parameters, *STATISTICS, widths, classes, blocks)
    assert abs(parameter_count(network) - parameters) <= 0.02 * parameters
    growth = [math.log(a / b) for a, b in zip(found, widths)]
    assert max(growth) - min(growth) < 0.5  # a wider network of the same shape, not another one
    assert all(width % 4 == 0 for width in found)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_equilibrium_is_spent_on_width(name: str) -> None:
    task = get_task(name)
    model = task.build(task.model_defaults)
    classes = task.label_ids[-1]
    network, widths = matched_resnet(parameter_count(model), task.mean, task.std, STAGES, classes)
    assert widths > STAGES
    assert abs(parameter_count(network) / parameter_count(model) - 1) <= 0.02
    plain = resnet(task.mean, task.std, STAGES, classes)
    assert parameter_count(plain) < parameter_count(network)
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, classes)


def test_a_narrower_tolerance_is_kept_or_refused() -> None:
    network, _ = matched_resnet(322_058, *STATISTICS, (32, 64, 128), 10, tolerance=0.003)
    assert abs(parameter_count(network) / 322_058 - 1) <= 0.003
    with pytest.raises(ValueError, match=r"50 parameters to 2 %: expected more"):
        matched_resnet(50, *STATISTICS, (32, 64, 128), 10)


def test_only_the_network_that_is_returned_draws() -> None:
    torch.manual_seed(3)
    found, widths = matched_resnet(90_000, *STATISTICS, (16, 32, 64), 10)
    torch.manual_seed(3)
    again = resnet(*STATISTICS, widths, 10)
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), again.parameters(), strict=True))
