"""The static twin is differentiable in all that the chip is made of."""

from dataclasses import replace

import pytest
import torch
from builders import drives, layer_of, matrices, spec_with, tiny_model

from equilog.equilibrium import Auto, EquilibriumLayer
from equilog.hardware import Chip, program
from equilog.hardware.twin import static_system

SPEC = spec_with("rram", {"crossbar.levels": None})
PARAMETERS = [
    "g_plus_siemens",
    "g_minus_siemens",
    "r_feedback_ohm",
    "dc_gain",
    "amp_offset_volt",
    "act_gain",
    "act_offset_volt",
]


def settle(layer, played):
    tight = Auto(rtol=1e-13, atol=1e-14)
    return EquilibriumLayer(tight, on_failure="raise")(static_system(layer, played))


@pytest.mark.parametrize("name", PARAMETERS)
def test_gradcheck_of_every_hardware_parameter(name):
    spec = spec_with("rram", {"crossbar.levels": None, "amplifier.dc_gain": 300.0})
    layer, played = layer_of(spec, 3, 2), drives(2, 2)
    value = getattr(layer, name)
    unit = value.abs().mean()  # so that the finite difference is neither too coarse nor lost in rounding

    def run(scaled):
        return settle(replace(layer, **{name: scaled * unit}), played)

    assert torch.autograd.gradcheck(run, ((value / unit).requires_grad_(),), atol=1e-7, rtol=1e-5)


def test_gradcheck_of_drives_weights_and_bias():
    def run(played, w, u, b):
        return settle(program((w, u, b), Chip(SPEC, 2)), played)

    inputs = tuple(a.requires_grad_() for a in (drives(2, 2), *matrices(3, 2)))
    assert torch.autograd.gradcheck(run, inputs, atol=1e-7, rtol=1e-5)


def test_gradcheck_at_a_bias_of_zero():
    w, u, b = matrices(3, 2)

    def run(bias):
        return settle(program((w, u, bias), Chip(SPEC, 2)), drives(2, 2))

    assert torch.autograd.gradcheck(run, (torch.zeros_like(b).requires_grad_(),), atol=1e-7, rtol=1e-5)


def test_gradcheck_of_the_ideal_model():
    model = tiny_model().double()
    model.equilibrium = EquilibriumLayer(Auto(rtol=1e-13, atol=1e-14))
    names = [name for name, _ in model.named_parameters()]

    def run(x, *values):
        return torch.func.functional_call(model, dict(zip(names, values)), (x,))

    inputs = (drives(2, 4).requires_grad_(), *[p.detach().requires_grad_() for p in model.parameters()])
    assert torch.autograd.gradcheck(run, inputs, atol=1e-7, rtol=1e-5)


def test_a_chip_of_many_bits_has_the_gradient_of_its_unconverted_twin():
    spec = spec_with("rram", {"crossbar.levels": None, "dac.bits": 24, "adc.bits": 24})
    model = tiny_model().double()
    x = drives(5, 4)
    chip = Chip(spec, 3)

    def gradient(z):
        return torch.autograd.grad(z.pow(2).sum(), list(model.cell.parameters()))

    drive = model.parameterize(x)
    converted = gradient(model.settle(drive, chip))
    smooth = gradient(settle(model.program(chip), model.parameterize(x)))
    for ours, truth in zip(converted, smooth):
        torch.testing.assert_close(ours, truth, rtol=1e-4, atol=1e-5)


def test_a_programmed_layer_serves_as_well_as_its_chip():
    model, x, chip = tiny_model(), torch.randn(5, 4), Chip(spec_with("rram"), 3)
    assert torch.equal(model(x, chip), model(x, model.program(chip)))
    assert not torch.equal(model(x, chip), model(x))


def test_drives_beyond_full_scale_get_no_gradient():
    model, chip = tiny_model().double(), Chip(SPEC, 1)
    drive = torch.tensor([[0.5, 1.5]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(model.settle(drive, chip).sum(), drive)
    assert slope[0, 0] != 0
    assert slope[0, 1] == 0
