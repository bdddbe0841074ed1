"""A hybrid model is trained with a device in its middle: the ends by autograd, the cell by the source."""

import pytest
import torch
from builders import generator, spec_with, tiny_data
from torch import nn

from equilog.cells import CircuitCell, SymmetricWeight
from equilog.devices import DigitalDevice, TwinDevice
from equilog.hardware import Chip, load_spec
from equilog.model import HybridDEQ
from equilog.training.gradients import AdjointReading, EquilibriumPropagation, OnDevice, WeightPerturbation

SOURCES = [EquilibriumPropagation(0.3), AdjointReading(), WeightPerturbation(4)]


def model_of(seed=0):
    torch.manual_seed(seed)
    cell = CircuitCell(3, 2, recurrent=SymmetricWeight(3))
    return HybridDEQ(nn.Sequential(nn.Linear(4, 2), nn.Tanh()), cell, nn.Linear(3, 2))


def gradients(model, output, y):
    loss = nn.functional.cross_entropy(output, y)
    return dict(zip(dict(model.named_parameters()), torch.autograd.grad(loss, list(model.parameters()))))


def test_on_an_ideal_device_every_parameter_gets_its_implicit_gradient():
    model, (x, y) = model_of(), tiny_data()
    truth = gradients(model, model(x), y)
    found = gradients(model, OnDevice(model, DigitalDevice(), EquilibriumPropagation(0.02))(x), y)
    for name, value in truth.items():
        torch.testing.assert_close(found[name], value, rtol=2e-3, atol=2e-5, msg=name)
    assert {"parameterize.0.weight", "cell.recurrent.a", "cell.input_weight", "cell.bias"} <= truth.keys()


@pytest.mark.parametrize("source", SOURCES, ids=lambda s: s.name)
def test_training_on_a_chip_lowers_the_loss(source):
    model, (x, y) = model_of(), tiny_data()
    on = OnDevice(model, TwinDevice(Chip(load_spec("rram"), 1)), source)
    optimiser = torch.optim.Adam(on.parameters(), lr=0.05)
    losses = []
    for _ in range(25):
        loss = nn.functional.cross_entropy(on(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]


class Counting(DigitalDevice):
    def __init__(self):
        super().__init__()
        self.programmed = 0

    def program(self, cell):
        self.programmed += 1
        super().program(cell)


def test_it_is_programmed_only_when_weights_have_changed():
    model, (x, y), device = model_of(), tiny_data(), Counting()
    on = OnDevice(model, device, EquilibriumPropagation())
    nn.functional.cross_entropy(on(x), y).backward()
    on(x)
    assert device.programmed == 1
    with torch.no_grad():
        model.cell.bias += 0.1
    on(x)
    assert device.programmed == 2


def test_backward_measures_on_the_weights_of_its_own_forward():
    model, (x, y) = model_of(), tiny_data()
    on = OnDevice(model, DigitalDevice(), EquilibriumPropagation())
    once = gradients(model, on(x), y)["cell.input_weight"]
    first = on(x)
    kept = model.cell.bias.detach().clone()
    model.cell.bias.data += 1.0
    on(x)  # the device now holds other weights
    model.cell.bias.data.copy_(kept)
    torch.testing.assert_close(gradients(model, first, y)["cell.input_weight"], once)


def test_precision_and_shapes_are_those_of_the_model():
    model = model_of()
    on = OnDevice(model, TwinDevice(Chip(spec_with("rram"), 1)), EquilibriumPropagation())
    drive = torch.rand(7, 2, generator=generator(1), requires_grad=True)
    z = on.settle(drive)
    z.sum().backward()
    assert (z.shape, z.dtype) == ((7, 3), torch.float32)
    assert (drive.grad.shape, drive.grad.dtype) == ((7, 2), torch.float32)
    assert model.cell.input_weight.grad.dtype == torch.float32


def test_a_loss_that_is_not_finite_is_refused_in_backward():
    on = OnDevice(model_of(), DigitalDevice(), EquilibriumPropagation())
    with pytest.raises(ValueError, match="loss gradient of state"):
        (on(torch.ones(1, 4)).sum() * float("inf")).backward()
