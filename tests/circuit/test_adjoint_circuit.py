"""The chip's own array, driven from its bit lines, rests at the implicit gradient, in ngspice too."""

import re
from dataclasses import replace

import pytest
import torch
from builders import CONTINUOUS, drives, layer_of, matrices, normal, spec_with
from golden.registry import MEASURED, WIRES

from equilog.circuit import Ngspice
from equilog.circuit.adjoint import (
    adjoint_circuit,
    adjoint_gradient,
    adjoint_rest,
    adjoint_twin,
    assemble,
    write_adjoint,
)
from equilog.circuit.netlist import OP_OPTIONS, TRAN_OPTIONS
from equilog.equilibrium import Auto, EquilibriumLayer
from equilog.hardware import Chip, ProgrammedLayer, program
from equilog.hardware.transient import UnstableChipError
from equilog.hardware.twin import static_system

SETTLE = EquilibriumLayer(Auto(rtol=1e-13, atol=1e-14), on_failure="raise")
DROP = {"amplifier.dc_gain": 50.0}
SHIFTED = {"amplifier.offset_sigma_volt": 0.02, "amplifier.input_bias_ampere": 1e-7}
CHANGES = {
    "rram": {},
    "gain of fifty": DROP,
    "offsets and bias currents": SHIFTED,
    "measured activation": {"activation.curve": MEASURED, "activation.v_scale_volt": 0.09},
    "rails clip": {"amplifier.rail_volt": 0.12},
}


def implicit(layer: ProgrammedLayer, played, g):
    system = static_system(layer, played)
    u = system.injection.detach().requires_grad_()
    z = SETTLE(replace(system, injection=u))
    return torch.autograd.grad((g * z).sum(), u)[0]


def relative(found, truth):
    return float(torch.linalg.norm(found - truth) / torch.linalg.norm(truth))


def case(changes, n=8, batch=2, seed=1, norm=2.0):
    return layer_of(spec_with("rram", changes), n, 3, seed, norm), drives(batch, 3), normal(5, batch, n)


@pytest.mark.ngspice
@pytest.mark.parametrize("name", CHANGES)
def test_ngspice_measures_the_implicit_gradient(name, simulator: Ngspice):
    layer, played, g = case(CHANGES[name])
    found = adjoint_gradient(layer, played, g, simulator, amplitude=0.05)
    assert relative(found, implicit(layer, played, g)) <= 1e-8
    assert found.abs().max() > 0.1


@pytest.mark.ngspice
@pytest.mark.slow
@pytest.mark.parametrize("n", [32, 64])
def test_ngspice_measures_it_on_larger_chips(n, simulator: Ngspice):
    layer, played, g = case({}, n)
    assert relative(adjoint_gradient(layer, played, g, simulator, amplitude=0.1), implicit(layer, played, g)) <= 1e-8


@pytest.mark.ngspice
@pytest.mark.parametrize("calibrated", [True, False])
@pytest.mark.parametrize("changes", [SHIFTED | DROP, SHIFTED | {"crossbar.wires": WIRES} | DROP])
def test_every_amplifier_rests_where_the_equations_say(changes, calibrated, simulator: Ngspice, tmp_path):
    layer, _, g = case(changes)
    circuit, slope = adjoint_circuit(layer, calibrated=calibrated), torch.sigmoid(normal(7, 2, 8))
    write_adjoint(circuit, tmp_path, slope, 0.2 * g)
    volts = adjoint_rest(simulator, tmp_path, 8, 2)
    twin = circuit.rest_volt(slope, 0.2 * g)
    assert (volts - twin).abs().max() <= 1e-9 * volts.abs().max()
    assert volts.abs().max() > 0.05


@pytest.mark.ngspice
def test_one_deviant_resistor_is_noticed(simulator: Ngspice, tmp_path):
    layer, _, g = case({})
    circuit, slope = adjoint_circuit(layer), torch.ones(2, 8, dtype=torch.float64)
    write_adjoint(circuit, tmp_path, slope, g)
    path = tmp_path / "crossbar.inc"
    text, count = re.subn(r"(?m)^(Rp_2_1 \S+ \S+) (\S+)$", lambda m: f"{m[1]} {1.01 * float(m[2])!r}", path.read_text())
    assert count == 1
    path.write_text(text)
    volts = adjoint_rest(simulator, tmp_path, 8, 2)
    assert (volts - circuit.rest_volt(slope, g)).abs().max() > 1e-6 * volts.abs().max()


def test_it_is_the_same_array_as_the_forward_circuit(tmp_path):
    layer, _, g = case({"crossbar.wires": WIRES})
    write_adjoint(adjoint_circuit(layer), tmp_path, torch.ones_like(g), g)
    assert ".include crossbar.inc" in (tmp_path / "adjoint.cir").read_text()
    assert ".include crossbar.inc" in (tmp_path / "layer.cir").read_text()


@pytest.mark.parametrize("changes", [{}, {"crossbar.wires": WIRES}, {"crossbar.wires": WIRES | {"bit_line_ohm": 0.0}}])
def test_what_arrives_from_the_other_side_is_the_transpose(changes):
    """Reciprocity: the transposed array is solved for on its own, and turns out to be the forward one's transpose."""
    layer, _, _ = case(changes)
    circuit = adjoint_circuit(layer)
    difference = circuit.sense_plus_siemens - circuit.sense_minus_siemens
    torch.testing.assert_close(difference, layer.transfer_siemens[:, :8], rtol=1e-9, atol=1e-17)


@pytest.mark.parametrize("wires", [{}, {"crossbar.wires": WIRES}])
def test_without_calibration_the_error_is_that_of_the_gain(wires):
    """A tenth of the error for ten times the gain; with calibration none, or with wires next to none."""
    plain, calibrated = [], []
    for gain in (1e3, 1e4, 1e5):
        layer, played, g = case(wires | {"amplifier.dc_gain": gain, "amplifier.rail_volt": None})
        truth = implicit(layer, played, g)
        plain.append(relative(adjoint_twin(layer, played, g, calibrated=False), truth))
        calibrated.append(relative(adjoint_twin(layer, played, g), truth))
    assert plain[0] / plain[1] == pytest.approx(10, rel=0.1)
    assert plain[1] / plain[2] == pytest.approx(10, rel=0.1)
    assert 1e-5 < plain[1] < 1e-2
    assert max(calibrated) < (1e-10 if not wires else plain[0] / 100)


@pytest.mark.ngspice
@pytest.mark.parametrize(
    "changes", [{"amplifier.gbw_hertz": 1e7}, {"crossbar.wires": WIRES, "amplifier.dc_gain": 50.0}]
)
def test_ngspice_moves_as_the_dynamics_say(changes, simulator: Ngspice, tmp_path):
    """From discharged capacitors, the gradient switched on at t = 0; no offsets, so that all starts at zero."""
    layer, _, g = case(changes | {"amplifier.offset_sigma_volt": 0.0})
    circuit, slope = adjoint_circuit(layer), torch.sigmoid(normal(7, 1, 8))
    write_adjoint(circuit, tmp_path, slope, g[:1])
    deck, tau = tmp_path / "adjoint.cir", layer.time_constant_second
    step = f".tran {tau / 1e4!r} {5 * tau!r} 0 {tau / 50!r} uic"
    deck.write_text(
        deck.read_text()
        .replace(OP_OPTIONS, TRAN_OPTIONS)
        .replace("\n.op\n", f"\n{step}\n")
        .replace("\nop\nwrite", "\nrun\nwrite")
    )
    plot = simulator.run(tmp_path, "adjoint.cir", "adjoint.raw")[-1]
    system = circuit.dynamics(slope)[0]
    pushed = torch.zeros(24, dtype=torch.float64)
    v_a, r_f, c_f = layer.spec.activation.v_scale_volt, layer.r_feedback_ohm, layer.c_feedback_farad
    pushed[:8] = -g[0] * v_a / (r_f * c_f)
    for at in (0.3, 1.0, 5.0):
        k = int(abs(plot["time"] - at * tau).argmin())
        moved = torch.linalg.matrix_exp(system * plot["time"][k]) - torch.eye(24)
        expected = torch.linalg.solve(system, moved @ pushed)[16:]
        found = torch.tensor([plot[f"v(y{j})"][k] for j in range(8)])
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_an_unstable_adjoint_circuit_is_refused():
    # Slow amplifiers: the forward circuit has a single lag a loop, the inverted G+ lines add another.
    layer, played, g = case({"amplifier.gbw_hertz": 3e6}, norm=4.0)
    with pytest.raises(UnstableChipError, match="pole"):
        adjoint_twin(layer, played, g)


def test_lambda_does_not_depend_on_the_size_of_g_nor_on_the_amplitude():
    layer, played, g = case({})
    reference = adjoint_twin(layer, played, g)
    torch.testing.assert_close(adjoint_twin(layer, played, 1e-9 * g) * 1e9, reference)
    torch.testing.assert_close(adjoint_twin(layer, played, g, amplitude=0.01), reference)
    g[1] = 0
    assert adjoint_twin(layer, played, g)[1].abs().max() == 0


def test_assembled_gradients_are_those_of_the_realised_weights_and_drives():
    layer, played, g = case(CONTINUOUS | {"amplifier.dc_gain": 300.0})
    lam, n = adjoint_twin(layer, played, g), 8
    z = SETTLE(static_system(layer, played))
    found = assemble(layer, played, z, lam)
    # The load stays as it is: gradient of the realised weights, through the current that arrives of each source.
    transfer, inputs = layer.transfer_siemens.clone().requires_grad_(), played.clone().requires_grad_()
    held = replace(layer, transfer_siemens=transfer)
    (g * SETTLE(static_system(held, inputs))).sum().backward()
    scale = layer.effective / layer.transfer_siemens
    expected = transfer.grad / scale
    torch.testing.assert_close(found.weight, expected[:, :n], rtol=1e-7, atol=1e-10)
    torch.testing.assert_close(found.input_weight, expected[:, n:-1], rtol=1e-7, atol=1e-10)
    torch.testing.assert_close(found.bias, expected[:, -1], rtol=1e-7, atol=1e-10)
    torch.testing.assert_close(found.drive, inputs.grad, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("wires", [{}, {"crossbar.wires": WIRES}])
def test_lambda_handed_to_the_twin_gives_the_gradients_of_the_weights_asked_for(wires):
    spec, played, g = spec_with("rram", CONTINUOUS | wires), drives(3, 2), normal(5, 3, 6)

    def gradients(backward):
        asked = tuple(a.requires_grad_() for a in matrices(6, 2, 3))
        backward(program(asked, Chip(spec, 1)))
        return [a.grad for a in asked]

    def by_lambda(layer):
        lam = adjoint_twin(layer, played, g)
        system = static_system(layer, played)
        system(SETTLE.rest(system).detach()).backward(lam)

    exact = gradients(lambda layer: (g * SETTLE(static_system(layer, played))).sum().backward())
    for found, truth in zip(gradients(by_lambda), exact):
        assert relative(found, truth) <= (1e-9 if not wires else 1e-5)


def test_what_cannot_be_played_is_refused():
    layer, played, g = case({"amplifier.rail_volt": 0.5})
    with pytest.raises(ValueError, match="smaller amplitude"):
        adjoint_twin(layer, played, g, amplitude=50.0)
    with pytest.raises(ValueError, match=r"expected \(2, 8\)"):
        adjoint_twin(layer, played, g[:, :3])
    with pytest.raises(ValueError, match="inf or nan"):
        adjoint_twin(layer, played, g * float("nan"))
    with pytest.raises(ValueError, match="amplitude = -1"):
        adjoint_twin(layer, played, g, amplitude=-1)
    with pytest.raises(ValueError, match="gain"):
        adjoint_circuit(case({"amplifier.dc_gain": 0.5})[0])
