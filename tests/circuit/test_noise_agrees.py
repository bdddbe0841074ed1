"""ngspice's noise analysis of the netlist gives the twin's noise at rest to 0.1 %, and the right parts make it."""

import re

import pytest
import torch
from builders import NO_MISMATCH, layer_of, spec_with
from golden.registry import CASES, Case

from equilog.circuit import Ngspice, NoiseBench, noise, rest, write_circuit
from equilog.equilibrium import EquilibriumLayer
from equilog.hardware import Chip, program
from equilog.hardware.noise import noise_at_rest
from equilog.hardware.noise.lyapunov import lyapunov
from equilog.hardware.noise.model import linear_circuit
from equilog.hardware.transient import Transient
from equilog.hardware.twin import static_system

TOLERANCE = 1e-3


def rest_volt(layer, played):
    p = EquilibriumLayer(on_failure="raise").rest(static_system(layer, played))
    return p * layer.spec.activation.v_scale_volt


def both(layer, played, nodes, simulator, folder, **conditions):
    """Noise in volts rms, twin and simulator, each of shape (samples, nodes)."""
    write_circuit(layer, folder, noise=NoiseBench(played, nodes, **conditions))
    theirs = noise(simulator, folder, len(nodes), len(played))
    return noise_at_rest(layer, rest_volt(layer, played), **conditions).rms_volt[:, nodes], theirs


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.ngspice
def test_noise_of_the_technology(case: Case, simulator: Ngspice, tmp_path):
    """At the temperature of its conditions and with the amplifier noise of its technology, as both do unasked."""
    layer, played = case.layer(), case.played()[[0, 3]]
    nodes = sorted({0, case.n // 2, case.n - 1})
    ours, theirs = both(layer, played, nodes, simulator, tmp_path)
    assert ((theirs - ours).abs() <= TOLERANCE * ours).all()


@pytest.mark.ngspice
def test_an_output_at_its_rail_makes_no_noise(simulator, tmp_path):
    case = next(case for case in CASES if case.name == "rails in reach")
    layer, played = case.layer(), case.played()[[3]]
    still = rest_volt(layer, played)[0].abs() >= layer.spec.amplifier.rail_volt
    assert still.any()
    assert not still.all()
    ours, theirs = both(layer, played, list(range(case.n)), simulator, tmp_path)
    assert (ours[0, still] == 0).all()
    assert (theirs[0, still] < 1e-6 * theirs[0, ~still].min()).all()


@pytest.mark.parametrize("case", [case for case in CASES if case.n <= 6][::3], ids=lambda case: case.name)
@pytest.mark.ngspice
def test_thermal_noise_alone(case: Case, simulator: Ngspice, tmp_path):
    layer, played = case.layer(), case.played()[[3]]
    ours, theirs = both(layer, played, [0, case.n - 1], simulator, tmp_path, amplifier_noise=0.0)
    assert ((theirs / ours - 1).abs() <= TOLERANCE).all()


WIRED = Case("wires", 4, 2, changes={"crossbar.wires": {"word_line_ohm": 5e3, "bit_line_ohm": 500.0}}, norm=1.0)
"""lines so bad that neurons hear each other's noise, and their own twice"""


@pytest.mark.parametrize(
    "conditions", [{}, {"amplifier_noise": 0.0}, {"amplifier_noise": 5e-8, "temperature_kelvin": 200.0}]
)
@pytest.mark.ngspice
def test_resistive_wires(conditions, simulator, tmp_path):
    layer, played = WIRED.layer(), WIRED.played()[2:]
    ours, theirs = both(layer, played, [0, 1, 2, 3], simulator, tmp_path, **conditions)
    assert ((theirs / ours - 1).abs() <= TOLERANCE).all()


@pytest.mark.parametrize("amplifier_noise", [0.0, 2e-9])
@pytest.mark.ngspice
def test_correlation_through_wires(amplifier_noise, simulator, tmp_path):
    """ngspice looks at the difference of two outputs: twice their covariance is missing from it."""
    layer, played = WIRED.layer(), WIRED.played()[3:]
    write_circuit(layer, tmp_path, noise=NoiseBench(played, [0], amplifier_noise=amplifier_noise))
    deck = tmp_path / "noise.cir"
    deck.write_text(deck.read_text().replace("noise v(v0) ", "noise v(v0,v3) "))
    of_difference = float(noise(simulator, tmp_path, 1, 1)) ** 2
    covariance = noise_at_rest(layer, rest_volt(layer, played), amplifier_noise=amplifier_noise).covariance_volt2[0]
    expected = float(covariance[0, 0] + covariance[3, 3] - 2 * covariance[0, 3])
    assert of_difference == pytest.approx(expected, rel=TOLERANCE)
    apart = float(covariance[0, 0] + covariance[3, 3])
    assert abs(apart / expected - 1) > 20 * TOLERANCE  # there is correlation to get right


@pytest.mark.ngspice
def test_noise_currents_of_a_wired_array_are_correlated(simulator, tmp_path):
    """The comparison can fail: currents of the same size, each on its own, are not what ngspice hears."""
    layer, played = WIRED.layer(), WIRED.played()[3:]
    ours, theirs = both(layer, played, [0, 1, 2, 3], simulator, tmp_path, amplifier_noise=0.0)
    circuit = linear_circuit(layer, rest_volt(layer, played), amplifier_noise=0.0)
    a, q = circuit.matrix()[0], circuit.intensity()[0]
    alone = lyapunov(a, q.diagonal(dim1=1, dim2=2).diag_embed())[0].diagonal(dim1=1, dim2=2)[:, 4:].sqrt()
    assert ((theirs / ours - 1).abs() <= TOLERANCE).all()
    assert ((theirs / alone - 1).abs() > 5 * TOLERANCE).any()


@pytest.mark.parametrize("changes", [{}, {"amplifier.dc_gain": 50.0}, {"amplifier.gbw_hertz": 1e7}])
@pytest.mark.ngspice
def test_amplifier_noise_on_top(changes, simulator, tmp_path):
    case = Case("amplifier noise", 5, 2, changes=changes, norm=1.0)
    layer, played = case.layer(), case.played()[2:]
    without = noise_at_rest(layer, rest_volt(layer, played), amplifier_noise=0.0).rms_volt[:, [0, 4]]
    ours, theirs = both(layer, played, [0, 4], simulator, tmp_path, temperature_kelvin=358.0, amplifier_noise=20e-9)
    assert (ours > 1.2 * without).all()  # both kinds of noise count
    assert ((theirs / ours - 1).abs() <= TOLERANCE).all()


@pytest.mark.ngspice
def test_a_ringing_circuit(simulator, tmp_path):
    spec = spec_with("rram", NO_MISMATCH | {"amplifier.gbw_hertz": 2e8})
    w = torch.tensor([[0.0, 6.0], [-6.0, 0.0]], dtype=torch.float64)
    small = torch.full((2, 1), 1e-3, dtype=torch.float64)
    layer, played = program((w, small, small[:, 0]), Chip(spec, 0)), torch.zeros(1, 1, dtype=torch.float64)
    poles = torch.linalg.eigvals(Transient(layer, played).linearised(rest_volt(layer, played)))[0]
    assert float((poles.imag / poles.real).abs().max()) > 5  # it rings
    ours, theirs = both(layer, played, [0, 1], simulator, tmp_path)
    assert ((theirs / ours - 1).abs() <= TOLERANCE).all()


def summary(simulator, folder):
    """ngspice's own integrals at the first node, volts rms: the total, and the thermal noise of every part."""
    deck = folder / "noise.cir"
    text = re.sub(r"(noise v\(v0\) .*)", r"\1 1", deck.read_text())
    deck.write_text(text.replace("setplot previous\n", "").replace(" onoise_spectrum\n", "\n"))
    plot = simulator.run(folder, "noise.cir", "noise.raw")[0]
    found = {match[1]: float(plot[name][0]) for name in plot.names if (match := re.search(PART, name))}
    return float(plot["v(onoise_total)"][0]), {part for part, volt in found.items() if volt != 0}  # nan is not none


PART = r"onoise_total_(.*)_thermal"


@pytest.mark.parametrize("wires", [None, {"word_line_ohm": 30.0, "bit_line_ohm": 20.0}])
@pytest.mark.ngspice
def test_exactly_the_crossbar_its_wires_and_the_feedback_make_noise(wires, simulator, tmp_path):
    case = Case("parts", 3, 2, changes={"crossbar.wires": wires})
    layer, played = case.layer(), case.played()[3:]
    parts = {
        f"r{kind}_{i}_{k}"
        for kind, g in (("p", layer.g_plus_siemens), ("m", layer.g_minus_siemens))
        for i, k in (g > 0).nonzero().tolist()
    }
    parts |= {f"r.xn{i}.xint.rf" for i in range(3)}
    if wires:
        lines = 2 * layer.g_plus_siemens.shape[1]
        parts |= {f"rw_{k}_{i}" for k in range(lines) for i in range(3)}
        parts |= {f"rb_{i}_{k}" for k in range(lines) for i in range(3)}
    write_circuit(layer, tmp_path, noise=NoiseBench(played, [0], amplifier_noise=0.0))
    assert summary(simulator, tmp_path)[1] == parts
    write_circuit(layer, tmp_path, noise=NoiseBench(played, [0], amplifier_noise=1e-8))
    assert summary(simulator, tmp_path)[1] == parts | {f"r.xn{i}.xint.rnoise" for i in range(3)}


@pytest.mark.ngspice
def test_our_integral_is_that_of_ngspice(simulator, tmp_path):
    case = Case("integral", 1, 2)
    write_circuit(case.layer(), tmp_path, noise=NoiseBench(case.played()[3:], [0], amplifier_noise=1e-8))
    ours = float(noise(simulator, tmp_path, 1, 1))
    assert summary(simulator, tmp_path)[0] == pytest.approx(ours, rel=1e-4)


@pytest.mark.ngspice
def test_a_part_without_its_noise_is_noticed(simulator, tmp_path):
    """The comparison can fail: feedback resistors that make no noise are seen."""
    case = Case("spoilt", 3, 2)
    layer, played = case.layer(), case.played()[3:]
    write_circuit(layer, tmp_path, noise=NoiseBench(played, [0, 1, 2], amplifier_noise=0.0))
    blocks = tmp_path / "blocks.lib"
    blocks.write_text(blocks.read_text().replace("Rf x v {rf}", "Rf x v {rf} noisy=0"))
    ours = noise_at_rest(layer, rest_volt(layer, played), amplifier_noise=0.0).rms_volt
    assert ((noise(simulator, tmp_path, 3, 1) / ours - 1).abs() > TOLERANCE).all()


@pytest.mark.ngspice
def test_the_noise_source_leaves_the_resting_point_alone(simulator, tmp_path):
    case = Case("rest", 4, 2)
    layer, played = case.layer(), case.played()
    write_circuit(layer, tmp_path, rest=played, noise=NoiseBench(played, [0], amplifier_noise=1e-8))
    v, _ = rest(simulator, tmp_path, 4, len(played))
    assert (v - rest_volt(layer, played)).abs().max() <= 1e-6 * layer.spec.activation.v_scale_volt


@pytest.mark.parametrize(
    "wrong",
    [{"nodes": [3]}, {"nodes": [-1]}, {"temperature_kelvin": 0.0}, {"amplifier_noise": -1e-9},
     {"temperature_kelvin": float("nan")}],
)  # fmt: skip
def test_a_bench_that_cannot_be_is_refused(wrong, tmp_path):
    layer = layer_of(spec_with("rram"), 3, 2)
    with pytest.raises(ValueError, match=r"neuron|temperature"):
        write_circuit(layer, tmp_path, noise=NoiseBench(**({"played": torch.zeros(1, 2), "nodes": [0]} | wrong)))


def test_a_stale_noise_bench_is_removed(tmp_path):
    layer = layer_of(spec_with("rram"), 2, 1)
    write_circuit(layer, tmp_path, noise=NoiseBench(torch.zeros(1, 1), [0]))
    write_circuit(layer, tmp_path)
    assert not (tmp_path / "noise.cir").exists()
