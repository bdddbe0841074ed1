"""Expected displacement: first order against many chips, estimate against exact, and its gradient."""

from dataclasses import replace

import pytest
import torch
from builders import NO_MISMATCH, drives, generator, matrices, spec_data, spec_with
from losses_cases import Nominal, nominal_state, of_weights, rest
from torch.autograd import gradcheck

from equilog.hardware import Conditions, Population, program
from equilog.hardware.noise import noise_at_rest
from equilog.hardware.noise.model import linear_circuit
from equilog.hardware.technology.spec import spec_from_data
from equilog.training.losses import Robustness, expected_displacement
from equilog.training.losses.displacement import mismatch
from equilog.training.losses.response import all_probed, probed

NEURONS = {"amplifier.offset_sigma_volt": 0.0, "activation.gain_sigma": 0.0, "activation.offset_sigma_volt": 0.0}
EXACT_DEVICES = {"crossbar.programming_sigma": None, "crossbar.relaxation": None}
WIRES = {"crossbar.wires": {"word_line_ohm": 200.0, "bit_line_ohm": 200.0}}


def smaller(preset, changes, devices=0.2):
    """A technology whose device errors are so much smaller, so that first order is enough."""
    data = spec_data(preset, changes)
    bar = data["crossbar"]
    for law in (bar.get("programming_sigma"), (bar.get("relaxation") or {}).get("sigma")):
        if law is not None:
            law["coefficients_siemens"] = [devices * c for c in law["coefficients_siemens"]]
    return spec_from_data(data, "test")


CAUSES = {
    "devices": ("rram", NEURONS, None),
    "devices with low gain": ("rram", NEURONS | {"amplifier.dc_gain": 30.0}, None),
    "relaxed and warm": ("rram", NEURONS, Conditions(1e4, 330.0)),
    "drifted": ("pcm", NEURONS | {"crossbar.stuck": None}, Conditions(1e3)),
    "resistors": ("board", NEURONS, None),
    "amplifiers": ("rram", NEURONS | EXACT_DEVICES | {"amplifier.offset_sigma_volt": 3e-3}, None),
    "amplifiers behind wires": ("rram", NEURONS | EXACT_DEVICES | WIRES | {"amplifier.offset_sigma_volt": 3e-3}, None),
    "activations' gains": ("rram", NEURONS | EXACT_DEVICES | {"activation.gain_sigma": 0.02}, None),
    "activations' offsets": ("rram", NEURONS | EXACT_DEVICES | {"activation.offset_sigma_volt": 2e-3}, None),
    "dacs": ("cmos-sky130", NEURONS | EXACT_DEVICES, None),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_exact_displacement_is_that_of_many_chips(cause):
    preset, changes, conditions = CAUSES[cause]
    spec = smaller(preset, changes)
    state = nominal_state(spec, conditions=conditions)
    chips = program(matrices(6, 3), Population(spec, range(1200)), conditions)
    met = (rest(chips, drives(4, 3)).z - state.z).square().mean(-1).mean(0)
    assert float(met.mean() / expected_displacement(state).mismatch.mean()) == pytest.approx(1, abs=0.08)


def test_read_noise_of_devices_and_dacs_counts_where_the_read_is_noisy():
    noisy = {"crossbar.read_noise": {"sigma": {"coefficients_siemens": [1e-7, 1e-6], "source": "test"}}}
    spec = spec_with("rram", NEURONS | EXACT_DEVICES | noisy | {"dac.noise_volt": 1e-3})
    chips = Population(spec, range(1200))
    state = nominal_state(spec)
    assert expected_displacement(state).mismatch.max() == 0
    reads = Conditions(reads=generator(0))
    met = rest(program(matrices(6, 3), chips, reads), drives(4, 3)).z - state.z
    expected = expected_displacement(replace(state, layer=replace(state.layer, conditions=reads)))
    assert (expected.dacs > 0).all()
    assert float(met.square().mean() / expected.mismatch.mean()) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("changes", [{}, WIRES], ids=["rram", "wires"])
def test_estimate_is_without_bias_cause_by_cause(changes):
    state = nominal_state(spec_with("rram", changes), batch=1)
    many = replace(
        state,
        played=state.played.expand(4000, -1),
        p=state.p.expand(4000, -1),
        system=replace(state.system, injection=state.system.injection.expand(4000, -1)),
    )
    exact = mismatch(state, all_probed(state))
    for found, true in zip(mismatch(many, probed(many, generator(1))), exact):
        error = float(found.std()) / 4000**0.5
        assert float(found.mean() - true.sum()) == pytest.approx(0, abs=4 * error + 1e-12 * float(true.sum()))
        assert error <= 0.05 * float(true.sum())


def test_noise_alone_is_that_at_rest():
    state = nominal_state(spec_with("rram", NO_MISMATCH | {"amplifier.noise_volt_per_rthz": 1e-7}), batch=2)
    exact = noise_at_rest(state.layer, 0.1 * state.p).expected_displacement.mean() / 6
    assert float(expected_displacement(state).total.mean()) == pytest.approx(float(exact), rel=1e-9)
    loss = Robustness(noise_samples=2)
    found = torch.stack([loss(state, generator(k)) for k in range(400)])
    assert float(found.mean() / exact) == pytest.approx(1, abs=0.08)
    assert Robustness(noise_samples=0)(state) == 0


def test_one_large_weight_costs_all_others_their_robustness():
    """R_f follows the largest weight, and what a device's error does grows with R_f."""
    w, u, b = matrices(6, 3)
    still = torch.cat([drives(16, 2), torch.zeros(16, 1, dtype=torch.float64)], dim=1)  # so that u[0, 2] moves nothing

    def loss(largest):
        u[0, 2] = largest
        return float(Robustness(0)(rest(program((w, u, b), Nominal(spec, 0)), still), generator(0)))

    spec = smaller("rram", NEURONS)
    assert loss(20.0) > 4 * loss(float(w.abs().max()))


@pytest.mark.parametrize("changes", [{}, WIRES], ids=["rram", "wires"])
def test_gradient_of_mismatch(changes):
    state, tensors = of_weights(spec_with("rram", {"crossbar.levels": None} | changes))
    assert gradcheck(lambda *t: 100 * Robustness(0)(state(*t), generator(2)), tensors)


def test_gradient_of_noise(monkeypatch):
    state, tensors = of_weights(spec_with("rram", NO_MISMATCH))
    # Draws hold the rate of their rule fixed, which changes what a draw gives but hardly its law.
    made = state(*tensors)
    rate = linear_circuit(made.layer, 0.1 * made.p[:2]).slow_rate().mean().expand(1, 2, 1)
    monkeypatch.setattr("equilog.hardware.noise.model.LinearCircuit.slow_rate", lambda _: rate)
    assert gradcheck(lambda *t: 1e6 * Robustness(2)(state(*t), generator(2)), tensors)


def test_gradient_of_the_exact_displacement():
    state, tensors = of_weights(spec_with("rram", {"crossbar.levels": None}), n=3)
    assert gradcheck(lambda *t: 100 * expected_displacement(state(*t)).total.sum(), tensors)


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match=r"noise_samples = -1: expected 0 or more"):
        Robustness(-1)
    population = program(matrices(3, 2), Population(spec_with("rram"), (1, 2)))
    with pytest.raises(ValueError, match=r"population of 2 chips"):
        expected_displacement(rest(population, drives(2, 2)))
