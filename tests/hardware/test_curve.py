"""Curves from files: read as they are written by people, instruments and ngspice, or refused by line and value."""

import dataclasses
import math
import warnings

import pytest
import torch
import yaml
from builders import drives, layer_of, normal, spec_data, spec_with

from equilog.cells import Curve, Tanh
from equilog.hardware import load_spec
from equilog.hardware.curve import SteepCurveWarning, activation_of, read_curve, spline_of
from equilog.hardware.technology.blocks import MeasuredCurve
from equilog.hardware.technology.spec import spec_from_data
from equilog.names import UserError

X, Y = (-0.2, -0.05, 0.1, 0.15, 0.3), (-0.19, -0.05, 0.09, 0.125, 0.19)
ROWS = [f"{x!r},{y!r}" for x, y in zip(X, Y)]


def read(folder, text, **options):
    path = folder / "my.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_curve(path, **options)


def refusal(folder, text):
    with pytest.raises(UserError) as error:
        read(folder, text)
    assert "my.csv" in str(error.value)
    return str(error.value)


def table(delimiter=",", header="", factor=1.0, end="\n"):
    rows = [f"{x * factor!r}{delimiter}{y * factor!r}" for x, y in zip(X, Y)]
    return end.join([header, *rows] if header else rows) + end


# reading


@pytest.mark.parametrize(
    "text",
    [
        table(),
        table(header="v_in_volt,v_out_volt"),
        table(header='"Input [V]","Output [V]"'),
        table(header="in,out"),
        table("; ", header="in;out"),
        table(";").replace(".", ","),
        table("\t").replace(".", ","),
        table("\t", header="in\tout", end="\r\n"),
        table("   ", header="v-sweep v(out)"),
        table(",", end=",\n"),
        "\ufeff" + table(header="in,out"),
        "# bench 3, 5 mA\n\n" + table().replace("\n", "  # fine\n"),
        "# v_in_volt, v_out_volt\n" + table(),
    ],
)
def test_two_columns_however_separated(tmp_path, text):
    curve = read(tmp_path, text)
    assert curve.input_volt == X
    assert curve.output_volt == Y


@pytest.mark.parametrize(
    "header",
    [
        "v_in_mV,v_out_mV",
        "v_in_millivolt,v_out_millivolt",
        "in [mV],out (mV)",
        "mV,mV",
        "# in_mV out_mV",
        "#in [mV],out [mV]",
    ],
)
def test_units_of_the_header_count(tmp_path, header):
    curve = read(tmp_path, table(header=header, factor=1e3))
    assert curve.input_volt == pytest.approx(X, rel=1e-15)
    assert curve.output_volt == pytest.approx(Y, rel=1e-15)


def test_each_column_has_its_own_unit(tmp_path):
    curve = read(tmp_path, "in_volt,out_µV\n" + "\n".join(f"{x!r},{1e6 * y!r}" for x, y in zip(X, Y)))
    assert curve.input_volt == X
    assert curve.output_volt == pytest.approx(Y, rel=1e-15)


def test_what_ngspice_writes(tmp_path):
    """Verbatim from ``wrdata out.txt v(out)`` after a .dc sweep, without and with ``set wr_vecnames``."""
    rows = " -1.00000000e-01 -9.96679946e-02 \n  0.00000000e+00  0.00000000e+00 \n"
    rows += "  1.00000000e-01  9.96679946e-02 \n  2.00000000e-01  1.97375320e-01 \n"
    for text in (rows, " v-sweep         v(out)          \n" + rows):
        curve = read(tmp_path, text)
        assert curve.input_volt == (-0.1, 0.0, 0.1, 0.2)
        assert curve.output_volt[3] == 0.197375320


def test_source_is_the_one_given_or_the_one_in_the_file_or_the_file(tmp_path):
    said = "# Source: 2N3904 pair, bench 3\n# valid: 27 °C\n" + table()
    assert read(tmp_path, table()).source == "file my.csv"
    assert read(tmp_path, said).source == "2N3904 pair, bench 3"
    assert read(tmp_path, said).valid == "27 °C"
    curve = read(tmp_path, said, source="thesis", valid="30 °C")
    assert (curve.source, curve.valid) == ("thesis", "30 °C")


# refusing


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0.16,abc", "line 5: output 'abc' is not a number; expected volts"),
        ("x,0.13", "line 5: input 'x' is not a number"),
        ("in,out", "line 5: input 'in' is not a number"),
        ("0.16,nan", "line 5: output 'nan' is not finite"),
        ("-inf,0.13", "line 5: input '-inf' is not finite"),
        ("1e400,0.13", "line 5: input '1e400' is not finite"),
        ("0.15,0.13", "line 5: input 0.15 V stands twice; expected a value above"),
        ("0.16,0.125", "line 5: output 0.125 V stands twice"),
        ("0.14,0.13", "line 5: input 0.14 V after 0.15 V; expected both columns to rise"),
        ("0.16,0.12", "line 5: output 0.12 V after 0.125 V; expected both columns to rise"),
        ("0.16", "line 5: expected two columns, input and output in volts, got 1 in '0.16'"),
        ("0.16,", "line 5: expected two columns, input and output in volts, got 1"),
        ("0.16,0.13,0.14", "got 3 in '0.16,0.13,0.14'"),
        ("0,16,0,13", "got 4 in"),
    ],
)
def test_a_bad_line_is_named_with_its_value(tmp_path, line, said):
    assert said in refusal(tmp_path, "\n".join([*ROWS[:4], line, *ROWS[4:]]))


def test_lines_are_counted_as_an_editor_does(tmp_path):
    assert "line 5: output 'x'" in refusal(tmp_path, "# comment\n\nin,out\n0.1,0.1\n0.2,x\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "0 points; expected 4 to 1000"),
        ("in,out\n", "0 points; expected 4"),
        ("\n".join(ROWS[:3]), "3 points; expected 4"),
        ("\n".join(f"{k},{k}" for k in range(1001)), "1001 points; expected 4 to 1000; keep every k-th row"),
        (table(header="in [V],out [mA]"), "line 1: column 'out [mA]' is in 'ma'; expected V, mV or µV"),
        (table(header="v_in_volt,i_out_ampere"), "line 1: column 'i_out_ampere' is in 'ampere'"),
        (table(header="# v_in_volt,i_out_ampere"), "line 1: column 'i_out_ampere' is in 'ampere'"),
        (table(header="v-sweep,i(v1)"), "line 1: column 'i(v1)' is in 'v1'"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "got binary data"),
        (table().encode("utf-16"), "got binary data"),
    ],
)
def test_what_is_no_curve_is_refused(tmp_path, text, said):
    assert said in refusal(tmp_path, text)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"missing\.csv: No such file"):
        read_curve(tmp_path / "missing.csv")
    with pytest.raises(UserError, match="directory"):
        read_curve(tmp_path)


# in a technology


def technology(folder, curve, name="lab.yaml"):
    data = spec_data("rram")
    data["activation"]["curve"] = curve
    path = folder / name
    path.write_text(yaml.safe_dump(data))
    return path


def test_a_technology_names_its_curve_by_a_file_beside_it(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "my.csv").write_text(table())
    path = technology(tmp_path, {"file": "data/my.csv", "source": "bench 3", "valid": "27 °C"})
    monkeypatch.chdir("/")
    curve = load_spec(path).activation.curve
    assert curve == MeasuredCurve(input_volt=X, output_volt=Y, source="bench 3", valid="27 °C")


def test_the_stored_technology_holds_the_points_and_needs_no_file(tmp_path):
    (tmp_path / "my.csv").write_text(table())
    spec = load_spec(technology(tmp_path, {"file": "my.csv"}))
    (tmp_path / "my.csv").unlink()
    assert spec_from_data(yaml.safe_load(yaml.safe_dump(spec.model_dump(mode="json"))), "stored") == spec
    assert spec.changed(amplifier={"dc_gain": 100.0}).activation.curve == spec.activation.curve


def test_data_without_a_file_find_the_curve_from_where_one_stands(tmp_path, monkeypatch):
    (tmp_path / "my.csv").write_text(table())
    monkeypatch.chdir(tmp_path)
    data = spec_data("rram")
    data["activation"]["curve"] = {"file": "my.csv"}
    assert spec_from_data(data, "x").activation.curve.input_volt == X
    assert data["activation"]["curve"] == {"file": "my.csv"}  # the caller's data stay as they were
    assert load_spec("rram").changed(activation={"curve": {"file": "my.csv"}}).activation.curve.output_volt == Y


@pytest.mark.parametrize(
    ("curve", "said"),
    [
        ({"file": "my.csv"}, "activation.curve.file: {folder}/my.csv, line 2: output 'x'"),
        ({"file": "no.csv"}, "activation.curve.file: {folder}/no.csv: No such file"),
        ({"file": 3}, "activation.curve.file: expected text, got 3"),
        ({"file": None}, "activation.curve.file: expected text, got None"),
        ({"file": "a\0b"}, "activation.curve.file: {folder}/a"),
        ({"file": "my.csv", "source": 1}, "activation.curve.source: expected text, got 1"),
        ({"file": "my.csv", "sorce": "x"}, "unknown key 'activation.curve.sorce' (did you mean 'source'?)"),
        ({"file": "my.csv", "input_volt": [1]}, "activation.curve has both a file and input_volt"),
        ("my.csv", "activation.curve: "),
        ({"input_volt": [0, 1, 2, 2], "output_volt": [0, 1, 2, 3], "source": "x"}, "input_volt must rise"),
    ],
)
def test_a_technology_with_a_bad_curve_is_refused(tmp_path, curve, said):
    (tmp_path / "my.csv").write_text("0,0\n1,x\n")
    with pytest.raises(UserError) as error:
        load_spec(technology(tmp_path, curve))
    assert str(error.value).startswith(f"{tmp_path}/lab.yaml: ")
    assert said.format(folder=tmp_path) in str(error.value)


# what twin and netlist make of it


def measured(steep=1.0, count=81):
    v = [0.6 * (2 * k / (count - 1) - 1) for k in range(count)]
    return {
        "input_volt": v,
        "output_volt": [0.2 * math.tanh(steep * x / 0.1) for x in v],
        "source": "tanh",
    }


def test_activation_of_a_layer_without_a_curve_is_tanh():
    layer = layer_of(spec_with("rram"), 3, 2)
    phi = activation_of(layer)
    assert isinstance(phi, Tanh)
    assert torch.equal(phi.gain, layer.act_gain)
    assert torch.equal(phi.shift, layer.act_offset_volt / 0.1)


def test_activation_of_a_layer_with_a_curve_is_the_curve_in_volts():
    spec = spec_with("rram", {"activation.curve": measured()})
    layer = layer_of(spec, 3, 2)
    phi = activation_of(layer)
    v = 0.2 * normal(1, 50, 3)
    s = 0.2 * layer.act_gain * torch.tanh((v - layer.act_offset_volt) / 0.1)
    torch.testing.assert_close(0.2 * phi(v / 0.1), s, rtol=0, atol=2e-5 * 0.2)
    assert phi.v_scale_volt == 0.1
    assert activation_of(layer).spline is phi.spline  # made once, not at every step of training


def test_rails_of_the_amplifier_come_along():
    for curve in (None, measured()):
        spec = spec_with("rram", {"activation.curve": curve, "amplifier.rail_volt": 0.3})
        assert activation_of(layer_of(spec, 3, 2)).rail == pytest.approx(3)


@pytest.mark.parametrize("curve", [None, measured()], ids=["tanh", "curve"])
def test_every_chip_of_a_population_has_its_own(curve):
    layer = layer_of(spec_with("rram", {"activation.curve": curve}), 3, 2)
    gain, offset = 1 + 0.1 * normal(1, 4, 3), 0.01 * normal(2, 4, 3)
    many = activation_of(dataclasses.replace(layer, act_gain=gain, act_offset_volt=offset))
    p = normal(3, 4, 5, 3)
    assert many.gain.shape == many.shift.shape == (4, 1, 3)
    for chip in range(4):
        one = activation_of(dataclasses.replace(layer, act_gain=gain[chip], act_offset_volt=offset[chip]))
        assert torch.equal(many(p)[chip], one(p[chip]))
        assert torch.equal(many.slope(p)[chip], one.slope(p[chip]))


def test_a_curve_too_steep_for_certificates_is_warned_of_once():
    curve = MeasuredCurve(**measured(steep=1.25, count=121))
    with pytest.warns(SteepCurveWarning, match=r"up to 1\.25 V_s/V_a.*v_scale_volt = 0\.08 or less"):
        spline = spline_of(curve, 0.1, 0.2)
    assert spline.max_slope == pytest.approx(1.25, rel=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spline_of(curve, 0.1, 0.2)
        assert spline_of(curve, 0.08, 0.2).max_slope == pytest.approx(1, rel=1e-3)


def test_a_layer_in_single_precision():
    layer = layer_of(spec_with("rram", {"activation.curve": measured()}), 3, 2).to(torch.float32)
    phi = activation_of(layer)
    assert isinstance(phi, Curve)
    assert phi(drives(4, 3).float()).dtype == torch.float32
