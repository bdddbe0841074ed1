"""Effects turned down: nothing left at 0, the technology itself at 1, and every effect smaller in between."""

import pytest
import torch
from builders import monotone, normal

from equilog.hardware import Chip, Conditions, Population, load_spec, preset_names, program, without
from equilog.hardware.effects import SWITCHES
from equilog.hardware.effects.strength import at_strength
from equilog.hardware.twin import adc, dac

# What only matters in time, or is no imperfection.
KEPT = ("slew", "rails", "curve", "rounding")


def realised(spec, seeds=range(6), age=1e6):
    n = 5
    matrices = monotone(n, 1.5, 0), normal(1, n, 2), normal(2, n)
    layer = program(matrices, Population(spec, seeds), Conditions(age, 320.0, torch.Generator().manual_seed(0)))
    gained = layer.effective / (1 + layer.noise_gain / layer.dc_gain)[..., None]
    return (gained - layer.target).square().mean().sqrt()


@pytest.mark.parametrize("name", [n for n in preset_names() if n != "board"])
def test_errors_shrink_with_the_strength(name):
    spec = load_spec(name)
    errors = [float(realised(at_strength(spec, s))) for s in (0.0, 0.25, 0.5, 1.0)]
    assert errors[0] < 1e-6
    assert errors == sorted(errors)
    assert errors[-1] == float(realised(spec))


def test_the_technology_itself_at_one():
    spec = load_spec("pcm")
    assert at_strength(spec, 1.0) is spec


def test_nothing_is_left_at_zero():
    spec = load_spec("pcm").changed(crossbar={"levels": 16}, amplifier={"input_bias_ampere": 1e-9})
    off = without(spec, *(name for name in SWITCHES if name not in KEPT))
    layer, bare = (
        program((monotone(4, 1.5, 0), normal(1, 4, 2), normal(2, 4)), Chip(s, 0)) for s in (at_strength(spec, 0.0), off)
    )
    for a, b in (
        (layer.effective, bare.effective),
        (layer.act_gain, bare.act_gain),
        (layer.amp_offset_volt, bare.amp_offset_volt),
    ):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-12)
    x = torch.linspace(-1, 1, 8, dtype=torch.float64).view(4, 2)
    torch.testing.assert_close(dac(layer, x), x, rtol=0, atol=1e-6)
    z = torch.linspace(-1, 1, 16, dtype=torch.float64).view(4, 4)
    torch.testing.assert_close(adc(layer, z), z, rtol=0, atol=1e-6)


def test_converters_and_levels_become_coarser():
    made = [at_strength(load_spec("rram"), s) for s in (0.125, 0.25, 0.5, 1.0)]
    assert [int(s.adc.bits) for s in made] == [11, 10, 9, 8]
    assert [int(s.crossbar.levels) for s in made] == [249, 125, 63, 32]


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_other_strengths_are_refused(strength):
    with pytest.raises(ValueError, match="expected 0 to 1"):
        at_strength(load_spec("rram"), strength)
