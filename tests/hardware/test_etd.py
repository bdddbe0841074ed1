"""The exponential method: its functions to rounding, its steps exact where they should be."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equilog.hardware.transient import etd


def exact_phi(k, z):
    """φ_k by its series in rational numbers."""
    z, term, total = Fraction(z), Fraction(1, math.factorial(k)), Fraction(0)
    for j in range(60 + 4 * int(abs(z))):
        total += term
        term = (term * z / (j + 1 + k)).limit_denominator(10**60)
    return float(total)


@given(st.floats(-12, 0))
def test_phi_is_its_series(z):
    found = etd.phi(torch.tensor([z], dtype=torch.float64))
    for k, value in enumerate(found):
        assert float(value) == pytest.approx(exact_phi(k, z), rel=1e-12, abs=1e-15)


def test_phi_of_fast_poles_is_finite():
    for value, k in zip(etd.phi(torch.tensor([-1e8], dtype=torch.float64))[1:], (1, 2, 3)):
        assert float(value) == pytest.approx(1e-8 / math.factorial(k - 1), rel=1e-6)


@pytest.mark.parametrize("rate", [0.0, -0.3, -5.0, -2e3])
def test_a_constant_is_integrated_exactly(rate):
    rate = torch.tensor([rate], dtype=torch.float64)
    w = etd.weights(rate, torch.tensor(0.7, dtype=torch.float64))
    one = torch.ones(1, dtype=torch.float64)
    step = etd.take(2 * one, 3 * one, w, lambda state: 3 + 0 * state)
    for value, h in ((step.end, 0.7), (step.half, 0.35)):
        grown = math.exp(float(rate) * h)
        added = h if float(rate) == 0 else math.expm1(float(rate) * h) / float(rate)
        assert float(value) == pytest.approx(2 * grown + 3 * added, rel=1e-12)
    assert torch.equal(step.at_c, step.at_end)


def test_the_order_is_four_and_that_of_the_embedded_method_three():
    """ẇ = −w + sin(w) from 2, against a thousand steps."""

    def run(h):
        w, rate = (
            etd.weights(torch.tensor([-1.0], dtype=torch.float64), torch.tensor(h, dtype=torch.float64)),
            torch.sin,
        )
        state, estimates = torch.tensor([2.0], dtype=torch.float64), []
        for _ in range(round(1 / h)):
            step = etd.take(state, rate(state), w, rate)
            estimates.append(float((w.end_c * (step.at_end - step.at_c)).abs()))
            state = step.end
        return float(state), max(estimates)

    fine, _ = run(1e-3)
    (a, of_a), (b, of_b) = run(0.1), run(0.05)
    assert math.log2(abs(a - fine) / abs(b - fine)) == pytest.approx(4, abs=0.4)
    assert math.log2(of_a / of_b) == pytest.approx(4, abs=0.4)  # a local error: one more than the order
