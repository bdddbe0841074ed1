"""ngspice's noise analysis of the netlist gives the twin's noise at rest to 1 %, and the right parts make it."""

import re

import pytest
import torch
from builders import NO_MISMATCH, layer_of, spec_with
from golden.registry import CASES, Case

from equilog.circuit import Ngspice, NoiseBench, noise, rest, write_circuit
from equilog.equilibrium import EquilibriumLayer
from equilog.hardware import Chip, program
from equilog.hardware.noise import noise_at_rest
from equilog.hardware.transient import Transient
from equilog.hardware.twin import static_system

TOLERANCE = 0.01


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
def test_thermal_noise(case: Case, simulator: Ngspice, tmp_path):
    layer, played = case.layer(), case.played()[[0, 3]]
    nodes = sorted({0, case.n // 2, case.n - 1})
    ours, theirs = both(layer, played, nodes, simulator, tmp_path)
    assert ((theirs / ours - 1).abs() <= TOLERANCE).all()


@pytest.mark.parametrize("changes", [{}, {"amplifier.dc_gain": 50.0}, {"amplifier.gbw_hertz": 1e7}])
@pytest.mark.ngspice
def test_amplifier_noise_on_top(changes, simulator, tmp_path):
    case = Case("amplifier noise", 5, 2, changes=changes, norm=1.0)
    layer, played = case.layer(), case.played()[2:]
    without, _ = both(layer, played, [0, 4], simulator, tmp_path)
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


@pytest.mark.ngspice
def test_exactly_the_crossbar_and_the_feedback_make_noise(simulator, tmp_path):
    case = Case("parts", 3, 2)
    layer, played = case.layer(), case.played()[3:]
    parts = {
        f"r{kind}_{i}_{k}"
        for kind, g in (("p", layer.g_plus_siemens), ("m", layer.g_minus_siemens))
        for i, k in (g > 0).nonzero().tolist()
    }
    parts |= {f"r.xn{i}.xint.rf" for i in range(3)}
    write_circuit(layer, tmp_path, noise=NoiseBench(played, [0]))
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
    write_circuit(layer, tmp_path, noise=NoiseBench(played, [0, 1, 2]))
    blocks = tmp_path / "blocks.lib"
    blocks.write_text(blocks.read_text().replace("Rf x v {rf}", "Rf x v {rf} noisy=0"))
    ours = noise_at_rest(layer, rest_volt(layer, played)).rms_volt
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
