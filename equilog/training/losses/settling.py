"""How long a chip takes to come to rest, from its resting point alone: cheap, and smooth enough to train with.

Near rest, and below the amplifiers' own poles, neuron i is a first-order lag of the time constant
``T_i = (R_f C_f + N_i/(2π GBW))/(1 + N_i/A₀)``: its integrator, slowed by the closed loop of an amplifier of noise gain
N_i. Together they obey ``δp' = A δp`` with ``A = T⁻¹(WD − I)``. A step of the trapezoidal rule, ``E = (I − hA/2)⁻¹
(I + hA/2)``, is doubled by squaring: E, E², E⁴, … reach any time in few matrix products, oscillation and transient
growth of non-normal W included. Between two such instants the logarithm of the distance is taken as a straight line.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equilog.hardware.twin import TwinState

FIRST_STEP = 1 / 8
"""of the fastest neuron's time constant"""
DOUBLINGS = 12
"""reach 256 time constants; what has not come to rest by then never does, as far as energy is concerned"""
GROWN = 1e3
"""A distance from rest that has grown so far belongs to an unstable chip."""
NORM = 8
"""of the distance from rest: a smooth stand-in for the largest component"""


def settling_second(state: TwinState, tolerance: float, samples: Tensor | None = None) -> Tensor:
    """Return the time after which all states stay within ±`tolerance` of rest, from discharged capacitors; on the tape.

    Linearised at rest, with amplifiers that neither slew nor meet their rails. Against
    :meth:`~equilog.hardware.transient.Transient.settle` at half a code of 8 bits it scatters by 4 % and is right in the
    median to 1 % on rram, for monotone weights with ‖W‖ from 1 to 4. It is blind to the poles that amplifiers add.

    Args:
        state: a batch at rest on one chip.
        tolerance: in units of the state.
        samples: indices of those wanted, shape ``(k,)``; all unless given.

    Returns:
        seconds, shape ``(k,)``. A sample that does not come to rest has the longest time looked at, and no gradient:
        :class:`~equilog.training.losses.StabilityMargin` is there for it.
    """
    layer = state.layer
    p = state.p if samples is None else state.p[samples]
    slope = state.system.activation.slope(p)
    lag = layer.r_feedback_ohm * layer.c_feedback_farad + layer.noise_gain / (2 * math.pi * layer.gbw_hertz)
    lag = lag / (1 + layer.noise_gain / layer.dc_gain)
    step = FIRST_STEP * lag.min()
    eye = torch.eye(layer.states).to(p)
    half = (state.system.weight * slope[:, None, :] - eye) * (step / 2 / lag)[:, None]
    power = torch.linalg.solve(eye - half, eye + half)
    start, seen = p[..., None], slope.detach()
    states, first = [start], (seen * p.detach()).abs().amax(-1)
    near = tolerance / layer.states ** (1 / NORM)  # the norm is at most so many times the largest component
    lost = torch.zeros(len(p), dtype=torch.bool)
    for _ in range(DOUBLINGS):
        states.append(power @ start)
        far = (seen * states[-1].detach()[..., 0]).abs().amax(-1)
        lost |= far > GROWN * first
        if bool((lost | (far < near)).all()):
            break
        if bool(lost.any()):
            power = torch.where(lost[:, None, None], eye, power)  # before it overflows
        power = power @ power
    instants = step * torch.tensor([0.0, *(2.0**k for k in range(DOUBLINGS))]).to(p)
    return _last_crossing(instants, _distance(slope * torch.cat(states, -1).movedim(-1, 0)) / tolerance, lost)


def _distance(z: Tensor) -> Tensor:
    # Scaled by the largest component: eighth powers leave the range of float32.
    size = z.detach().abs().amax(-1, keepdim=True).clamp_min(torch.finfo(z.dtype).tiny)
    return torch.linalg.vector_norm(z / size, NORM, dim=-1) * size[..., 0]


def _last_crossing(instants: Tensor, distance: Tensor, lost: Tensor) -> Tensor:
    """Return when the distance, known at the first instants, last falls below 1; shape ``(k,)``.

    The last instant of all where it does not, or where the sample is lost.
    """
    outside = distance > 1
    never = lost | outside[-1]
    last = (outside * torch.arange(len(distance))[:, None]).amax(0).masked_fill(never, 0)
    a, b = torch.stack([distance.gather(0, (last + k)[None])[0] for k in (0, 1)]).clamp_min(1e-30).log()
    share = a.clamp_min(0) / torch.where((a > 0) & (b <= 0), a - b, 1.0)
    return torch.where(never, instants[-1].detach(), torch.lerp(instants[last], instants[last + 1], share))
