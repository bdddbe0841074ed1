"""Noise at rest: kT/C where that is exact, the Lyapunov equation where it is not, and draws with its covariance."""

import math
from dataclasses import replace

import pytest
import torch
from builders import CONTINUOUS, NO_MISMATCH, drives, generator, layer_of, spec_with
from scipy.constants import Boltzmann

from equilog.equilibrium import EquilibriumLayer
from equilog.hardware import Chip, program
from equilog.hardware.noise import UnstableChipError, noise_at_rest
from equilog.hardware.transient import Transient
from equilog.hardware.twin import static_system


def rested(layer, played):
    p = EquilibriumLayer(on_failure="raise").rest(static_system(layer, played))
    return p * layer.spec.activation.v_scale_volt


def lone(gbw=1e15, dc_gain=1e9):
    """A neuron that feeds back nothing, with an amplifier that is all but ideal."""
    spec = spec_with("rram", NO_MISMATCH | {"amplifier.gbw_hertz": gbw, "amplifier.dc_gain": dc_gain})
    one = torch.ones(1, 1, dtype=torch.float64)
    return program((0 * one, one, 0 * one[0]), Chip(spec, 0))


def test_an_ideal_integrator_has_kt_over_c_times_its_excess_resistors():
    """White current 2kT·g into R_f ∥ C_f: variance kT g R_f/C_f, kT/C_f for R_f alone."""
    layer = lone()
    found = noise_at_rest(layer, torch.zeros(1, 1), 320.0).rms_volt
    kt_c = Boltzmann * 320.0 / float(layer.c_feedback_farad)
    assert float(found**2) == pytest.approx(kt_c * float(layer.noise_gain), rel=1e-4)


def test_amplifier_noise_alone_has_its_closed_form():
    """A first-order amplifier in unity feedback (all-capacitive at high frequency): v ≈ e + slow part N e."""
    layer = lone(gbw=1e8)
    e_n = 1e-6  # so large that thermal noise does not count
    found = float(noise_at_rest(layer, torch.zeros(1, 1), 1e-3, amplifier_noise=e_n).rms_volt) ** 2
    omega, c = 2 * math.pi * 1e8, float(layer.c_feedback_farad)
    g, f = float(layer.row_conductance_siemens), 1 / float(layer.r_feedback_ohm)
    # H = ω(s + a)/(s² + s(a + ω) + ω f/C), a = (f + g)/C; ∫|H|² of a second-order low-pass in closed form.
    a, b1, b0 = (f + g) / c, (f + g) / c + omega, omega * f / c
    expected = e_n**2 / 2 * omega**2 * (1 + a**2 / b0) / (2 * b1)
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("e_n", [0.0, 5e-9])
def test_covariance_solves_the_lyapunov_equation_in_a_long_simulation_of_it(e_n):
    """Independent of any Lyapunov solver: Σ = ∫ exp(At) Q exp(Aᵀt) dt by quadrature of the same physics."""
    layer = layer_of(spec_with("rram", {"amplifier.gbw_hertz": 2e7}), 4, 2, norm=1.0)
    v = rested(layer, drives(2, 2))
    found = noise_at_rest(layer, v, amplifier_noise=e_n).covariance_volt2
    matrix = Transient(layer, drives(2, 2)).linearised(v)
    q = torch.zeros(8, dtype=torch.float64)
    kt = Boltzmann * 300
    q[0::2] = 2 * kt * (layer.row_conductance_siemens + 1 / layer.r_feedback_ohm) / layer.c_feedback_farad**2
    q[1::2] = (2 * math.pi * layer.gbw_hertz) ** 2 * e_n**2 / 2
    # Doubling: Σ(2t) = Σ(t) + exp(At) Σ(t) exp(Aᵀt), begun with Simpson's rule on a step far below every pole.
    h = 1e-3 / float(matrix.abs().amax())
    half, whole = torch.linalg.matrix_exp(matrix * h / 2), torch.linalg.matrix_exp(matrix * h)
    q = torch.diag(q).expand_as(matrix)
    total, step = h / 6 * (q + 4 * half @ q @ half.mT + whole @ q @ whole.mT), whole
    for _ in range(40):
        total, step = total + step @ total @ step.mT, step @ step
    assert torch.allclose(found, total[:, 1::2, 1::2], rtol=1e-6, atol=0)


def test_a_sample_alone_is_as_in_the_batch_and_rails_are_quieter():
    layer = layer_of(spec_with("rram"), 5, 2)
    v = rested(layer, drives(3, 2))
    together = noise_at_rest(layer, v)
    alone = noise_at_rest(layer, v[1:2])
    assert torch.allclose(together.covariance_volt2[1:2], alone.covariance_volt2, rtol=1e-12)
    assert torch.allclose(together.rms, together.rms_volt / layer.spec.activation.v_scale_volt)
    assert (together.state_rms < together.rms * 1.2).all()  # slope of tanh is at most 1


def test_noise_grows_with_the_root_of_temperature():
    layer = layer_of(spec_with("rram", CONTINUOUS), 4, 2)
    v = rested(layer, drives(2, 2))
    assert torch.allclose(noise_at_rest(layer, v, 400.0).rms, 2 * noise_at_rest(layer, v, 100.0).rms, rtol=1e-9)


def test_draws_have_the_covariance_and_repeat():
    layer = layer_of(spec_with("rram"), 4, 2)
    v = rested(layer, drives(1, 2)).expand(60_000, -1)
    one = noise_at_rest(layer, v[:1])
    many = replace(
        one,
        covariance_volt2=one.covariance_volt2.expand(len(v), -1, -1),
        slope_per_volt=one.slope_per_volt.expand(len(v), -1),
    )
    drawn = many.draw(generator(3))
    assert torch.equal(drawn, many.draw(generator(3)))
    assert not torch.equal(drawn, many.draw(generator(4)))
    expected = one.state_covariance[0]
    scale = one.state_rms[0]
    correlation = drawn.T @ drawn / len(drawn) / scale[:, None] / scale
    assert torch.allclose(correlation, expected / scale[:, None] / scale, atol=0.02)
    assert (expected / scale[:, None] / scale - torch.eye(4)).abs().max() > 0.05  # there is correlation to get right
    assert torch.allclose(expected.diagonal().sqrt(), scale)


def test_a_saturated_neuron_can_be_drawn():
    layer = layer_of(spec_with("rram"), 3, 2)
    v = torch.full((2, 3), 40.0, dtype=torch.float64)  # V, far beyond any slope
    found = noise_at_rest(layer, v)
    assert (found.draw(generator(0)).abs() < 1e-12).all()
    assert (found.rms_volt > 0).all()


def test_an_unstable_chip_has_no_noise_at_rest_and_that_is_said():
    spec = spec_with("rram", NO_MISMATCH)
    one = torch.ones(1, 1, dtype=torch.float64)
    layer = program((3 * one, one, 0 * one[0]), Chip(spec, 0))
    with pytest.raises(UnstableChipError, match=r"1 of 2 resting points are unstable.*worst sample 1"):
        noise_at_rest(layer, torch.tensor([[10.0], [0.0]]))


@pytest.mark.parametrize(
    ("shape", "conditions", "message"),
    [
        ((1, 4), {}, "shape"),
        ((3,), {}, "shape"),
        ((1, 3), {"temperature_kelvin": 0.0}, "temperature"),
        ((1, 3), {"temperature_kelvin": math.nan}, "temperature"),
        ((1, 3), {"amplifier_noise": -1e-9}, "amplifier"),
    ],
)
def test_what_makes_no_sense_is_refused(shape, conditions, message):
    with pytest.raises(ValueError, match=message):
        noise_at_rest(layer_of(spec_with("rram"), 3, 2), torch.zeros(shape), **conditions)


def test_too_many_neurons_are_refused_before_the_work(monkeypatch):
    monkeypatch.setattr("equilog.hardware.noise.MOST_NEURONS", 2)
    with pytest.raises(ValueError, match="at most 2 neurons, this layer has 3"):
        noise_at_rest(layer_of(spec_with("rram"), 3, 2), torch.zeros(1, 3))
