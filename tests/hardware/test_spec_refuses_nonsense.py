"""A technology file with a mistake is refused by a message that names the key and the value."""

import pytest
from builders import spec_data, spec_with

from equilog.hardware import load_spec
from equilog.hardware.technology.spec import spec_from_data
from equilog.names import UserError

NUMBERS = ["crossbar.g_max_siemens", "amplifier.gbw_hertz", "activation.v_scale_volt", "adc.energy_joule"]
BAD_NUMBERS = [
    float("nan"),
    float("inf"),
    -1.0,
    0.0,
    "high",
    "",
    True,
    [1.0],
    {},
    {"value": "many"},
    {"value": float("nan")},
    {"source": "no value"},
    None,
    10**400,  # beyond any float
]


def refusal(changes):
    with pytest.raises(UserError) as error:
        spec_from_data(_with("rram", changes), "file.yaml")
    message = str(error.value)
    assert message.startswith("file.yaml: ")
    return message


def _with(preset, changes):
    """Like `spec_data`, but keeps None and values that YAML cannot write."""
    data = spec_data(preset)
    for name, value in changes.items():
        *path, key = name.split(".")
        block = data
        for part in path:
            block = block[part]
        block[key] = value
    return data


@pytest.mark.parametrize("value", BAD_NUMBERS, ids=lambda v: repr(v)[:20])
@pytest.mark.parametrize("key", NUMBERS)
def test_bad_number_is_named(key, value):
    message = refusal({key: value})
    assert key in message


@pytest.mark.parametrize("value", ["high", -1.0])
def test_the_value_itself_is_shown(value):
    assert repr(value) in refusal({"amplifier.dc_gain": value})


@pytest.mark.parametrize("bits", [1.5, 1, 0, 25, -8, "eight"])
@pytest.mark.parametrize("converter", ["dac", "adc"])
def test_bits_are_whole_and_few(converter, bits):
    assert f"{converter}.bits" in refusal({f"{converter}.bits": bits})


@pytest.mark.parametrize("levels", [1, 0, 2.5, -4, 2**21])
def test_levels_are_whole_and_two_or_more(levels):
    assert "crossbar.levels" in refusal({"crossbar.levels": levels})


@pytest.mark.parametrize("sigma", [-1e-3, float("nan")])
def test_a_standard_deviation_is_not_negative(sigma):
    assert "amplifier.offset_sigma_volt" in refusal({"amplifier.offset_sigma_volt": sigma})


@pytest.mark.parametrize("g_min", [4e-5, 1e-3])
def test_range_of_conductance_must_not_be_empty(g_min):
    message = refusal({"crossbar.g_min_siemens": g_min})
    assert f"g_min_siemens = {g_min}" in message
    assert "must be below g_max_siemens" in message


@pytest.mark.parametrize("coefficients", [[], ["x"], [float("nan")], 3, None])
def test_bad_polynomial_is_named(coefficients):
    sigma = {"coefficients_siemens": coefficients, "source": "x"}
    assert "crossbar.programming_sigma.coefficients_siemens" in refusal({"crossbar.programming_sigma": sigma})


def test_value_outside_its_own_range():
    message = refusal({"amplifier.dc_gain": {"value": 10, "low": 20}})
    assert "amplifier.dc_gain" in message
    assert "low = 20" in message


@pytest.mark.parametrize(
    ("key", "bound"),
    [
        ("amplifier.load_farad", {"low": -1e-12}),
        ("amplifier.gm_over_id", {"low": 0}),
        ("activation.gain_sigma", {"low": -0.1}),
    ],
)
def test_a_bound_is_as_plausible_as_a_value(key, bound):
    """A capacitance from −1 pF to 1 pF is no range; the cost estimate would divide by it or refuse it far away."""
    value = 15.0 if key == "amplifier.gm_over_id" else 1e-12
    assert key in refusal({key: {"value": value, "source": "x"} | bound})


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("amplifier.gbw_herz", "gbw_hertz"),
        ("crosbar", "crossbar"),
        ("dac.bit", "bits"),
        ("crossbar.programming_sigma.coefficents_siemens", "coefficients_siemens"),
    ],
)
def test_unknown_key_names_the_nearest(wrong, right):
    message = refusal({wrong: 1.0})
    assert f"unknown key {wrong!r}" in message
    assert f"did you mean {right!r}" in message


def test_unknown_key_of_a_figure_is_named():
    message = refusal({"amplifier.gbw_hertz": {"value": 1e8, "sorce": "x"}})
    assert "amplifier.gbw_hertz" in message
    assert "sorce" in message


def test_missing_block_and_missing_number_are_named():
    data = spec_data("rram")
    del data["adc"], data["amplifier"]["dc_gain"]
    with pytest.raises(UserError, match=r"amplifier\.dc_gain: Field required.*adc: Field required"):
        spec_from_data(data, "x")


def test_all_mistakes_are_listed_at_once():
    message = refusal({"amplifier.dc_gain": -1, "dac.bits": 1.5, "adc.typo": 1})
    assert all(part in message for part in ("amplifier.dc_gain", "dac.bits", "adc.typo"))


@pytest.mark.parametrize("block", ["crossbar", "amplifier", "activation", "dac", "adc"])
@pytest.mark.parametrize("value", [3, "x", [], None])
def test_a_block_is_a_mapping(block, value):
    assert block in refusal({block: value})


@pytest.mark.parametrize(
    "name",
    ["x\n.control\nshell ls", "a b", "../up", "", "A", "-n", "x\n", "x;ls", "$(ls)", "`ls`", "x" * 60, 3, None],
)
def test_hostile_names_are_refused(name):
    assert "name" in refusal({"name": name})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected a mapping"),
        ("- 1\n- 2\n", "expected a mapping"),
        ("just words", "expected a mapping"),
        ("a: [1, 2", "not valid YAML"),
        ("a: b: c", "not valid YAML"),
        ("\tname: x", "not valid YAML"),
        ("name: !!python/object/apply:os.system ['touch /tmp/equilog-was-here']", "not valid YAML"),
        ("name: !unknown x", "not valid YAML"),
        ("summary: 2024-13-45", "not valid YAML"),
        ("amplifier: " + "9" * 5000, "not valid YAML"),
        ("[" * 1200, "not valid YAML"),
        ("1: 2", "name: Field required"),
    ],
    ids=lambda t: repr(t[:24]),
)
def test_a_file_that_is_no_technology(tmp_path, text, says):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=says) as error:
        load_spec(path)
    assert str(path) in str(error.value)


def test_binary_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(UserError, match=r"mine\.yaml is not valid YAML"):
        load_spec(path)


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml: No such file"):
        load_spec(tmp_path / "none.yaml")
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(UserError, match=r"folder\.yaml: Is a directory"):
        load_spec(tmp_path / "folder.yaml")


@pytest.mark.parametrize("name", ["rramm", "Ideal", "boards"])
def test_unknown_preset_names_the_nearest_and_all(name):
    with pytest.raises(UserError, match="did you mean") as error:
        load_spec(name)
    assert "board, cmos-sky130, ideal" in str(error.value)


def test_a_spec_cannot_be_changed_in_place():
    spec = spec_with("rram")
    with pytest.raises(ValueError, match="frozen"):
        spec.amplifier.dc_gain = 3.0
