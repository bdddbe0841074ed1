"""Inf and nan stop the training with names: which sample, which parameter, which batch."""

import math

import pytest
import torch
from builders import stages, tiny_data, tiny_model
from torch import nn

from equilog.hardware import load_spec
from equilog.training import NotFiniteError, TrainConfig, fit

RRAM = load_spec("rram")
QUICK = TrainConfig(stages=stages(1, 1), batch_size=8)

pytestmark = pytest.mark.filterwarnings("ignore")  # of a broken equilibrium; what counts is what fit says


def train(model, x, y, config=QUICK, **options):
    return fit(model, x, y, RRAM, config, progress=False, **options)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_in_the_data(bad):
    x, y = tiny_data()
    x[13, 2] = bad
    x[17, 0] = bad
    with pytest.raises(NotFiniteError, match=rf"sample 13, position \(2,\) is {bad}; 2 of 20 samples"):
        train(tiny_model(), x, y)


def spoil(name):
    model = tiny_model()
    with torch.no_grad():
        dict(model.named_parameters())[name].view(-1)[0] = math.nan
    return model


NAMES = [name for name, _ in tiny_model().named_parameters()]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("config", [QUICK, TrainConfig(stages=stages(0, 1))], ids=["ideal", "twin"])
def test_in_a_parameter(name, config):
    with pytest.raises(NotFiniteError, match=rf"epoch 0, batch 0: .*in parameter {name}"):
        train(spoil(name), *tiny_data(), config)


def test_in_a_parameter_in_mid_training():
    model, seen = tiny_model(), []

    def sabotage(x, y, generator):
        seen.append(1)
        if len(seen) == 5:
            with torch.no_grad():
                model.readout.bias[1] = math.inf
        return x, y

    with pytest.raises(NotFiniteError, match=r"epoch 1, batch 1: .*in parameter readout\.bias"):
        train(model, *tiny_data(), augment=sabotage)


def test_in_the_augmentation():
    def sabotage(x, y, generator):
        return x / 0, y

    with pytest.raises(NotFiniteError, match=r"epoch 0, batch 0: the loss is nan although"):
        train(tiny_model(), *tiny_data(), augment=sabotage)


class Explode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad * math.inf


class Exploding(nn.Module):
    def forward(self, x):
        return Explode.apply(x)


def test_in_a_gradient_before_it_poisons_the_weights():
    model = tiny_model()
    model.parameterize.append(Exploding())
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(NotFiniteError, match=r"gradient of .*parameterize\.0\.weight"):
        train(model, *tiny_data())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))


def test_numbers_of_samples_and_labels_must_agree():
    x, y = tiny_data()
    with pytest.raises(ValueError, match="20 inputs and 19 labels"):
        train(tiny_model(), x, y[:-1])
