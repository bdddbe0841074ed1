"""Checking a technology: mistakes stop, doubts name the numbers that do not go together, sources are asked for."""

import pytest
import yaml
from builders import spec_data, spec_with

from equilog.hardware.technology.check import check_technology, doubts
from equilog.names import UserError

# What is changed in the RRAM preset, and the first key of the doubt that it raises.
IMPLAUSIBLE = {
    "activation beyond the rails": ({"amplifier.rail_volt": 0.25}, "activation.v_scale_volt"),
    "rails beyond the supply": ({"amplifier.rail_volt": 1.8}, "amplifier.rail_volt"),
    "ADC clips states": ({"adc.full_scale_volt": 0.15}, "adc.full_scale_volt"),
    "ADC range mostly unused": ({"adc.full_scale_volt": 1.0}, "adc.full_scale_volt"),
    "drives dwarf states": ({"dac.full_scale_volt": 2.0}, "dac.full_scale_volt"),
    "states dwarf drives": ({"dac.full_scale_volt": 0.02}, "dac.full_scale_volt"),
    "INL of many codes": ({"dac.inl_lsb": 20.0}, "dac.inl_lsb"),
    "deafening ADC noise": ({"adc.noise_volt": 0.05}, "adc.noise_volt"),
    "amplifier slower than its integrator": ({"amplifier.gbw_hertz": 1e7}, "amplifier.gbw_hertz"),
    "gain too low for the fan-in": ({"amplifier.dc_gain": 20.0}, "amplifier.dc_gain"),
    "offsets larger than the signal": ({"amplifier.offset_sigma_volt": 0.05}, "amplifier.offset_sigma_volt"),
    "slews instead of settling": ({"amplifier.slew_volt_per_second": 1e5}, "amplifier.slew_volt_per_second"),
    "bias current through R_f": ({"amplifier.input_bias_ampere": 1e-4}, "amplifier.input_bias_ampere"),
    "timeout before the first report": ({"detector.timeout_second": 2.5e-7}, "detector.timeout_second"),
    "timeout shorter than settling": ({"detector.timeout_second": 3.5e-7}, "detector.timeout_second"),
    "offsets above the threshold": ({"detector.offset_sigma_volt": 1e-3}, "detector.threshold_volt"),
    "threshold above everything": ({"detector.threshold_volt": 0.5}, "detector.threshold_volt"),
    "lag too short to see": ({"detector.window_second": 1e-9}, "detector.window_second"),
    "coefficients in µS": (
        {"crossbar.programming_sigma": {"coefficients_siemens": [0.3, 16.0], "source": "x"}},
        "crossbar.programming_sigma",
    ),
    "negative deviation": (
        {"crossbar.programming_sigma": {"coefficients_siemens": [1e-6, -2e-6], "source": "x"}},
        "crossbar.programming_sigma",
    ),
    "negative read noise": (
        {"crossbar.read_noise": {"sigma": {"coefficients_siemens": [-1e-6], "source": "x"}}},
        "crossbar.read_noise.sigma",
    ),
    "per cent instead of a fraction": ({"crossbar.temperature.per_kelvin": 0.3}, "crossbar.temperature.per_kelvin"),
    "most devices stuck": (
        {"crossbar.stuck": {"low_fraction": 0.3, "high_fraction": 0.3, "low_siemens": 0.0, "high_siemens": 1e-5}},
        "crossbar.stuck.low_fraction",
    ),
    "shorts": (
        {"crossbar.stuck": {"low_fraction": 0.0, "high_fraction": 0.01, "low_siemens": 0.0, "high_siemens": 1.0}},
        "crossbar.stuck.high_siemens",
    ),
    "wires eat the signal": ({"crossbar.wires": {"word_line_ohm": 1.0, "bit_line_ohm": 20.0}}, "crossbar.wires"),
    "curve too steep": (
        {
            "activation.curve": {
                "input_volt": [-0.1, -0.01, 0.01, 0.1],
                "output_volt": [-0.2, -0.19, 0.19, 0.2],
                "source": "x",
            }
        },
        "activation.curve",
    ),
}


def written(tmp_path, data, name="mine.yaml"):
    path = tmp_path / name
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    return path


@pytest.mark.parametrize("case", IMPLAUSIBLE)
def test_what_is_implausible_is_named(case):
    changes, key = IMPLAUSIBLE[case]
    found = doubts(spec_with("rram", changes))
    assert key in [doubt.keys[0] for doubt in found]
    for doubt in found:
        assert "\n" not in doubt.message
        assert not any(f"{{{word}" in doubt.message for word in ("amp", "found", "typical"))


@pytest.mark.parametrize("case", ["activation beyond the rails", "ADC clips states", "drives dwarf states"])
def test_one_thing_raises_one_doubt(case):
    assert len(doubts(spec_with("rram", IMPLAUSIBLE[case][0]))) == 1


def test_the_numbers_are_in_the_message():
    (doubt,) = doubts(spec_with("rram", {"adc.full_scale_volt": 0.15}))
    assert "0.15 V" in doubt.message
    assert "0.2 V" in doubt.message


def test_a_good_file_has_no_doubts_and_a_plain_number_lacks_a_source(tmp_path):
    data = spec_data("rram", {"name": "mine", "dac.bits": 8})
    data["crossbar"]["programming_sigma"]["source"] = " "
    checked = check_technology(written(tmp_path, data))
    assert checked.spec.name == "mine"
    assert checked.mistakes == ()
    assert checked.doubts == ()
    assert checked.unsourced == ("dac.bits", "crossbar.programming_sigma")
    assert checked.to_data()["usable"] is True


def test_every_mistake_stands_alone_with_the_nearest_key(tmp_path):
    data = spec_data("rram", {"amplifier.dc_gain": -1.0})
    data["adc"]["bit"] = 8
    checked = check_technology(written(tmp_path, data))
    assert checked.spec is None
    assert len(checked.mistakes) == 2
    assert "amplifier.dc_gain" in checked.mistakes[0]
    assert checked.mistakes[1] == "unknown key 'adc.bit' (did you mean 'bits'?)"
    assert checked.to_data()["usable"] is False


def test_a_file_by_any_name(tmp_path, monkeypatch):
    written(tmp_path, spec_data("rram"), "process.txt")
    monkeypatch.chdir(tmp_path)
    assert check_technology("process.txt").spec is not None


@pytest.mark.parametrize("text", ["", "- 1", "a: [1", "name: !!python/object/apply:os.system ['true']"])
def test_what_is_no_technology_at_all_is_a_mistake(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert len(check_technology(path).mistakes) == 1


def test_missing_files_and_directories_say_so(tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml: No such file.*board, cmos-sky130"):
        check_technology(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="is a directory"):
        check_technology(tmp_path)
