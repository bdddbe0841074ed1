"""Without feedback a model is one layer: it rests at φ(U d + b), and no chip has devices between neurons."""

import pytest
import torch
from builders import generator

from equilog.baselines.feedforward import without_feedback
from equilog.hardware import Chip, load_spec
from equilog.tasks import get_task
from equilog.tasks.task import ModelConfig


@pytest.mark.parametrize(("name", "shape"), [("digits", (1, 8, 8)), ("voc-segmentation", (3, 64, 64))])
def test_one_layer_ideal_and_on_a_chip(name, shape):
    task = get_task(name)
    config = task.model_defaults if name != "digits" else ModelConfig(states=12, drives=6)
    torch.manual_seed(0)
    own, model = task.build(config), without_feedback(task.build(config))
    assert sum(p.numel() for p in model.parameters()) < sum(p.numel() for p in own.parameters())
    x = torch.rand(3, *shape, generator=generator(1))
    drive = model.parameterize(x)
    _, u, b = model.cell.matrices()
    torch.testing.assert_close(model.settle(drive), torch.tanh(drive @ u.T + b))
    layer = model.program(Chip(load_spec("rram"), 0))
    n = model.cell.states
    assert not layer.g_plus_siemens[:, :n].any()
    assert layer.g_plus_siemens[:, n:].any(1).all()
    assert model(x, layer).shape == own(x).shape


def test_a_law_is_refused():
    task = get_task("linear-system")
    with pytest.raises(ValueError, match="prior=False"):
        without_feedback(task.build(task.model_defaults))
