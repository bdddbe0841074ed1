"""The static twin: where a programmed chip comes to rest, differentiable in everything it is made of.

At rest an inverting summing integrator with open-loop gain A₀, noise gain N and input offset o obeys

    v_i (1 + N_i/A₀) = R_f Σ_k (G⁺ − G⁻)_ik s_k + N_i o_i,      s_j = V_s a_j tanh((v_j − δ_j)/V_a),

which is again ``p = Wφ(p) + u`` in ``p = v/V_a``: the same solver and the same implicit gradient serve the ideal
model and the chip.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equilog.cells import AffineSystem, Tanh
from equilog.cells.circuit_cell import check_drive
from equilog.hardware.programming import ProgrammedLayer
from equilog.hardware.quantise import convert


def dac(layer: ProgrammedLayer, drive: Tensor) -> Tensor:
    """Return the drive as the DACs play it, in units of full scale: clipped to [−1, 1] and rounded to codes.

    The gradient passes the rounding unchanged and is zero where the drive clips.
    """
    check_drive(drive, layer.drives)
    return convert(drive, int(layer.spec.dac.bits))


def adc(layer: ProgrammedLayer, state: Tensor) -> Tensor:
    """Return states ``z = s/V_s`` as the ADCs report them, rounded and clipped to their range."""
    full_scale = layer.spec.adc.full_scale_volt / layer.spec.activation.v_out_volt
    return convert(state / full_scale, int(layer.spec.adc.bits)) * full_scale


def static_system(layer: ProgrammedLayer, played: Tensor) -> AffineSystem:
    """Return the resting equation of the chip for drives as played by the DACs, shape ``(batch, m)``.

    Its solution is ``p = v/V_a`` and its activation returns ``z = s/V_s``.
    """
    n, v_a = layer.states, layer.spec.activation.v_scale_volt
    droop = 1 + layer.noise_gain / layer.dc_gain  # finite gain: N_i/A₀ of the signal is missing
    c = layer.effective / droop[:, None]
    offset = layer.noise_gain * layer.amp_offset_volt / (v_a * droop)
    ones = torch.ones_like(played[:, :1])
    injection = torch.cat([played, ones], dim=1) @ c[:, n:].T + offset
    return AffineSystem(c[:, :n], injection, Tanh(layer.act_gain, layer.act_offset_volt / v_a))
