"""`equilog hardware` as a user runs it: list, sheet, check; text, JSON and exit codes."""

import json

import pytest
import yaml
from builders import spec_data
from typer.testing import CliRunner

from equilog.cli import app
from equilog.hardware import load_spec, preset_names
from equilog.hardware.technology.blocks import ClampedLog, Polynomial
from equilog.hardware.technology.sheet import clamped_log, polynomial, rows
from equilog.names import UserError


def run(*arguments):
    return CliRunner().invoke(app, ["hardware", *map(str, arguments)], env={"COLUMNS": "250", "NO_COLOR": "1"})


@pytest.fixture
def mine(tmp_path):
    def write(changes=None, extra=None):
        data = spec_data("rram", {"name": "mine"} | (changes or {})) | (extra or {})
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
        return path

    return write


def test_the_list_names_every_preset_and_how_much_of_it_is_assumed():
    done = run("--json")
    listed = json.loads(done.stdout)
    assert [row["name"] for row in listed] == preset_names()
    assert all(0 < row["assumptions"] <= row["figures"] for row in listed)
    text = run().stdout
    assert all(name in text for name in preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_the_sheet_shows_every_number_with_range_source_and_validity(name):
    spec = load_spec(name)
    shown = {row.name: row for row in rows(spec)}
    for key, figure in spec.figures().items():
        assert shown[key].figure == figure
        assert figure.source in shown[key].about
        assert figure.valid in shown[key].about
    done = run(name)
    assert done.exit_code == 0
    for figure in spec.figures().values():
        assert f"{figure:g}" in done.stdout
        if figure.low is not None:
            assert f"{figure.low:g} … " in done.stdout
    assert all(key in done.stdout for key in shown)


def test_laws_are_shown_as_formulas():
    shown = {row.name: row.about for row in rows(load_spec("pcm"))}
    assert shown["crossbar.programming_sigma"].startswith("f(x) = (0.26348 + 1.965 x − 1.1731 x²) µS, x = G/G_max; ")
    assert "−0.0155 ln x + 0.0244, at least 0.049 and at most 0.1" in shown["crossbar.drift.exponent_mean"]
    assert "valid: " in shown["crossbar.drift.exponent_mean"]
    assert "read_noise.sigma" in " ".join(row.name for row in rows(load_spec("sonos-flash")))


@pytest.mark.parametrize(
    ("coefficients", "text"),
    [
        ([2e-7], "200 nS"),
        ([0.0], "0 pS"),
        ([0.0, 6e-8], "(60 x) nS"),
        ([-1e-6, 0.0, 2e-6], "(−1 + 2 x²) µS"),
        ([1.0], "1 S"),
        ([0.0] * 10 + [-1e-3], "(−1 x¹⁰) mS"),
    ],
)
def test_polynomials_read_as_people_write_them(coefficients, text):
    assert text in polynomial(Polynomial(coefficients_siemens=tuple(coefficients), source="x"))


def test_a_constant_exponent_is_a_number():
    assert clamped_log(ClampedLog(slope=0.0, intercept=0.06, low=0.0, high=1.0, source="x")) == "f(x) = 0.06"
    assert clamped_log(ClampedLog(slope=0.0, intercept=0.06, low=0.1, high=1.0, source="x")) == "f(x) = 0.1"


def test_a_measured_curve_is_summed_up(mine):
    curve = {"input_volt": [-1.0, -0.1, 0.1, 1.0], "output_volt": [-0.2, -0.1, 0.1, 0.2], "source": "[bench] 3"}
    done = run(mine({"activation.curve": curve}))
    assert "4 points, -1 V to 1 V in, -0.2 V to 0.2 V out; [bench] 3" in done.stdout


def test_json_of_one_technology_can_be_read_back(tmp_path):
    path = tmp_path / "copy.yaml"
    path.write_text(run("pcm", "--json").stdout)
    assert load_spec(path) == load_spec("pcm")


def test_check_of_a_good_file(mine):
    done = run("check", mine())
    assert done.exit_code == 0
    assert "no mistakes" in done.stdout
    assert "warning" not in done.stdout
    assert run("check", "rram").exit_code == 0


def test_check_warns_of_what_is_implausible_and_unsourced(mine):
    path = mine({"adc.full_scale_volt": 0.1, "dac.bits": 8})
    done = run("check", path)
    assert done.exit_code == 0
    assert "warning: adc.full_scale_volt, activation.v_out_volt: the ADC clips at 0.1 V" in done.stdout
    assert "without a source: dac.bits, adc.full_scale_volt" in done.stdout
    data = json.loads(run("check", path, "--json").stdout)
    assert data["doubts"][0]["keys"] == ["adc.full_scale_volt", "activation.v_out_volt"]
    assert data["unsourced"] == ["dac.bits", "adc.full_scale_volt"]


def test_check_lists_every_mistake_and_exits_with_2(mine):
    path = mine({"amplifier.dc_gain": -1.0}, {"crosbar": {}})
    done = run("check", path)
    assert done.exit_code == 2
    assert "2 mistakes" in done.stdout
    assert "unknown key 'crosbar' (did you mean 'crossbar'?)" in done.stdout
    as_data = run("check", path, "--json")
    assert as_data.exit_code == 2
    assert len(json.loads(as_data.stdout)["mistakes"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check"], "equilog hardware check FILE"),
        (["check", "none.yaml"], "none.yaml: No such file"),
        (["check", "/"], "/ is a directory"),
        (["rram", "board"], "one technology at a time"),
    ],
)
def test_mistakes_in_the_command_are_explained(arguments, message):
    done = run(*arguments)
    assert isinstance(done.exception, UserError)
    assert message in str(done.exception)
