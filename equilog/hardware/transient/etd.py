"""Exponential Runge–Kutta steps: the linear part exactly, everything else to fourth order.

For ``ẇ = λ w + N(w)``, every component with its own λ ≤ 0. The method is Krogstad's ETDRK4-B (J. Comput. Phys. 203
(2005) 72), with stages at 0, h/2, h/2 and h. N of the last stage, c, and N at the end of the step differ; the
difference, with the stage's weight, is the distance to an embedded method of third order (Whalen, Brio & Moloney,
J. Comput. Phys. 280 (2015) 579). The state half-way, for interpolation, is the exact answer to the parabola through N
at 0, h/2 and h.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Weights(NamedTuple):
    """What a step of one length multiplies with; every field broadcasts against the state."""

    decay: Tensor
    decay_half: Tensor
    a_now: Tensor
    b_now: Tensor
    b_a: Tensor
    c_now: Tensor
    c_b: Tensor
    end_now: Tensor
    end_middle: Tensor
    end_c: Tensor
    half_now: Tensor
    half_middle: Tensor
    half_end: Tensor


class Step(NamedTuple):
    """One step: the state half-way and at the end, N at the stages b and c and at the end."""

    half: Tensor
    end: Tensor
    at_b: Tensor
    at_c: Tensor
    at_end: Tensor


def weights(rate: Tensor, step: Tensor) -> Weights:
    """Return the weights for the rates λ in 1/s and steps in seconds, broadcast against each other; float64."""
    h = step
    e, p1, p2, p3 = phi(rate * h)
    e_half, q1, q2, q3 = phi(rate * h / 2)
    # Integrals of exp(λ(h/2 − s)) (s/h)^j over half a step.
    i0, i1, i2 = h * q1 / 2, h * q2 / 4, h * q3 / 4
    return Weights(
        decay=e,
        decay_half=e_half,
        a_now=h * q1 / 2,
        b_now=h * (q1 / 2 - q2),
        b_a=h * q2,
        c_now=h * (p1 - 2 * p2),
        c_b=2 * h * p2,
        end_now=h * (p1 - 3 * p2 + 4 * p3),
        end_middle=h * (2 * p2 - 4 * p3),
        end_c=h * (4 * p3 - p2),
        half_now=i0 - 3 * i1 + 2 * i2,
        half_middle=2 * i1 - 2 * i2,  # for the sum of two stages
        half_end=2 * i2 - i1,
    )


def take(state: Tensor, now: Tensor, w: Weights, forcing: Callable[[Tensor], Tensor]) -> Step:
    """Take one step from `state`, where N is `now`; `forcing` is N."""
    half = w.decay_half * state
    whole = w.decay * state
    at_a = forcing(torch.addcmul(half, w.a_now, now))
    at_b = forcing(torch.addcmul(half, w.b_now, now).addcmul_(w.b_a, at_a))
    at_c = forcing(torch.addcmul(whole, w.c_now, now).addcmul_(w.c_b, at_b))
    middle = at_a + at_b
    end = whole.addcmul_(w.end_now, now).addcmul_(w.end_middle, middle).addcmul_(w.end_c, at_c)
    at_end = forcing(end)
    half.addcmul_(w.half_now, now).addcmul_(w.half_middle, middle).addcmul_(w.half_end, at_end)
    return Step(half, end, at_b, at_c, at_end)


def phi(z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return ``exp z``, and ``φ₁, φ₂, φ₃`` with ``φ_k(z) = Σ_j z^j/(j + k)!``, elementwise, to rounding for z ≤ 0."""
    near = z.abs() < 1  # there the recurrence would cancel
    far = torch.where(near, -1.0, z)
    p1 = torch.expm1(far) / far
    p2 = (p1 - 1) / far
    p3 = (p2 - 0.5) / far
    small = torch.where(near, z, 0.0)
    series = torch.zeros_like(z)
    for j in range(19, -1, -1):
        series = series * small + 1 / math.factorial(j + 3)
    s2 = series * small + 0.5
    s1 = s2 * small + 1
    return torch.exp(z), torch.where(near, s1, p1), torch.where(near, s2, p2), torch.where(near, series, p3)
