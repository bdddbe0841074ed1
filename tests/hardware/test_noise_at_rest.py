"""Noise at rest: kT/C where that is exact, else the Lyapunov equation by methods that agree; and its gradients."""

import math
from dataclasses import replace

import pytest
import torch
from builders import CONTINUOUS, NO_MISMATCH, drives, generator, layer_of, matrices, normal, spec_with
from hypothesis import given, settings
from hypothesis import strategies as st
from noise_cases import rested
from scipy.constants import Boltzmann
from scipy.linalg import solve_continuous_lyapunov
from torch.autograd import gradcheck

from equilog.equilibrium import Auto, EquilibriumLayer
from equilog.hardware import Chip, Conditions, Population, program
from equilog.hardware.noise import noise_at_rest
from equilog.hardware.noise.model import linear_circuit
from equilog.hardware.transient import Transient, UnstableChipError
from equilog.hardware.twin import static_system

WIRES = {"crossbar.wires": {"word_line_ohm": 300.0, "bit_line_ohm": 200.0}}


def lone(gbw=1e15, dc_gain=1e9):
    """A neuron that feeds back nothing, with an amplifier that is all but ideal."""
    spec = spec_with("rram", NO_MISMATCH | {"amplifier.gbw_hertz": gbw, "amplifier.dc_gain": dc_gain})
    one = torch.ones(1, 1, dtype=torch.float64)
    return program((0 * one, one, 0 * one[0]), Chip(spec, 0))


def test_an_ideal_integrator_has_kt_over_c_times_its_excess_resistors():
    """White current 2kT·g into R_f ∥ C_f: variance kT g R_f/C_f, kT/C_f for R_f alone."""
    layer = lone()
    found = noise_at_rest(layer, torch.zeros(1, 1), 320.0, amplifier_noise=0.0).rms_volt
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


RAILS = {"amplifier.rail_volt": 0.05}


@pytest.mark.parametrize(
    "changes", [{}, WIRES, {"amplifier.dc_gain": 50.0}, RAILS], ids=["rram", "wires", "low gain", "rails"]
)
@pytest.mark.parametrize("seeds", [(1,), (1, 2)], ids=["chip", "population"])
def test_linearised_as_the_transient_moves(seeds, changes):
    spec, played = spec_with("rram", changes), drives(2, 2)
    layer = program(matrices(4, 2), Chip(spec, 1) if len(seeds) == 1 else Population(spec, seeds))
    v = 0.1 * normal(1, *(() if layer.chips is None else (2,)), 2, 4)
    order = [*range(0, 8, 2), *range(1, 8, 2)]  # its neurons one after the other, here all y before all v
    theirs = Transient(layer, played).linearised(v)[..., order, :][..., order].reshape(-1, 2, 8, 8)
    ours = linear_circuit(layer, v).matrix()
    assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-9 * float(theirs.abs().max()))


@pytest.mark.parametrize("changes", [{}, WIRES, {"amplifier.gbw_hertz": 2e7}], ids=["rram", "wires", "slow amplifiers"])
@pytest.mark.parametrize("e_n", [0.0, 5e-9])
def test_methods_agree(e_n, changes):
    layer = layer_of(spec_with("rram", changes), 12, 2)
    v = rested(layer, drives(3, 2))
    found = noise_at_rest(layer, v, amplifier_noise=e_n)
    assert found.method == "doubling"
    other = noise_at_rest(layer, v, amplifier_noise=e_n, method="schur")
    assert torch.allclose(
        found.covariance_volt2, other.covariance_volt2, rtol=1e-9, atol=1e-12 * found.variance_volt2.max()
    )
    assert (found.residual < 1e-11).all()
    assert torch.allclose(found.expected_displacement, found.state_covariance.diagonal(dim1=1, dim2=2).sum(1))
    sampled = noise_at_rest(layer, v, amplifier_noise=e_n, method="sampled", probes=400)
    assert (sampled.residual < 1e-4).all()
    assert torch.equal(sampled.slope_per_volt, found.slope_per_volt)
    off = (sampled.rms_volt - found.rms_volt) / sampled.rms_error_volt
    assert 0.5 < float(off.square().mean().sqrt()) < 1.6  # errors as large as stated
    assert (sampled.rms_error_volt <= found.rms_volt / math.sqrt(2 * 400) * 1.3).all()
    off = (sampled.expected_displacement - found.expected_displacement) / sampled.displacement_error
    assert (off.abs() < 4).all()


def test_covariance_is_what_scipy_makes_of_the_transient():
    layer, played = layer_of(spec_with("rram"), 6, 2), drives(1, 2)
    v = rested(layer, played)
    a = Transient(layer, played).linearised(v)[0].numpy()
    q = torch.zeros(12, dtype=torch.float64)
    g = layer.row_conductance_siemens + 1 / layer.r_feedback_ohm
    q[0::2] = 2 * Boltzmann * 300 * g / layer.c_feedback_farad**2
    q[1::2] = (2 * math.pi * layer.gbw_hertz * 4e-9) ** 2 / 2
    full = torch.from_numpy(solve_continuous_lyapunov(a, -torch.diag(q).numpy()))
    found = noise_at_rest(layer, v, amplifier_noise=4e-9).covariance_volt2[0]
    assert torch.allclose(found, full[1::2, 1::2], rtol=1e-8, atol=1e-11 * float(full.abs().max()))


@pytest.mark.parametrize("changes", [{}, WIRES], ids=["rram", "wires"])
def test_the_circuit_shaken_step_by_step_has_that_noise(changes):
    """Monte Carlo: white noise integrated exactly over short steps, e^{Ah} and ∫e^{As}Qe^{Aᵀs}ds, from silence."""
    layer = layer_of(spec_with("rram", {"amplifier.gbw_hertz": 2e7} | changes), 4, 2, norm=1.0)
    v = rested(layer, drives(1, 2))
    circuit = linear_circuit(layer, v, 300.0, 5e-9)
    a, q = circuit.matrix()[0, 0], circuit.intensity()[0, 0]
    h = 0.2 * layer.time_constant_second
    # Van Loan, IEEE TAC 23 (1978) 395.
    block = torch.cat([torch.cat([-a, q], 1), torch.cat([0 * q, a.T], 1)])
    e = torch.linalg.matrix_exp(block * h)
    step = e[8:, 8:].T
    shock = torch.linalg.cholesky(step @ e[:8, 8:])
    random, w = generator(5), torch.zeros(8, 20_000, dtype=torch.float64)
    for _ in range(80):
        w = step @ w + shock @ torch.randn(w.shape, dtype=torch.float64, generator=random)
    expected = noise_at_rest(layer, v, amplifier_noise=5e-9)
    assert torch.allclose(w[4:].std(1), expected.rms_volt[0], rtol=4 / math.sqrt(2 * 20_000))
    scale = expected.rms_volt[0]
    correlation = expected.covariance_volt2[0] / scale[:, None] / scale
    assert torch.allclose(torch.corrcoef(w[4:]), correlation, atol=0.03)


@settings(max_examples=15)
@given(kelvin=st.floats(1.0, 500.0), e_n=st.floats(1e-10, 1e-6), method=st.sampled_from(["doubling", "sampled"]))
def test_variances_are_linear_in_temperature_and_amplifier_noise_squared(kelvin, e_n, method):
    layer = layer_of(spec_with("rram", CONTINUOUS | WIRES), 4, 2)
    v = rested(layer, drives(2, 2))

    def variance(kelvin, e_n):
        return noise_at_rest(layer, v, kelvin, amplifier_noise=e_n, method=method, probes=8).variance_volt2

    thermal = variance(kelvin, 0.0)
    assert torch.allclose(thermal, variance(300.0, 0.0) * (kelvin / 300), rtol=1e-9)
    if method == "doubling":  # probes of both kinds of noise interfere
        amplifier = variance(1e-9, 1e-8) * (e_n / 1e-8) ** 2
        assert torch.allclose(variance(kelvin, e_n), thermal + amplifier, rtol=1e-6)


def test_temperature_and_amplifier_noise_are_the_layers_unless_given():
    spec = spec_with("rram", CONTINUOUS | {"amplifier.noise_volt_per_rthz": 3e-8})
    warm = layer_of(spec, 3, 2, conditions=Conditions(temperature_kelvin=350.0))
    v = torch.zeros(1, 3)
    found = noise_at_rest(warm, v)
    assert (found.temperature_kelvin, found.amplifier_noise) == (350.0, 3e-8)
    assert torch.equal(found.variance_volt2, noise_at_rest(warm, v, 350.0, amplifier_noise=3e-8).variance_volt2)
    assert (found.variance_volt2 > noise_at_rest(warm, v, 300.0, amplifier_noise=0.0).variance_volt2).all()
    none = layer_of(spec_with("rram", {"amplifier.noise_volt_per_rthz": None}), 3, 2)
    assert noise_at_rest(none, v).amplifier_noise == 0.0


def test_a_sample_alone_is_as_in_the_batch():
    layer = layer_of(spec_with("rram"), 5, 2)
    v = rested(layer, drives(3, 2))
    together = noise_at_rest(layer, v)
    alone = noise_at_rest(layer, v[1:2])
    assert torch.allclose(together.covariance_volt2[1:2], alone.covariance_volt2, rtol=1e-12)
    assert torch.allclose(together.rms, together.rms_volt / layer.spec.activation.v_scale_volt)
    assert (together.state_rms < together.rms * 1.2).all()  # slope of tanh is at most 1


@pytest.mark.parametrize("changes", [{}, WIRES], ids=["rram", "wires"])
def test_a_population_is_its_chips_one_by_one_however_it_is_cut(changes, monkeypatch):
    spec, weights = spec_with("rram", changes), matrices(4, 2)
    layer = program(weights, Population(spec, (3, 5)))
    singles = [program(weights, Chip(spec, seed)) for seed in (3, 5)]
    v = torch.stack([rested(single, drives(3, 2)) for single in singles])
    found = noise_at_rest(layer, v)
    assert found.rms_volt.shape == (2, 3, 4)
    assert found.draw(generator(0)).shape == (2, 3, 4)
    for c, single in enumerate(singles):
        alone = noise_at_rest(single, v[c])
        assert torch.allclose(found.covariance_volt2[c], alone.covariance_volt2, rtol=1e-10)
        assert torch.allclose(found.expected_displacement[c], alone.expected_displacement, rtol=1e-10)
    monkeypatch.setattr("equilog.hardware.noise.model.LARGEST_CHUNK", 2 * 8**2)  # two samples at a time
    assert torch.allclose(noise_at_rest(layer, v).covariance_volt2, found.covariance_volt2, rtol=1e-12)
    sampled = noise_at_rest(layer, v, method="sampled", probes=2000)
    assert torch.allclose(sampled.rms_volt, found.rms_volt, rtol=0.1)
    assert torch.allclose(sampled.expected_displacement, found.expected_displacement, rtol=0.1)
    with pytest.raises(ValueError, match=r"shape \(2, batch, 4\), got \(3, 4\)"):
        noise_at_rest(layer, v[0])


def test_draws_have_the_covariance_and_repeat():
    layer = layer_of(spec_with("rram"), 4, 2)
    one = noise_at_rest(layer, rested(layer, drives(1, 2)), amplifier_noise=0.0)
    many = replace(
        one,
        variance_volt2=one.variance_volt2.expand(60_000, -1),
        matrix_volt2=one.covariance_volt2.expand(60_000, -1, -1),
        slope_per_volt=one.slope_per_volt.expand(60_000, -1),
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


def test_a_saturated_neuron_can_be_drawn_and_one_at_its_rail_is_still():
    v = torch.full((2, 3), 40.0, dtype=torch.float64)  # V, far beyond any slope
    free = noise_at_rest(layer_of(spec_with("rram", {"amplifier.rail_volt": None}), 3, 2), v)
    assert (free.draw(generator(0)).abs() < 1e-12).all()
    assert (free.rms_volt > 0).all()
    layer = layer_of(spec_with("rram", {"amplifier.rail_volt": 1.0}), 3, 2)
    v = torch.tensor([[0.0, 1.0, -7.0]], dtype=torch.float64)
    for method in ("doubling", "sampled"):
        found = noise_at_rest(layer, v, method=method)
        assert found.rms_volt[0, 0] > 0
        assert (found.rms_volt[0, 1:] == 0).all()
    assert noise_at_rest(layer, v).draw(generator(0)).isfinite().all()


@pytest.mark.parametrize("e_n", [0.0, 1e-8])
def test_gradient_of_the_displacement_through_the_operating_point(e_n):
    spec = spec_with("rram", NO_MISMATCH)
    weights = tuple(x.requires_grad_() for x in matrices(3, 2, norm=1.0))
    played = drives(2, 2)
    solver = EquilibriumLayer(Auto(rtol=1e-13, atol=1e-14), on_failure="raise")

    def displacement(*weights):
        layer = program(weights, Chip(spec, 0))
        p = solver.rest(static_system(layer, played))
        found = noise_at_rest(layer, p * spec.activation.v_scale_volt, amplifier_noise=e_n)
        return 1e6 * found.expected_displacement, 1e6 * found.state_covariance

    assert gradcheck(displacement, weights, rtol=1e-4, atol=1e-6)


def test_gradient_through_wires_and_with_respect_to_the_resting_point():
    spec = spec_with("rram", NO_MISMATCH | WIRES)
    v = (0.05 * torch.linspace(-1, 1, 6).double().view(2, 3)).requires_grad_()
    weights = tuple(x.requires_grad_() for x in matrices(3, 2, norm=1.0))

    def displacement(v, *weights):
        return 1e6 * noise_at_rest(program(weights, Chip(spec, 0)), v).expected_displacement

    assert gradcheck(displacement, (v, *weights), rtol=1e-4, atol=1e-6)


def test_less_displacement_can_be_trained_for():
    layer_weights = tuple(x.requires_grad_() for x in matrices(4, 2))
    spec, played = spec_with("rram", NO_MISMATCH), drives(2, 2)
    v = rested(program(layer_weights, Chip(spec, 0)), played).detach()

    def total(weights):
        return noise_at_rest(program(weights, Chip(spec, 0)), v).expected_displacement.sum()

    before = total(layer_weights)
    slopes = torch.autograd.grad(before, layer_weights)
    step = 0.05 / max(float(s.abs().max()) for s in slopes)
    after = total(tuple(w - step * s for w, s in zip(layer_weights, slopes)))
    assert after < before


def test_an_unstable_chip_has_no_noise_at_rest_and_that_is_said():
    spec = spec_with("rram", NO_MISMATCH | {"amplifier.rail_volt": None})
    one = torch.ones(1, 1, dtype=torch.float64)
    layer = program((3 * one, one, 0 * one[0]), Chip(spec, 0))
    v = torch.tensor([[10.0], [0.0]])
    for method in ("doubling", "schur"):
        with pytest.raises(
            UnstableChipError, match=r"1 of 2 resting points are unstable.*worst sample 1 with a pole at \+"
        ):
            noise_at_rest(layer, v, method=method)
    with pytest.raises(UnstableChipError, match=r"1 of 2 resting points are unstable.*or all but, worst sample 1"):
        noise_at_rest(layer, v, method="sampled")
    chips = program((3 * one, one, 0 * one[0]), Population(spec, (0, 1)))
    with pytest.raises(UnstableChipError, match="worst sample 1 of chip 1"):
        noise_at_rest(chips, torch.tensor([[[10.0], [10.0]], [[10.0], [0.0]]]))


def test_beyond_what_is_affordable_it_is_sampled_and_has_no_covariance(monkeypatch):
    monkeypatch.setattr("equilog.hardware.noise.at_rest.MOST_EXACT", 2)
    found = noise_at_rest(layer_of(spec_with("rram"), 3, 2), torch.zeros(1, 3))
    assert found.method == "sampled"
    again = noise_at_rest(layer_of(spec_with("rram"), 3, 2), torch.zeros(1, 3))
    assert torch.equal(found.rms_volt, again.rms_volt)
    for ask in (lambda: found.covariance_volt2, lambda: found.state_covariance, found.draw):
        with pytest.raises(ValueError, match="draw_noise"):
            ask()


@pytest.mark.parametrize(
    ("shape", "conditions", "message"),
    [
        ((1, 4), {}, r"shape \(batch, 3\)"),
        ((3,), {}, "shape"),
        ((1, 1, 3), {}, "shape"),
        ((1, 3), {"temperature_kelvin": 0.0}, "temperature"),
        ((1, 3), {"temperature_kelvin": math.nan}, "temperature"),
        ((1, 3), {"amplifier_noise": -1e-9}, "amplifier"),
        ((1, 3), {"method": "smith"}, "method = 'smith': expected auto, sampled, doubling or schur"),
        ((1, 3), {"method": "sampled", "probes": 1}, "probes = 1"),
    ],
)
def test_what_makes_no_sense_is_refused(shape, conditions, message):
    with pytest.raises(ValueError, match=message):
        noise_at_rest(layer_of(spec_with("rram"), 3, 2), torch.zeros(shape), **conditions)
