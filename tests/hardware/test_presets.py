"""Presets: every number with a source, published laws as published, plausible, and usable by chip and twin."""

import math

import pytest
import torch
from builders import drives, layer_of, matrices

from equilog.equilibrium import EquilibriumLayer
from equilog.hardware import Chip, Conditions, Population, load_spec, preset_names, program
from equilog.hardware.effects import only
from equilog.hardware.technology.blocks import ClampedLog, MeasuredCurve, Polynomial
from equilog.hardware.technology.check import check_technology
from equilog.hardware.twin import dac, static_system
from equilog.names import Strict

PRESETS = ["board", "cmos-sky130", "ideal", "lucidac", "optical", "pcm", "rram", "sonos-flash"]
# What the figures of README and guidelines rest on.
FROZEN = {
    "rram": {
        "crossbar.g_min_siemens": 1e-6,
        "crossbar.g_max_siemens": 4e-5,
        "crossbar.levels": 32,
        "amplifier.dc_gain": 1e4,
        "amplifier.gbw_hertz": 1e8,
        "amplifier.offset_sigma_volt": 5e-4,
        "amplifier.c_feedback_farad": 4e-12,
        "activation.v_scale_volt": 0.1,
        "activation.v_out_volt": 0.2,
        "activation.gain_sigma": 0.02,
        "activation.offset_sigma_volt": 2e-3,
        "dac.bits": 8,
        "adc.bits": 8,
        "adc.full_scale_volt": 0.22,
    },
    "board": {"crossbar.g_min_siemens": 1e-7, "crossbar.g_max_siemens": 1e-4, "activation.v_scale_volt": 0.052},
    "ideal": {"crossbar.g_min_siemens": 1e-9, "crossbar.g_max_siemens": 1e-4, "activation.v_scale_volt": 1.0},
}
AT_REST_AS_EVER = ["board", "ideal", "rram"]


def laws(block: Strict, prefix=""):
    for key in type(block).model_fields:
        value = getattr(block, key)
        if isinstance(value, (Polynomial, ClampedLog, MeasuredCurve)):
            yield prefix + key, value
        elif isinstance(value, Strict):
            yield from laws(value, f"{prefix}{key}.")


def at(law: Polynomial, x: float) -> float:
    return sum(c * x**k for k, c in enumerate(law.coefficients_siemens))


def test_these_are_the_presets():
    assert preset_names() == PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_sources_without_exception(name):
    spec = load_spec(name)
    assert spec.name == name
    assert spec.unsourced() == []
    for key, law in laws(spec):
        assert law.source.strip(), key


@pytest.mark.parametrize("name", PRESETS)
def test_the_check_has_nothing_to_say(name):
    checked = check_technology(name)
    assert (checked.mistakes, checked.unsourced, checked.doubts) == ((), (), ())


@pytest.mark.parametrize("name", FROZEN)
def test_numbers_that_published_figures_rest_on(name):
    figures = load_spec(name).figures()
    assert {key: figures[key] for key in FROZEN[name]} == FROZEN[name]


@pytest.mark.parametrize("name", AT_REST_AS_EVER)
def test_effects_that_would_move_published_figures_are_absent(name):
    spec = load_spec(name)
    bar = spec.crossbar
    assert bar.stuck is bar.wires is bar.read_noise is bar.drift is None
    assert spec.amplifier.input_bias_ampere is None
    for block in (spec.dac, spec.adc):
        assert block.inl_lsb is block.noise_volt is None


@pytest.mark.parametrize("name", AT_REST_AS_EVER)
def test_a_fresh_chip_at_room_temperature_is_what_it_was_without_the_later_blocks(name):
    spec = load_spec(name)
    bare = spec.changed(
        crossbar={"relaxation": None, "temperature": None, "programmed_second": None},
        amplifier={"noise_volt_per_rthz": None, "slew_volt_per_second": None, "rail_volt": None},
        detector=None,
    )
    now, then = layer_of(spec, 6, 3), layer_of(bare, 6, 3)
    assert torch.equal(now.g_plus_siemens, then.g_plus_siemens)
    assert torch.equal(now.g_minus_siemens, then.g_minus_siemens)
    p = [at_rest(layer, drives(8, 3)) for layer in (now, then)]
    assert torch.equal(*p)


def at_rest(layer, drive):
    return EquilibriumLayer(on_failure="raise").rest(static_system(layer, dac(layer, drive)))


@pytest.mark.parametrize("name", PRESETS)
def test_a_small_monotone_cell_is_programmed_and_settles(name):
    spec = load_spec(name)
    layer = layer_of(spec, 6, 3, norm=1.5)
    error = (layer.effective - layer.target).abs().max() / layer.target.abs().max()
    assert error < 0.25
    assert 1e-9 < layer.time_constant_second < 1e-2
    p = at_rest(layer, drives(8, 3))
    assert p.isfinite().all()
    old = Conditions(age_second=86400.0, temperature_kelvin=310.0, reads=torch.Generator().manual_seed(1))
    aged = layer_of(spec, 6, 3, norm=1.5, conditions=old)
    assert at_rest(aged, drives(8, 3)).isfinite().all()


def spread(spec, x, age=None):
    """Mean and standard deviation of many devices programmed to x G_max, in units of G_max."""
    bar, n = spec.crossbar, 100
    size = (x * bar.g_max_siemens - bar.g_min_siemens) / (bar.g_max_siemens - bar.g_min_siemens)
    weight, more = torch.full((2, n, n), size, dtype=torch.float64).unbind(0)
    weight[0, 0] = 1.0  # the largest weight spans the range
    g = program((weight, more, more[0]), Chip(spec, 1), Conditions(age_second=age)).g_plus_siemens.flatten()[1:]
    return float(g.mean()) / bar.g_max_siemens, float(g.std()) / bar.g_max_siemens


def test_rram_relaxes_as_published():
    """Wan et al. 2022: at most 2.3 µS after 1 s, 4.0 µS after one day, of 40 µS (aihwkit's fit, evaluated by hand)."""
    bar = load_spec("rram").crossbar
    xs = torch.linspace(0, 1, 201).tolist()
    assert max(at(bar.programming_sigma, x) for x in xs) == pytest.approx(2.3e-6, rel=0.05)
    assert max(at(bar.relaxation.sigma, x) for x in xs) == pytest.approx(4.0e-6, rel=0.05)
    assert at(bar.relaxation.sigma, 0.5) == pytest.approx(3.909e-6, rel=1e-3)
    spec = only(load_spec("rram"), "programming-error")
    assert spread(spec, 0.5, 86400.0)[1] == pytest.approx(3.909 / 40, rel=0.05)


def test_pcm_is_the_published_model():
    bar = load_spec("pcm").crossbar
    assert at(bar.programming_sigma, 1.0) == pytest.approx(1.05538e-6)
    assert bar.reference_second == 20.0
    spec = only(load_spec("pcm"), "drift")
    # ν = 0.049 at full conductance (the clamp), 0.0601 at x = 0.1; a day is (86400/20)^−ν.
    assert spread(spec, 1.0, 86400.0)[0] == pytest.approx(4320**-0.049, rel=0.005)
    assert spread(spec, 0.1, 86400.0)[0] == pytest.approx(0.1 * 4320 ** -(0.0155 * math.log(10) + 0.0244), rel=0.02)


def test_sonos_polynomials_follow_the_published_exponentials():
    bar = load_spec("sonos-flash").crossbar
    volt = 0.06
    current = float(bar.g_max_siemens) * volt
    assert current == pytest.approx(1.714e-6, rel=1e-3)
    cases = [
        (bar.programming_sigma, 19.88665e-9, 176.3115e-9),
        (bar.relaxation.sigma, 25.59102e-9, 186.85544e-9),
        (bar.read_noise.sigma, 12.58037e-9, 215.36557e-9),
    ]
    for law, amplitude, scale in cases:
        for x in torch.linspace(0, 1, 101).tolist():
            published = amplitude * (1 - math.exp(-x * current / scale))
            assert at(law, x) * volt == pytest.approx(published, abs=0.03e-9)
    assert at(bar.relaxation.shift, 1.0) * volt == pytest.approx(-13.7e-9, rel=0.01)


def test_mirrors_of_sky130_differ_by_the_root_of_their_units():
    bar = load_spec("cmos-sky130").crossbar
    largest = 0.065 / math.sqrt(31) * bar.g_max_siemens
    for code in range(32):
        assert at(bar.programming_sigma, code / 31) == pytest.approx(largest * math.sqrt(code / 31), abs=0.08 * largest)


@pytest.mark.parametrize(("name", "tau"), [("lucidac", 1e-4), ("optical", 2e-8)])
def test_time_constants_that_are_published(name, tau):
    """1/k₀ of the LUCIDAC at a coefficient of 1; 20 ns an iteration of the optical computer at a weight of 1."""
    spec = load_spec(name)
    act, bar = spec.activation, spec.crossbar
    unit = 1.0 if name == "lucidac" else float(act.v_scale_volt / act.v_out_volt)
    r_feedback = unit / (bar.g_max_siemens - bar.g_min_siemens)
    assert r_feedback * spec.amplifier.c_feedback_farad == pytest.approx(tau, rel=0.02)


def test_chips_of_a_preset_differ():
    spec = load_spec("pcm")
    layer = layer_of(spec, 5, 2)
    both = program(matrices(5, 2), Population(spec, (0, 1)))
    assert torch.equal(both.g_plus_siemens[0], layer.g_plus_siemens)
    assert not torch.equal(both.g_plus_siemens[0], both.g_plus_siemens[1])
