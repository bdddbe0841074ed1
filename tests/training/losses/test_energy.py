"""Energy and settling time: predicted from the resting point, against the twin in time and the cost model."""

import pytest
import torch
from builders import NO_MISMATCH, drives, generator, matrices, spec_with
from losses_cases import Nominal, nominal_state, of_weights, rest
from torch.autograd import gradcheck

from equilog.cost.analog import activation_watt, amplifier_watt, sample_watt
from equilog.hardware import program
from equilog.hardware.transient import Transient
from equilog.training.losses import Energy, settling_second

HALF_CODE = 0.5 / 127 * 1.1  # of rram's ADC, in units of the state
SLOW = {"amplifier.gbw_hertz": 2e7, "amplifier.slew_volt_per_second": None}


def measured(state, tolerance=HALF_CODE):
    moving = Transient(state.layer, state.played)
    return moving.settle(state.p * moving.v_a, tolerance, 40 * moving.time_scale_second)[0]


@pytest.mark.parametrize(
    ("preset", "changes", "tolerance"),
    [("rram", {}, HALF_CODE), ("rram", SLOW, HALF_CODE), ("rram", {}, 1e-4), ("cmos-sky130", {}, HALF_CODE)],
)
def test_settling_as_the_twin_in_time_settles(preset, changes, tolerance):
    ratio = []
    for seed, norm in enumerate((1.0, 2.0, 4.0)):
        state = nominal_state(spec_with(preset, changes), n=12, m=6, batch=6, seed=seed, norm=norm)
        ratio.append(settling_second(state, tolerance) / measured(state, tolerance))
    ratio = torch.cat(ratio)
    assert float(ratio.median()) == pytest.approx(1, abs=0.08)
    assert float(ratio.log().std()) < 0.1


def test_settling_scales_with_the_weights_as_tau_does():
    w, u, b = matrices(6, 3)
    fast = NO_MISMATCH | {"amplifier.gbw_hertz": 1e15, "amplifier.dc_gain": 1e12}

    def second(spec, scale):
        layer = program((0 * w, u * scale, b), Nominal(spec, 0))
        return settling_second(rest(layer, drives(4, 3) / scale), HALF_CODE).max() / layer.time_constant_second

    # Without feedback it is τ ln(distance/tolerance), whatever the scale of the weights.
    spec = spec_with("rram", fast)
    assert float(second(spec, 1.0)) == pytest.approx(float(second(spec, 3.0)), rel=0.15)


def test_samples_are_those_asked_for():
    state = nominal_state(spec_with("rram"))
    every = settling_second(state, HALF_CODE)
    assert torch.allclose(settling_second(state, HALF_CODE, torch.tensor([2, 0])), every[[2, 0]], rtol=1e-12)


def test_a_sample_already_within_the_band_takes_no_time():
    layer = program((matrices(3, 2)[0], matrices(3, 2)[1], torch.zeros(3).double()), Nominal(spec_with("ideal"), 0))
    state = rest(layer, torch.zeros(1, 2, dtype=torch.float64))
    assert settling_second(state, HALF_CODE) == 0


def test_an_unstable_sample_takes_the_longest_time_and_leaves_the_others_alone():
    w = torch.tensor([[2.0, 0.0], [0.0, 0.5]], dtype=torch.float64)
    inputs = torch.eye(2, dtype=torch.float64, requires_grad=True)
    layer = program((w, inputs, torch.zeros(2).double()), Nominal(spec_with("ideal"), 0))
    stable = rest(layer, torch.tensor([[0.9, 0.5], [0.8, -0.3]], dtype=torch.float64))
    unstable = torch.tensor([[0.01, 0.0], [0.0, 0.0]], dtype=torch.float64)  # beside the middle one of three
    state = type(stable)(layer, stable.drive, stable.played, stable.system, torch.stack([unstable[0], stable.p[1]]))
    found = settling_second(state, HALF_CODE)
    assert found.argmax() == 0
    assert float(found[0].detach()) > 100 * layer.time_constant_second
    assert torch.allclose(found[1], settling_second(stable, HALF_CODE)[1], rtol=1e-9)
    (gradient,) = torch.autograd.grad(found.sum(), inputs)
    assert gradient.isfinite().all()


def test_energy_by_hand():
    state = nominal_state(spec_with("rram"), n=6, m=3, batch=4)
    spec = state.layer.spec
    always = amplifier_watt(state.layer).typical + activation_watt(state.layer).typical
    on = measured(state) + 1e-8 + 1e-7  # DAC, ADC
    joule = ((sample_watt(state.layer, state.p, state.z, state.played) + always) * on).mean() + 3 * 1e-12 + 6 * 7.4e-12
    assert float(spec.dac.energy_joule) == 1e-12
    assert float(Energy()(state) / joule) == pytest.approx(1, abs=0.06)
    some = torch.stack([Energy(samples=1)(state, generator(k)) for k in range(300)])
    assert float(some.mean() / Energy()(state)) == pytest.approx(1, abs=0.02)


def test_descending_it_makes_a_chip_that_takes_less():
    """Judged by the twin in time, not by the prediction."""
    spec = spec_with("rram", NO_MISMATCH)
    weights = [t.clone().requires_grad_() for t in matrices(8, 4)]
    drive = drives(8, 4)

    def state():
        return rest(program(tuple(weights), Nominal(spec, 0)), drive)

    before, largest = measured(state()), max(float(t.detach().abs().max()) for t in weights)
    resistor = float(state().layer.r_feedback_ohm.detach())
    for _ in range(20):
        gradients = torch.autograd.grad(1e9 * Energy()(state()), weights)
        with torch.no_grad():
            for k, gradient in enumerate(gradients):
                weights[k].sub_(0.05 * gradient)
    assert measured(state()).mean() < 0.95 * before.mean()
    assert float(state().layer.r_feedback_ohm.detach()) < 0.95 * resistor  # through the largest weight
    assert max(float(t.detach().abs().max()) for t in weights) < largest


def test_gradient():
    state, tensors = of_weights(spec_with("rram", {"crossbar.levels": None}))
    assert gradcheck(lambda *t: 1e9 * Energy()(state(*t), generator(0)), tensors)


def test_less_than_one_sample_is_refused():
    with pytest.raises(ValueError, match=r"samples = 0: expected 1 or more"):
        Energy(samples=0)
