"""aihwkit's noise models and configurations arrive with their numbers, or are refused by name.

Stand-ins carry class and attribute names of aihwkit 1.2.0; with aihwkit installed the real objects are compared too.
"""

import copy
import math
from enum import Enum
from types import SimpleNamespace

import pytest
import torch

from equilog.hardware import Chip, Conditions, load_spec, program
from equilog.hardware.technology.aihwkit import from_aihwkit, read_aihwkit
from equilog.names import UserError

BASE = load_spec("rram")


def stand_in(name, **attributes):
    """An object of a class called `name`."""
    made = type(name, (), {})()
    for key, value in attributes.items():
        setattr(made, key, value)
    return made


def pair(g_max=25.0, g_min=0.0):
    return stand_in("SinglePairConductanceConverter", g_max=g_max, g_min=g_min, scale_ratio=None)


def pcm(kind="PCMLikeNoiseModel", **changed):
    standard = {
        "g_converter": pair(),
        "g_max": 25.0,
        "prog_coeff_g_max_reference": 25.0,
        "prog_coeff": [0.26348, 1.965, -1.1731],
        "t_0": 20.0,
        "t_read": 250e-9,
        "prog_noise_scale": 1.0,
        "read_noise_scale": 1.0,
        "drift_scale": 1.0,
    }
    return stand_in(kind, **(standard | changed))


def wan(**changed):
    standard = {
        "g_converter": pair(40.0),
        "g_max": 40.0,
        "coeff_g_max_reference": 40.0,
        "prog_coeff_g_max_reference": 40.0,
        "coeff_dic": {
            1.0: [0.348, 16.03, -43.853, 45.393, -16.815],
            86400.0: [0.701, 22.086, -50.773, 47.095, -16.458],
            172800.0: [0.782, 20.274, -43.507, 37.062, -11.934],
        },
        "noise_scale": 1.0,
    }
    return stand_in("ReRamWan2022NoiseModel", **(standard | changed))


class Management(Enum):
    NONE = "None"
    ABS_MAX = "AbsMax"


def forward(**changed):
    standard = {
        "is_perfect": False,
        "inp_bound": 1.0,
        "inp_noise": 0.01,
        "inp_res": 1 / (2**7 - 2),
        "inp_sto_round": False,
        "out_bound": 12.0,
        "out_noise": 0.06,
        "out_noise_std": 0.0,
        "out_res": 1 / (2**9 - 2),
        "out_scale": 1.0,
        "bound_management": Management.NONE,
        "noise_management": Management.NONE,
        "max_bm_factor": 1000,
        "w_noise": 0.0,
        "w_noise_type": "None",
        "ir_drop": 0.0,
        "ir_drop_g_ratio": 1 / 0.35 / 5e-6,
        "r_series": 0.0,
    }
    return standard | changed


def test_pcm_equals_the_preset_made_from_the_same_model():
    ours, imported = load_spec("pcm").crossbar, from_aihwkit(pcm(), BASE).crossbar
    assert imported.g_max_siemens == ours.g_max_siemens
    assert imported.programming_sigma.coefficients_siemens == pytest.approx(ours.programming_sigma.coefficients_siemens)
    assert imported.programmed_second == ours.programmed_second
    for law in ("exponent_mean", "exponent_sigma"):
        for key in ("slope", "intercept", "low", "high"):
            assert getattr(getattr(imported.drift, law), key) == getattr(getattr(ours.drift, law), key)
    assert imported.read_noise.flicker == ours.read_noise.flicker
    assert imported.read_noise.sigma is imported.levels is imported.stuck is imported.relaxation is None


def test_rram_equals_the_preset_made_from_the_same_model():
    ours, imported = BASE.crossbar, from_aihwkit(wan(), load_spec("ideal")).crossbar
    assert imported.programming_sigma.coefficients_siemens == pytest.approx(ours.programming_sigma.coefficients_siemens)
    assert imported.relaxation.sigma.coefficients_siemens == pytest.approx(ours.relaxation.sigma.coefficients_siemens)
    assert imported.relaxation.at_second == ours.relaxation.at_second
    assert imported.programmed_second == 1.0
    assert imported.drift is None


def test_what_aihwkit_does_not_model_comes_from_the_base_and_everything_has_a_source():
    spec = from_aihwkit(pcm(), BASE, "my-pcm")
    assert spec.name == "my-pcm"
    assert (spec.amplifier, spec.activation, spec.dac, spec.adc) == (
        BASE.amplifier,
        BASE.activation,
        BASE.dac,
        BASE.adc,
    )
    assert spec.crossbar.g_min_siemens == BASE.crossbar.g_min_siemens
    assert "g_converter.g_min" in spec.summary
    assert spec.unsourced() == []
    assert "aihwkit PCMLikeNoiseModel" in spec.crossbar.g_max_siemens.source


def test_nothing_of_the_replaced_device_remains():
    """Ranges and validity of the base's numbers must not stand beside imported ones."""
    base = BASE.changed(
        crossbar={
            "g_max_siemens": {"value": 4e-5, "low": 3e-5, "high": 5e-5, "valid": "somewhere"},
            "read_noise": {"sigma": {"coefficients_siemens": [1e-7], "source": "x"}},
        }
    )
    bar = from_aihwkit(pcm(), base).crossbar
    assert bar.g_max_siemens.low is bar.g_max_siemens.high is None
    assert bar.g_max_siemens.valid == bar.programming_sigma.valid == ""
    assert bar.read_noise.sigma is bar.temperature is None


def test_scales_multiply():
    changed = pcm(prog_noise_scale=2.0, drift_scale=0.5, read_noise_scale=3.0)
    bar, plain = from_aihwkit(changed, BASE).crossbar, from_aihwkit(pcm(), BASE).crossbar
    sigma = plain.programming_sigma.coefficients_siemens
    assert bar.programming_sigma.coefficients_siemens == pytest.approx([2 * c for c in sigma])
    assert (bar.drift.exponent_mean.low, bar.drift.exponent_mean.slope) == pytest.approx((0.0245, -0.00775))
    assert (bar.read_noise.flicker.coefficient, bar.read_noise.flicker.cap) == pytest.approx((0.0264, 0.6))
    assert from_aihwkit(pcm(read_noise_scale=0.0), BASE).crossbar.read_noise is None


def test_another_conductance_range_scales_the_fit():
    bar = from_aihwkit(pcm(g_converter=pair(50.0, 1.0), g_max=50.0), BASE).crossbar
    assert bar.programming_sigma.coefficients_siemens[0] == pytest.approx(2 * 0.26348e-6)
    assert (bar.g_min_siemens, bar.g_max_siemens) == (1e-6, 5e-5)


def test_the_unused_reference_conductance_is_imported_as_it_acts_and_said():
    """The default of ReRamWan2022NoiseModel applies a fit made at 40 µS to 25 µS, unscaled."""
    default = wan(g_converter=pair(25.0), g_max=25.0, coeff_g_max_reference=25.0)
    spec = from_aihwkit(default, BASE)
    assert spec.crossbar.programming_sigma.coefficients_siemens[1] == pytest.approx(16.03e-6)
    assert "fitted at 40 µS" in spec.summary
    assert "prog_coeff_g_max_reference" not in from_aihwkit(wan(), BASE).summary


def test_a_later_age_can_be_chosen():
    spec = from_aihwkit(wan(), BASE, relaxed_second=172800)
    assert spec.crossbar.relaxation.at_second == 172800
    assert "coeff_dic[86400]" in spec.summary
    with pytest.raises(UserError, match="expected one of 86400, 172800"):
        from_aihwkit(wan(), BASE, relaxed_second=10.0)
    with pytest.raises(UserError, match="no ages to choose from"):
        from_aihwkit(pcm(), BASE, relaxed_second=10.0)


def test_state_independent_model_keeps_its_units():
    """Its read noise is G/g_max, g_max in µS, added in µS: relative to G a constant 1/g_max."""
    model = stand_in(
        "StateIndependentNoiseModel", g_converter=pair(), g_max=25.0, prog_coeff=[0.2, 0.0, 0.0], prog_noise_scale=1.0,
        drift_nu_mean=0.1, drift_nu_std=0.05, drift_scale=1.0, t_0=20.0, read_noise_scale=1.0, t_read=250e-9,
    )  # fmt: skip
    bar = from_aihwkit(model, BASE).crossbar
    assert bar.programming_sigma.coefficients_siemens == pytest.approx([0.2e-6, 0, 0])
    assert bar.drift.exponent_mean.low == bar.drift.exponent_mean.high == 0.1
    assert bar.read_noise.flicker.coefficient == bar.read_noise.flicker.cap == 0.04
    assert bar.read_noise.flicker.exponent == 0


def test_custom_drift_is_taken_if_constant_and_refused_by_name_if_not():
    flat = {"g_lst": [0.0, 30.0], "nu_mean_lst": [0.06, 0.06], "nu_std_lst": [0.01, 0.01]}
    kind = "CustomDriftPCMLikeNoiseModel"
    bar = from_aihwkit(pcm(kind, custom_drift_model=flat), BASE).crossbar
    assert bar.drift.exponent_mean.low == bar.drift.exponent_mean.high == 0.06
    sloped = pcm(kind, custom_drift_model=flat | {"nu_mean_lst": [0.1, 0.05]})
    with pytest.raises(UserError, match=r"custom_drift_model.*accept=\['custom_drift_model'\]"):
        from_aihwkit(sloped, BASE)
    spec = from_aihwkit(sloped, BASE, accept=["custom_drift_model"])
    assert spec.crossbar.drift is None
    assert "custom_drift_model: left out" in spec.summary


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (stand_in("ReRamCMONoiseModel"), "ReRamCMONoiseModel is neither"),
        (stand_in("HermesNoiseModel"), "HermesNoiseModel is neither"),
        (3, "int is neither"),
        ({}, "dict is neither"),
        (
            pcm(g_converter=stand_in("DualPairConductanceConverter", g_max=25.0, g_min=0.0)),
            "DualPairConductanceConverter",
        ),
        (pcm(drift_scale=-1.0), "drift_scale = -1.0: expected 0 or more"),
        (pcm(t_0=math.nan), "t_0 = nan"),
        (pcm(g_converter=pair(0.5), g_max=0.5), "must be below g_max_siemens"),
    ],
)
def test_what_cannot_be_understood_is_refused(source, message):
    with pytest.raises(UserError, match=message):
        from_aihwkit(source, BASE)


def test_an_attribute_that_aihwkit_forgets_is_named():
    model = pcm()
    del model.prog_coeff_g_max_reference
    with pytest.raises(UserError, match=r"'prog_coeff_g_max_reference'.*aihwkit 1\.2\.0 forgets"):
        from_aihwkit(model, BASE)


def test_converters_of_a_configuration():
    spec = from_aihwkit({"forward": forward(), "noise_model": pcm()}, BASE)
    assert (spec.dac.bits, spec.adc.bits) == (7, 9)
    assert spec.dac.noise_volt == pytest.approx(0.01 * BASE.dac.full_scale_volt)
    assert spec.adc.noise_volt == pytest.approx(0.06 / 12 * BASE.adc.full_scale_volt)
    assert spec.adc.full_scale_volt == BASE.adc.full_scale_volt
    assert "forward.out_bound" in spec.summary
    assert spec.crossbar.g_max_siemens == 2.5e-5
    assert spec.unsourced() == []


def test_a_configuration_without_a_noise_model_leaves_the_devices():
    assert from_aihwkit({"forward": forward()}, BASE).crossbar == BASE.crossbar


def test_objects_and_mappings_say_the_same():
    config = SimpleNamespace(forward=SimpleNamespace(**forward()), noise_model=pcm(), mapping=None)
    assert from_aihwkit(config, BASE) == from_aihwkit({"forward": forward(), "noise_model": pcm()}, BASE)


@pytest.mark.parametrize("bits", [2, 5, 8, 12, 24])
def test_both_ways_to_write_a_resolution(bits):
    steps = 2**bits - 2
    for res in (1 / steps, float(steps)):
        # Two steps are written 2, one over two 0.5.
        spec = from_aihwkit({"forward": {"inp_res": res, "inp_bound": 1.0}}, BASE)
        assert spec.dac.bits == bits


@pytest.mark.parametrize("res", [0.0, -1.0, 1 / 256, 255.0, math.inf, math.nan])
def test_a_resolution_that_is_no_number_of_bits_is_refused(res):
    assert "forward.out_res" in read_aihwkit({"forward": {"out_res": res}}, BASE).refused


NOT_OURS = {
    "is_perfect": True,
    "inp_sto_round": True,
    "out_noise_std": 0.1,
    "out_scale": 2.0,
    "bound_management": "Iterative",
    "noise_management": Management.ABS_MAX,
    "r_series": 0.1,
    "ir_drop": 1.0,
    "something_new": 1,
}


@pytest.mark.parametrize("key", NOT_OURS)
def test_a_setting_without_counterpart_is_refused_by_name_unless_accepted(key):
    config = {"forward": forward(**{key: NOT_OURS[key]})}
    name = f"forward.{key}"
    with pytest.raises(UserError, match=rf"{name} .*accept=\['{name}'\]"):
        from_aihwkit(config, BASE)
    spec = from_aihwkit(config, BASE, accept=[name])
    assert f"{name}: left out" in spec.summary


def test_all_refused_settings_are_listed_at_once():
    with pytest.raises(UserError) as error:
        from_aihwkit({"forward": forward(**NOT_OURS)}, BASE)
    assert all(f"forward.{key} " in str(error.value) for key in NOT_OURS)


def test_accepting_what_is_not_refused_is_a_mistake():
    config = {"forward": forward(out_scale=2.0)}
    with pytest.raises(UserError, match=r"did you mean 'forward.out_scale'"):
        from_aihwkit(config, BASE, accept=["forward.out_scal"])


def test_every_setting_is_mapped_refused_skipped_or_without_effect():
    """Each of the configuration's parts appears under its name somewhere."""
    config = {
        "forward": forward(),
        "mapping": {"weight_scaling_columnwise": True, "learn_out_scaling": True, "max_input_size": 512, "new": 1},
        "pre_post": {"input_range": SimpleNamespace(enable=True)},
        "drift_compensation": stand_in("GlobalDriftCompensation"),
        "modifier": object(),
        "tile_class": object,
        "novelty": 1,
        "noise_model": stand_in("ReRamCMONoiseModel"),
    }
    found = read_aihwkit(config, BASE)
    assert set(found.refused) == {
        "mapping.weight_scaling_columnwise", "mapping.learn_out_scaling", "mapping.new", "pre_post.input_range",
        "drift_compensation", "novelty", "noise_model",
    }  # fmt: skip
    assert set(found.skipped) == {"forward.out_bound", "mapping.max_input_size", "modifier", "tile_class"}
    quiet = config | {"drift_compensation": None, "pre_post": {"input_range": SimpleNamespace(enable=False)}}
    assert not {"drift_compensation", "pre_post.input_range"} & set(read_aihwkit(quiet, BASE).refused)


def test_weight_noise_is_shared_by_the_pair():
    noisy = forward(w_noise=0.02, w_noise_type="AdditiveConstant")
    config = {"forward": noisy, "mapping": {"weight_scaling_omega": 0.5}, "noise_model": pcm()}
    bar = from_aihwkit(config, BASE).crossbar
    (sigma,) = bar.read_noise.sigma.coefficients_siemens
    # A weight of 0.5 spans the range; noise of 0.02 is 4 % of it, from two devices in power.
    assert sigma * math.sqrt(2) == pytest.approx(0.04 * (bar.g_max_siemens - bar.g_min_siemens))
    assert bar.read_noise.flicker is not None
    for spoilt in ({"mapping": {}}, {"forward": noisy | {"w_noise_type": "PCMRead"}}):
        assert "forward.w_noise" in read_aihwkit(config | spoilt, BASE).refused


def test_wires_are_suggested_in_ohms():
    by_ratio = read_aihwkit({"forward": forward(ir_drop=1.0), "noise_model": pcm()}, BASE).refused["forward.ir_drop"]
    assert "0.07 Ω" in by_ratio  # 0.35 Ω at 5 µS is 0.07 Ω at 25 µS
    by_ohm = read_aihwkit({"forward": forward(ir_drop=2.0, ir_drop_rs=0.15)}, BASE).refused["forward.ir_drop"]
    assert "0.3 Ω" in by_ohm


def test_the_source_is_not_changed():
    config = {"forward": forward(), "noise_model": pcm(), "mapping": {"weight_scaling_omega": 1.0}}
    before = copy.deepcopy({key: value for key, value in config.items() if key != "noise_model"})
    from_aihwkit(config, BASE)
    assert {key: value for key, value in config.items() if key != "noise_model"} == before


@pytest.mark.parametrize("kind", ["PCMLikeNoiseModel", "StateIndependentNoiseModel", "ReRamWan2022NoiseModel"])
def test_devices_scatter_as_the_real_models_do(kind):
    inference = pytest.importorskip(
        "aihwkit.inference", reason="aihwkit is not installed (it needs a build from source)"
    )
    torch.manual_seed(0)
    model = getattr(inference, kind)(g_max=40.0) if "ReRam" in kind else getattr(inference, kind)()
    spec = from_aihwkit(model, BASE)
    t_0 = 0.0 if "ReRam" in kind else model.t_0
    for x in (0.2, 0.5, 1.0):
        target = torch.full((400, 400), x * model.g_max)
        theirs = model.apply_programming_noise_to_conductance(target.clone())
        fresh = devices(spec, x, Conditions())
        assert float(fresh.mean()) == pytest.approx(float(theirs.mean()), rel=0.003)
        assert float(fresh.std()) == pytest.approx(float(theirs.std()), rel=0.01)
        theirs = model.apply_drift_noise_to_conductance(
            theirs, model.generate_drift_coefficients(target.clone()), 86400.0
        )
        old = devices(spec, x, Conditions(86400.0 + t_0, reads=torch.Generator().manual_seed(1)))
        assert float(old.mean()) == pytest.approx(float(theirs.mean()), rel=0.01)
        assert float(old.std()) == pytest.approx(float(theirs.std()), rel=0.03)


def devices(spec, x, when):
    """Conductances in µS of many devices of a chip programmed to x G_max."""
    bar, n = spec.crossbar, 300
    size = (x * bar.g_max_siemens - bar.g_min_siemens) / (bar.g_max_siemens - bar.g_min_siemens)
    weight = torch.full((n, n), size, dtype=torch.float64)
    weight[0, 0] = 1.0  # the largest weight spans the range
    layer = program((weight, weight.flip(0, 1), weight[1]), Chip(spec, 1), when)
    return layer.g_plus_siemens[1:-1] * 1e6
