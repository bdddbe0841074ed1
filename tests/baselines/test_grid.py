"""The convolutional network beside an equilibrium on a grid has its shapes and about its parameters."""

import pytest
import torch

from equilog.baselines.grid import grid_convolution
from equilog.baselines.matching import parameter_count
from equilog.tasks import get_task


@pytest.mark.parametrize(("name", "shape"), [("voc-segmentation", (3, 64, 64)), ("bccd", (3, 96, 128))])
def test_as_many_parameters_and_the_same_outputs(name, shape):
    task = get_task(name)
    model = task.build(task.model_defaults)
    other = grid_convolution(model, parameter_count(model))
    assert parameter_count(other) == pytest.approx(parameter_count(model), rel=0.005)
    x = torch.rand(2, *shape)
    assert other(x).shape == model(x).shape
    torch.testing.assert_close(other(x)[:1], other(x[:1]))


def test_a_model_without_a_grid_is_refused():
    task = get_task("digits")
    with pytest.raises(ValueError, match="Unflatten"):
        grid_convolution(task.build(task.model_defaults), 1000)
