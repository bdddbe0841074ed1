"""Slopes that are computed beside their values are the derivatives, of first and second order."""

from dataclasses import replace

import pytest
import torch
from builders import drives, matrices, normal, spec_with
from golden.registry import EVERY_STATIC_EFFECT
from torch import Tensor

from equilog.hardware import Chip, Conditions, Population, load_spec, program
from equilog.hardware.effects import DEVICE_EFFECTS, Devices
from equilog.hardware.effects.converter import analog_to_digital, digital_to_analog, inl
from equilog.hardware.effects.elementwise import elementwise
from equilog.hardware.pairs import wanted_differences
from equilog.hardware.twin import static_system

FULL = spec_with("rram", EVERY_STATIC_EFFECT)
SHAPE = torch.Size([2, 5, 7])
SMOOTH = EVERY_STATIC_EFFECT | {"crossbar.levels": None, "crossbar.e_series": None, "crossbar.wires": None}


def reads(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("preset", ["rram with everything", "pcm"])
def test_slopes_of_the_effects_one_after_the_other(preset):
    bar = FULL.crossbar if preset == "rram with everything" else load_spec("pcm").crossbar
    g = torch.empty(SHAPE, dtype=torch.float64).uniform_(0, 1, generator=reads(1))
    asked = (bar.g_min_siemens + (bar.g_max_siemens - bar.g_min_siemens) * g).requires_grad_()
    devices, plain = Devices.of(asked, True), Devices.of(asked)
    for effect in DEVICE_EFFECTS:
        if not effect.present(bar):
            continue
        drawn = effect.sample(Chip(FULL, 3), SHAPE)
        devices = effect.forward(devices, drawn, bar, Conditions(3600.0, 330.0, reads()))
        plain = effect.forward(plain, drawn, bar, Conditions(3600.0, 330.0, reads()))
        assert plain.slope is None
        torch.testing.assert_close(devices.now, plain.now, rtol=0, atol=0)
        (truth,) = torch.autograd.grad(plain.now.sum(), asked, retain_graph=True)
        slope = devices.slope if isinstance(devices.slope, Tensor) else torch.full_like(asked, devices.slope)
        torch.testing.assert_close(slope, truth, rtol=1e-9, atol=1e-9, msg=effect.name)


def test_second_derivatives_of_the_whole_chip_meet_the_same_read():
    spec = spec_with("rram", SMOOTH | {"crossbar.stuck": None})
    parts = [t.clone().requires_grad_() for t in matrices(2, 1, norm=1.0)]

    def realised(*parts: Tensor) -> Tensor:
        layer = program(parts, Chip(spec, 1), Conditions(3600.0, 320.0, reads()))
        system = static_system(layer, drives(2, 1))
        return torch.cat([system.weight.flatten(), system.injection.flatten()])

    assert torch.autograd.gradgradcheck(realised, parts, atol=1e-4, rtol=1e-4)


def test_a_population_sums_the_gradients_of_its_chips():
    spec = spec_with("rram", SMOOTH)
    weights = torch.cat([matrices(3, 2)[0], matrices(3, 2)[1]], 1)
    co = normal(3, 2, 3, 3)

    def gradient(chip, co):
        w, u, b = (t.clone().requires_grad_() for t in matrices(3, 2))
        return torch.autograd.grad((program((w, u, b), chip).effective[..., :3] * co).sum(), w)[0]

    assert weights.isfinite().all()
    both = gradient(Population(spec, [4, 9]), co)
    torch.testing.assert_close(both, gradient(Chip(spec, 4), co[0]) + gradient(Chip(spec, 9), co[1]))


@pytest.mark.parametrize("name", ["transfer_siemens", "load_siemens", "r_feedback_ohm", "dc_gain", "amp_offset_volt"])
@pytest.mark.parametrize("chip", [Chip, Population])
def test_rows_are_twice_differentiable_in_all_they_are_made_of(name, chip):
    spec = spec_with("rram", {"amplifier.dc_gain": 300.0, "amplifier.input_bias_ampere": 1e-8})
    layer = program(matrices(2, 1), Chip(spec, 1) if chip is Chip else Population(spec, [1, 2]))
    value = getattr(layer, name)
    unit = value.abs().mean()

    def run(scaled: Tensor) -> Tensor:
        system = static_system(replace(layer, **{name: scaled * unit}), drives(2, 1))
        return torch.cat([system.weight.flatten(), system.injection.flatten()])

    scaled = (value / unit).requires_grad_()
    assert torch.autograd.gradcheck(run, (scaled,))
    assert torch.autograd.gradgradcheck(run, (scaled,), atol=1e-4)


def test_differences_fill_the_range_and_are_twice_differentiable():
    bar = load_spec("rram").crossbar
    weights, unit = normal(0, 3, 4), 0.5 + torch.rand(4, dtype=torch.float64, generator=reads())
    delta, r_f = wanted_differences(weights, unit, bar)
    assert float(delta.abs().max()) == pytest.approx(bar.g_max_siemens - bar.g_min_siemens)
    torch.testing.assert_close(delta * r_f, weights * unit)

    def scaled(x: Tensor) -> Tensor:
        delta, r_f = wanted_differences(x, unit, bar)
        return torch.cat([delta.flatten() * 1e5, r_f.view(1) * 1e-5])

    weights.requires_grad_()
    assert torch.autograd.gradcheck(scaled, (weights,))
    assert torch.autograd.gradgradcheck(scaled, (weights,))


def test_slopes_of_converters_are_those_of_the_curves_that_they_round():
    dac_block, adc_block = FULL.dac, FULL.adc
    bows, noise = 40 * normal(1, 2, 3), Conditions(reads=reads())
    x = (1.3 * drives(40, 3)).requires_grad_()
    inside = (x.detach().abs() < 1).double()
    (slope,) = torch.autograd.grad(digital_to_analog(x, dac_block, bows, noise.reads).sum(), x, create_graph=True)
    codes = digital_to_analog(x.detach(), dac_block, None, None).requires_grad_()
    (truth,) = torch.autograd.grad((codes + inl(codes, bows, int(dac_block.bits))).sum(), codes)
    torch.testing.assert_close(slope, truth * inside)
    assert slope.requires_grad

    scale = 0.7
    level = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(analog_to_digital(level, adc_block, bows, reads(), scale).sum(), level)
    white = torch.randn(level.shape, generator=reads(), dtype=level.dtype) * (
        adc_block.noise_volt / adc_block.full_scale_volt
    )
    heard = level / scale + white
    bent = heard + inl(heard.clamp(-1, 1), bows, int(adc_block.bits))
    (truth,) = torch.autograd.grad((bent.clamp(-1, 1) * scale).sum(), level)
    torch.testing.assert_close(slope, truth)


def test_what_else_a_function_holds_gets_its_gradient():
    held, x = normal(0, 3).requires_grad_(), normal(1, 3)

    def scaled(x: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
        return x * held, held if wanted else None

    (found,) = torch.autograd.grad(elementwise(scaled, x.requires_grad_(), held).sum(), held)
    torch.testing.assert_close(found, x.detach())
    bows = normal(2, 2, 3).requires_grad_()
    (found,) = torch.autograd.grad(digital_to_analog(0.5 * drives(4, 3), FULL.dac, bows, None).sum(), bows)
    assert bool((found != 0).all())
