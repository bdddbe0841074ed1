"""What holds of every regulariser: one call, a scalar on the tape, one chip at a time."""

import pytest
import torch
from builders import drives, generator, matrices, spec_with, tiny_data, tiny_model
from losses_cases import Nominal, rest

from equilog.hardware import Chip, Conditions, Population, load_spec, preset_names, program
from equilog.training.losses import LOSSES, StabilityMargin


@pytest.fixture(params=LOSSES)
def loss(request):
    # A margin that every step misses, or there would be nothing to see.
    return StabilityMargin(10.0) if request.param == "stability" else LOSSES[request.param]()


def test_names():
    assert list(LOSSES) == ["robustness", "precision", "energy", "stability"]


def test_a_float32_training_step_reaches_every_weight(loss):
    model, x = tiny_model(), tiny_data()[0]
    state = model.on_chip(model.parameterize(x), model.program(Chip(load_spec("rram"), 1)))
    value = loss(state, generator(0))
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert value > 0
    value.backward()
    for name, parameter in [*model.cell.named_parameters(), *model.parameterize.named_parameters()]:
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


def test_float32_is_as_good_as_float64(loss):
    layer, drive = program(matrices(8, 4), Nominal(load_spec("rram"), 0)), drives(6, 4)
    exact = loss(rest(layer, drive), generator(0))
    state = rest(layer.to(torch.float32), drive.float())
    assert float(loss(state, generator(0))) == pytest.approx(float(exact), rel=1e-2)


def test_same_generator_same_value(loss):
    state = rest(program(matrices(5, 3), Chip(load_spec("rram"), 0)), drives(32, 3))
    assert torch.equal(loss(state, generator(4)), loss(state, generator(4)))
    assert loss(state).isfinite()


@pytest.mark.parametrize("preset", preset_names())
def test_every_technology(loss, preset):
    conditions = Conditions(1e5, 310.0, generator(0))
    weights = [t.requires_grad_() for t in matrices(4, 2)]
    value = loss(rest(program(tuple(weights), Chip(load_spec(preset), 0), conditions), drives(3, 2)), generator(0))
    gradients = torch.autograd.grad(value, weights)
    assert value.isfinite()
    assert all(g.isfinite().all() for g in gradients)


def test_a_population_is_refused(loss):
    state = rest(program(matrices(3, 2), Population(spec_with("rram"), (1, 2))), drives(2, 2))
    with pytest.raises(ValueError, match=r"population of 2 chips: expected the state of a single one"):
        loss(state, generator(0))
