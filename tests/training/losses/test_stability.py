"""The margin of the circuit's poles: its value against the twin in time, its gradient, and what it is good for."""

import pytest
import torch
from builders import NO_MISMATCH, matrices, normal, spec_with
from hypothesis import given
from hypothesis import strategies as st
from losses_cases import Nominal, nominal_state, of_weights, rest
from torch.autograd import gradcheck

from equilog.hardware import program
from equilog.hardware.transient import Transient
from equilog.training.losses import StabilityMargin
from equilog.training.losses.stability import abscissa

SLOW = NO_MISMATCH | {"amplifier.gbw_hertz": 3e6}


def margins(state):
    """Distance of the slowest pole of every sample in 1/τ."""
    moving = Transient(state.layer, state.played)
    return -moving.spectral_abscissa(state.p * moving.v_a) * state.layer.time_constant_second


@pytest.mark.parametrize("changes", [{}, SLOW, {"crossbar.wires": {"word_line_ohm": 50.0, "bit_line_ohm": 50.0}}])
def test_value_is_what_the_twin_in_time_lacks(changes):
    state = nominal_state(spec_with("rram", changes), batch=5)
    have = margins(state)
    asked = float(have.max()) + 0.5
    assert float(StabilityMargin(asked, 5)(state)) == pytest.approx(float((asked - have).mean()), rel=1e-9)
    between = float(have.sort().values[1:3].mean())
    assert float(StabilityMargin(between, 5)(state)) == pytest.approx(float((between - have).relu().mean()), rel=1e-9)


def test_nothing_is_asked_where_the_margin_is_kept():
    state, tensors = of_weights(spec_with("rram"))
    made = state(*tensors)
    loss = StabilityMargin(0.5 * float(margins(made).min()))(made)
    assert loss == 0
    assert all((g == 0).all() for g in torch.autograd.grad(loss, tensors))


def test_the_steepest_samples_are_looked_at():
    layer = program(matrices(6, 3), Nominal(spec_with("rram", NO_MISMATCH), 0))
    drive = torch.cat([0 * normal(0, 1, 3), normal(1, 5, 3).sign()])
    steep, flat = margins(rest(layer, drive))[0], margins(rest(layer, drive))[1:]
    asked = float(flat.max()) + 1
    assert float(StabilityMargin(asked, 1)(rest(layer, drive))) == pytest.approx(asked - float(steep), rel=1e-9)


def test_a_chip_that_oscillates_is_made_to_rest():
    """A skew weight that the map endures, and amplifiers that do not."""
    spec = spec_with("rram", NO_MISMATCH | {"amplifier.gbw_hertz": 1e6, "amplifier.rail_volt": None})
    skew = torch.tensor([[0.5, 6.0], [-6.0, 0.5]], dtype=torch.float64, requires_grad=True)
    rest_of_it = (torch.ones(2, 1).double(), torch.zeros(2).double())
    drive = torch.full((1, 1), 0.01, dtype=torch.float64)

    def state():
        return rest(program((skew, *rest_of_it), Nominal(spec, 0)), drive)

    assert margins(state()).min() < 0
    loss = StabilityMargin(0.2)
    for _ in range(60):
        (gradient,) = torch.autograd.grad(loss(state()), skew)
        with torch.no_grad():
            skew -= 0.5 * gradient
    assert margins(state()).min() > 0.15


@given(st.integers(2, 6), st.integers(0, 10**6))
def test_abscissa_is_the_largest_real_part(n, seed):
    a = normal(seed, 3, n, n)
    assert torch.allclose(abscissa(a), torch.linalg.eigvals(a).real.amax(-1), rtol=1e-8, atol=1e-10)


def test_gradient_of_the_abscissa():
    assert gradcheck(abscissa, normal(3, 3, 4, 4).requires_grad_())


@pytest.mark.parametrize("changes", [{}, {"amplifier.gbw_hertz": 3e6}], ids=["rram", "slow amplifiers"])
def test_gradient(changes):
    state, tensors = of_weights(spec_with("rram", {"crossbar.levels": None} | changes))
    assert gradcheck(lambda *t: StabilityMargin(3.0, 2)(state(*t)), tensors)


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match=r"margin = -0.1: expected 0 or more"):
        StabilityMargin(-0.1)
    with pytest.raises(ValueError, match=r"samples = 0: expected 1 or more"):
        StabilityMargin(samples=0)
