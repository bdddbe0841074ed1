"""A measured activation in ngspice is the twin's, piece by piece; and a real transistor pair becomes such a curve."""

import math
import re
import subprocess
from dataclasses import dataclass, replace
from importlib import resources

import pytest
import torch
from builders import drives, layer_of, spec_with
from scipy.constants import Boltzmann, elementary_charge, zero_Celsius
from torch import Tensor

from equilog.cells import Curve, MonotoneSpline
from equilog.circuit import rest, write_circuit
from equilog.circuit.curve import curve_subckt, with_curve
from equilog.circuit.netlist import OP_OPTIONS
from equilog.equilibrium import EquilibriumLayer
from equilog.hardware.curve import activation_of, read_curve, spline_of
from equilog.hardware.technology.blocks import MeasuredCurve
from equilog.hardware.twin import static_system

V_A, V_S, GAIN, OFFSET = 0.1, 0.2, 1.0371234567891234, -0.0023123456789123457


def even(count):
    x = torch.linspace(-6, 6, count, dtype=torch.float64)
    return MonotoneSpline(x, x.tanh())


def uneven():
    """Nothing like a tanh: asymmetric, with a flat, a step and limited slopes."""
    x = torch.tensor([-3.0, -2.1, -1.9, -0.3, 0.0, 0.2, 0.25, 1.0, 2.0, 2.2, 3.7], dtype=torch.float64)
    y = torch.tensor([-1.3, -1.1, -0.4, -0.4, -0.1, 0.0, 0.3, 0.31, 0.5, 0.9, 0.95], dtype=torch.float64)
    return MonotoneSpline(x, y)


SPLINES = {"4": even(4), "20": even(20), "100": even(100), "uneven": uneven()}


def bench(folder, subckt, analysis, control):
    parameters = f"va={V_A!r} vs={V_S!r} gain={GAIN!r} vos={OFFSET!r}"
    lines = ["* one activation", subckt, f"Xact v sp sn activation {parameters}", "Vin v 0 dc 0 ac 1"]
    lines += [
        f".options {OP_OPTIONS}",
        *analysis,
        ".control",
        "set filetype=binary",
        *control,
        "quit 0",
        ".endc",
        ".end",
    ]
    (folder / "bench.cir").write_text("\n".join([*lines, ""]))


def sweep(simulator, folder, subckt, start, stop, step):
    bench(folder, subckt, [f".dc Vin {start} {stop} {step}"], ["run", "write sweep.raw"])
    (plot,) = simulator.run(folder, "bench.cir", "sweep.raw")
    return [torch.from_numpy(plot[name].copy()) for name in ("v(v)", "v(sp)", "v(sn)")]


@pytest.mark.ngspice
@pytest.mark.parametrize("name", SPLINES)
def test_swept_within_and_beyond_its_points_it_is_the_twin(name, simulator, tmp_path):
    spline = SPLINES[name]
    v, positive, negative = sweep(simulator, tmp_path, curve_subckt(spline), -0.85, 0.85, 0.00037)
    twin = Curve(spline, GAIN, OFFSET / V_A)
    assert twin.outside(v / V_A).sum() > 100
    expected = V_S * twin(v / V_A)
    full_scale = V_S * GAIN
    torch.testing.assert_close(positive, expected, rtol=0, atol=1e-9 * full_scale)
    torch.testing.assert_close(negative, -expected, rtol=0, atol=1e-9 * full_scale)


@pytest.mark.ngspice
def test_small_signals_see_its_slope(simulator, tmp_path):
    """AC and noise analyses linearise the block: ngspice differentiates the expression, branches and all."""
    volts = [-0.8, -0.3, -0.19, -0.17, -0.001, 0.013, 0.05, 0.21, 0.3, 0.9]
    control = []
    for value in volts:
        control += [f"alter Vin dc = {value}", "tf v(sp) Vin", "set appendwrite", "write tf.raw", "destroy all"]
    bench(tmp_path, curve_subckt(SPLINES["uneven"]), [], control)
    plots = simulator.run(tmp_path, "bench.cir", "tf.raw")
    found = [float(plot["v(transfer_function)"][0]) for plot in plots]
    twin = Curve(SPLINES["uneven"], GAIN, OFFSET / V_A)
    expected = V_S / V_A * twin.slope(torch.tensor(volts, dtype=torch.float64) / V_A)
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), expected, rtol=1e-8, atol=1e-8)
    assert found[0] == found[-1] == 0


def test_constants_are_written_to_the_last_digit():
    """ngspice rounds what it reads in a B source to 11 digits, so numbers come as sums of two."""
    spline = SPLINES["uneven"]
    text = curve_subckt(spline)
    written = {eval(match, {}) for match in re.findall(r"\(-?[\d.]+(?:e[+-]\d+)?(?:[+-][\d.]+e[+-]\d+)?\)", text)}
    for number in [*spline.knots.tolist(), *spline.coefficients.flatten().tolist(), *spline.values[[0, -1]].tolist()]:
        assert number in written
    for digits in re.findall(r"\d[\d.]*(?:e[+-]?\d+)?", text.partition("Bact")[2].partition("Einv")[0]):
        assert float(f"{float(digits):.10e}") == float(digits)


def test_an_evaluation_passes_few_comparisons():
    depth = deepest = 0
    for character in curve_subckt(SPLINES["100"]):
        depth += {"(": 1, ")": -1}.get(character, 0)
        deepest = max(deepest, depth)
    assert depth == 0
    assert deepest <= math.ceil(math.log2(101)) + 5  # five brackets within a piece
    assert max(map(len, curve_subckt(SPLINES["100"]).splitlines())) < 300


def test_the_curve_takes_the_place_of_the_tanh_and_of_nothing_else():
    blocks = (resources.files("equilog.circuit") / "blocks.lib").read_text(encoding="utf-8")
    text = with_curve(blocks, SPLINES["4"])
    assert "tanh" not in text
    assert [line for line in text.splitlines() if line.startswith(".subckt")] == [
        line for line in blocks.splitlines() if line.startswith(".subckt")
    ]
    before, after = blocks.split("* Activation")[0], blocks.split(".ends activation")[1]
    assert text == before + curve_subckt(SPLINES["4"]) + after.removeprefix("\n")
    with pytest.raises(ValueError, match="found 0"):
        with_curve(blocks.replace("activation", "other"), SPLINES["4"])


# a transistor pair, characterised


PAIR = """* Bipolar differential pair with resistive loads
.model npn npn (is=6.7f bf=416 vaf=74 ikf=67m ise=6.7f ne=1.26 br=0.74 rb=10 rc=1)
Vcc vcc 0 dc 5
Vee vee 0 dc -5
Ein1 b1 0 in 0 0.5
Ein2 b2 0 in 0 -0.5
R1 vcc c1 2k
R2 vcc c2 2k
Q1 c1 b1 e npn
Q2 c2 b2 e npn
Itail e vee dc 100u
Eout out 0 c2 c1 1
Vin in 0 dc 0
.options temp=27 reltol=1e-8 vntol=1e-12 abstol=1e-16
.dc Vin {start} {stop} {step}
.control
set filetype=binary
set wr_vecnames
set numdgt=12
run
wrdata pair.txt v(out)
write pair.raw v(in) v(out)
quit 0
.endc
.end
"""


def characterise(simulator, folder, points, reach):
    """Sweep the pair as a user would, and return what ``wrdata`` wrote."""
    step = 2 * reach / (points - 1)
    (folder / "pair.cir").write_text(PAIR.format(start=-reach, stop=reach + step / 4, step=step))
    (plot,) = simulator.run(folder, "pair.cir", "pair.raw")  # in a copy of the folder, which is gone
    subprocess.run([simulator.program, "-n", "-b", "pair.cir"], cwd=folder, capture_output=True, check=False)
    return folder / "pair.txt", *(torch.from_numpy(plot[name].copy()) for name in ("v(in)", "v(out)"))


@dataclass(frozen=True)
class Pair:
    """What was characterised, a finer sweep to compare with, and the scales that make it a tanh."""

    curve: MeasuredCurve
    fine_input_volt: Tensor
    fine_output_volt: Tensor
    v_a: float
    v_s: float


@pytest.fixture(scope="module")
def pair(simulator, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    two_vt = 2 * Boltzmann * (zero_Celsius + 27) / elementary_charge
    _, fine_input, fine_output = characterise(simulator, folder, 1001, 6 * two_vt)
    path, *_ = characterise(simulator, folder, 61, 6 * two_vt)
    curve = read_curve(path, source="simulated")
    return Pair(curve, fine_input, fine_output, two_vt, (curve.output_volt[-1] - curve.output_volt[0]) / 2)


@pytest.mark.ngspice
def test_a_transistor_pair_is_a_tanh_to_half_a_percent(pair):
    assert len(pair.curve.input_volt) == 61
    spline = spline_of(pair.curve, pair.v_a, pair.v_s)
    p = pair.fine_input_volt / pair.v_a
    away = float((spline(p) - p.tanh()).abs().max())
    assert 5e-4 < away < 6e-3
    assert spline.max_slope == pytest.approx(1, abs=0.02)


@pytest.mark.ngspice
def test_the_curve_of_a_transistor_pair_holds_between_its_points(pair):
    found = pair.v_s * spline_of(pair.curve, pair.v_a, pair.v_s)(pair.fine_input_volt / pair.v_a)
    torch.testing.assert_close(found, pair.fine_output_volt, rtol=0, atol=1e-4 * pair.v_s)


@pytest.mark.ngspice
def test_a_layer_of_transistor_pairs_rests_where_its_twin_rests(pair, simulator, tmp_path):
    changes = {
        "activation.curve": pair.curve.model_dump(),
        "activation.v_scale_volt": pair.v_a,
        "activation.v_out_volt": pair.v_s,
        "amplifier.rail_volt": None,
    }
    layer, played = layer_of(spec_with("rram", changes), 6, 3, norm=1.5), drives(4, 3) / 2
    phi = activation_of(layer)
    write_circuit(layer, tmp_path, rest=played)
    blocks = tmp_path / "blocks.lib"
    if "tanh" in blocks.read_text():
        blocks.write_text(with_curve(blocks.read_text(), phi.spline))
    p = EquilibriumLayer(on_failure="raise").rest(replace(static_system(layer, played), activation=phi))
    v, s = rest(simulator, tmp_path, 6, 4)
    assert not phi.outside(p).any()
    torch.testing.assert_close(v / pair.v_a, p, rtol=0, atol=1e-7)
    torch.testing.assert_close(s / pair.v_s, phi(p), rtol=0, atol=1e-7)
