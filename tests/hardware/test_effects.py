"""Each effect of the hardware: its gradient, its draw, its switch, and what it does to a conductance."""

import math

import pytest
import torch
from builders import NO_MISMATCH, drives, layer_of, matrices, normal, spec_with
from golden.registry import EVERY_STATIC_EFFECT, PCM_DRIFT, READ_NOISE, RELAXATION, STUCK, WIRES
from torch import Tensor

from equilog.equilibrium import Auto, EquilibriumLayer
from equilog.hardware import Chip, Conditions, Population, load_spec, only, program, without
from equilog.hardware.effects import DEVICE_EFFECTS, NEURON_EFFECTS, SWITCHES, Devices
from equilog.hardware.effects.converter import analog_to_digital, digital_to_analog, inl
from equilog.hardware.twin import adc, dac, static_system
from equilog.names import UserError

FULL = spec_with("rram", EVERY_STATIC_EFFECT)
SMOOTH = [effect for effect in DEVICE_EFFECTS if effect.name not in ("levels", "e-series")]
SHAPE = torch.Size([2, 3, 4])


def reads(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def devices(seed: int = 0) -> Tensor:
    """Conductances inside the range, away from the clamps."""
    return 5e-6 + 3e-5 * torch.rand(SHAPE, dtype=torch.float64, generator=reads(seed))


@pytest.mark.parametrize("effect", SMOOTH, ids=lambda e: e.name)
def test_gradient_of_every_device_effect(effect):
    drawn = effect.sample(Chip(FULL, 3), SHAPE)

    def forward(scaled: Tensor) -> Tensor:
        when = Conditions(3600.0, 330.0, reads())
        return effect.forward(Devices.of(scaled * 1e-5), drawn, FULL.crossbar, when).now * 1e5

    assert effect.present(FULL.crossbar)
    assert torch.autograd.gradcheck(forward, (devices().mul(1e5).requires_grad_(),))


def test_gradient_of_the_whole_chip():
    spec = spec_with(
        "rram", EVERY_STATIC_EFFECT | {"crossbar.levels": None, "crossbar.e_series": None, "crossbar.stuck": None}
    )
    weight, input_weight, bias = matrices(3, 2, norm=1.0)
    rest = EquilibriumLayer(Auto(rtol=1e-12))

    def forward(w: Tensor, u: Tensor, b: Tensor, played: Tensor) -> Tensor:
        # The largest weight sets R_f; it is kept out of the way of the differences taken here.
        layer = program((w, u, b), Chip(spec, 1), Conditions(3600.0, 320.0, reads()))
        return rest(static_system(layer, played))

    inputs = [t.clone().requires_grad_() for t in (weight, input_weight, bias, 0.5 * drives(2, 2))]
    assert torch.autograd.gradcheck(forward, inputs, atol=1e-5)


def test_gradients_of_converters():
    dac_block, adc_block = FULL.dac, FULL.adc
    bows = normal(1, 2, 3)

    def straight(x: Tensor) -> Tensor:
        return inl(x, bows, 8)

    assert torch.autograd.gradcheck(straight, (drives(4, 3).requires_grad_(),))
    x = (0.9 * drives(4, 3)).requires_grad_()
    for convert, block in ((digital_to_analog, dac_block), (analog_to_digital, adc_block)):
        # Straight through the rounding: the slope of the smooth part, one and the bow's.
        (grad,) = torch.autograd.grad(convert(x, block, None, None).sum(), x)
        assert torch.equal(grad, torch.ones_like(x))


@pytest.mark.parametrize("effect", [*DEVICE_EFFECTS, *NEURON_EFFECTS], ids=lambda e: e.name)
def test_a_switch_takes_out_its_own_effect_only(effect):
    off = without(FULL, effect.name)
    when = Conditions(3600.0, 330.0)
    noisy = Conditions(3600.0, 330.0, reads())
    chosen = noisy if effect.name == "read-noise" else when
    with_it = program(matrices(3, 2), Chip(FULL, 1), chosen)
    without_it = program(matrices(3, 2), Chip(off, 1), chosen)
    differs = {
        name
        for name in ("g_plus_siemens", "amp_offset_volt", "act_gain", "act_offset_volt")
        if not torch.equal(getattr(with_it, name), getattr(without_it, name))
    }
    expected = {
        "amplifier-offset": "amp_offset_volt",
        "activation-gain": "act_gain",
        "activation-offset": "act_offset_volt",
    }.get(effect.name, "g_plus_siemens")
    assert differs == {expected}


def test_everything_switched_off_is_the_ideal_cell():
    layer = program(matrices(4, 3), Chip(only(FULL), 1), Conditions(3600.0, 300.0, reads()))
    assert torch.allclose(layer.effective, layer.target, rtol=1e-12, atol=1e-13)
    played = drives(5, 3)
    ideal = EquilibriumLayer().rest(static_system(layer, played))
    weight, input_weight, bias = matrices(4, 3)
    assert torch.allclose(torch.tanh(ideal) @ weight.T + played @ input_weight.T + bias, ideal, atol=1e-3)


def test_a_misspelt_switch_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'stuck'"):
        without(FULL, "stuk")
    with pytest.raises(UserError, match="unknown effect"):
        only(FULL, "wire")


def test_every_switch_changes_a_valid_technology():
    for name in SWITCHES:
        without(FULL, name)


def test_a_chip_is_the_same_alone_and_in_any_population():
    when = Conditions(86400.0, 310.0)
    alone = program(matrices(4, 2), Chip(FULL, 7), when)
    crowd = program(matrices(4, 2), Population(FULL, [3, 7, 11]), when)
    assert crowd.chips == 3
    for name in ("g_plus_siemens", "g_minus_siemens", "amp_offset_volt", "act_gain"):
        assert torch.equal(getattr(crowd, name)[1], getattr(alone, name)), name
    # What wires make of them is eliminated together, which some processors round otherwise than one alone.
    for name in ("transfer_siemens", "load_siemens"):
        torch.testing.assert_close(getattr(crowd, name)[1], getattr(alone, name), rtol=1e-12, atol=1e-18)
    drive = drives(6, 2)
    rest = EquilibriumLayer(Auto(rtol=1e-10))
    z_alone = adc(alone, rest(static_system(alone, dac(alone, drive))))
    z_crowd = adc(crowd, rest(static_system(crowd, dac(crowd, drive))))
    assert torch.allclose(z_crowd[1], z_alone, atol=1e-9)
    assert not torch.allclose(z_crowd[0], z_alone, atol=1e-3)


def test_reads_differ_and_mismatch_stays():
    spec = spec_with("rram", {"crossbar.read_noise": READ_NOISE})
    source = reads()
    first = program(matrices(4, 2), Chip(spec, 1), Conditions(reads=source))
    second = program(matrices(4, 2), Chip(spec, 1), Conditions(reads=source))
    again = program(matrices(4, 2), Chip(spec, 1), Conditions(reads=reads()))
    assert not torch.equal(first.g_plus_siemens, second.g_plus_siemens)
    assert torch.equal(first.g_plus_siemens, again.g_plus_siemens)
    assert torch.equal(first.act_gain, second.act_gain)


def test_read_noise_has_the_spread_it_claims():
    spec = spec_with("rram", NO_MISMATCH | {"crossbar.read_noise": READ_NOISE})
    age = 3600.0
    g = torch.full((2, 200, 200), 1e-5, dtype=torch.float64)
    effect = next(e for e in DEVICE_EFFECTS if e.name == "read-noise")
    noisy = effect.forward(Devices.of(g), None, spec.crossbar, Conditions(age, reads=reads())).now
    x = 1e-5 / 4e-5
    flicker = 1e-5 * min(0.0088 / x**0.65, 0.2) * math.sqrt(math.log((age + 2.5e-7) / 5e-7))
    expected = math.hypot(1e-7 + 1e-6 * x, flicker)
    assert float(noisy.std()) == pytest.approx(expected, rel=0.02)  # 80,000 draws: 0.25 %


def test_drift_is_the_power_law():
    spec = spec_with("rram", NO_MISMATCH | {"crossbar.drift": PCM_DRIFT, "crossbar.programmed_second": 20.0})
    fresh = layer_of(spec, 4, 2)
    month = layer_of(spec, 4, 2, conditions=Conditions(2.592e6))
    exponent = -(month.g_plus_siemens / fresh.g_plus_siemens).log() / math.log(2.592e6 / 20)
    xi = Chip(spec, 0).standard_normal("crossbar.drift", 2, 4, 7)[0]
    log_x = (fresh.g_plus_siemens / 4e-5).log()
    mean = (-0.0155 * log_x + 0.0244).clamp(0.049, 0.1)
    sigma = (-0.0125 * log_x - 0.0059).clamp(0.008, 0.045)
    assert torch.allclose(exponent, (mean + sigma * xi).abs(), atol=1e-12)
    younger = layer_of(spec, 4, 2, conditions=Conditions(1.0))  # never younger than the figures
    assert torch.equal(younger.g_plus_siemens, fresh.g_plus_siemens)


def test_relaxation_reaches_its_figures_at_its_age():
    spec = spec_with("rram", {"crossbar.levels": None, "crossbar.relaxation": RELAXATION})
    later = layer_of(spec, 5, 3, conditions=Conditions(86400.0))
    asked = layer_of(spec_with("rram", NO_MISMATCH), 5, 3).g_plus_siemens
    xi = Chip(spec, 0).standard_normal("crossbar.programming", 2, 5, 9)[0]
    x = asked / 4e-5
    assert torch.allclose(later.g_plus_siemens, (asked - 1e-6 * x + (1e-6 + 5e-6 * x) * xi).clamp(min=0), rtol=1e-12)


def test_stuck_devices_are_as_many_as_claimed_and_nested():
    spec = spec_with("rram", NO_MISMATCH | {"crossbar.stuck": STUCK})
    g = layer_of(spec, 60, 20).g_plus_siemens
    assert float((g == 0).double().mean()) == pytest.approx(0.05, abs=0.012)
    assert float((g == 4e-5).double().mean()) == pytest.approx(0.03, abs=0.01)
    more_stuck = spec_with("rram", NO_MISMATCH | {"crossbar.stuck": STUCK | {"low_fraction": 0.1}})
    more = layer_of(more_stuck, 60, 20).g_plus_siemens
    assert bool(((more == 0) | (g != 0)).all())


def test_temperature_scales_every_device_but_never_below_zero():
    spec = spec_with("rram", {"crossbar.temperature": {"per_kelvin": -0.01, "reference_kelvin": 300.0}})
    cold, warm, hot = (layer_of(spec, 3, 2, conditions=Conditions(None, k)) for k in (300.0, 350.0, 450.0))
    assert torch.allclose(warm.g_plus_siemens, 0.5 * cold.g_plus_siemens)
    assert not bool(hot.g_plus_siemens.any())


def test_wires_lose_current_and_load_is_symmetric():
    plain = layer_of(spec_with("rram", NO_MISMATCH), 6, 3)
    wired = layer_of(spec_with("rram", NO_MISMATCH | {"crossbar.wires": WIRES}), 6, 3)
    assert wired.wired
    assert not plain.wired
    assert bool((wired.row_conductance_siemens < plain.row_conductance_siemens).all())
    assert torch.allclose(wired.load_siemens, wired.load_siemens.T, atol=1e-18)
    assert torch.equal(wired.g_plus_siemens, plain.g_plus_siemens)


def test_inl_bends_most_inside_and_not_at_the_ends():
    bows = torch.tensor([[2.0], [0.0]], dtype=torch.float64)
    x = torch.linspace(-1, 1, 2001, dtype=torch.float64)[:, None]
    bend = inl(x, bows, 8) * 127
    assert float(bend.abs().max()) == pytest.approx(2.0, rel=1e-5)
    assert abs(float(bend[0])) < 1e-12
    assert abs(float(bend[-1])) < 1e-12


@pytest.mark.parametrize(
    ("age", "kelvin"), [(0.0, 300.0), (-1.0, 300.0), (math.inf, 300.0), (1.0, 0.0), (1.0, math.nan)]
)
def test_impossible_conditions_are_refused(age, kelvin):
    with pytest.raises(ValueError, match="expected a t"):
        Conditions(age, kelvin)


def test_an_empty_population_is_refused():
    with pytest.raises(ValueError, match="at least one seed"):
        Population(load_spec("rram"), [])
