"""The static twin: where a programmed chip comes to rest, differentiable in everything it is made of.

At rest an inverting summing integrator with open-loop gain A₀, noise gain N, input offset o and bias current I_b obeys

    v_i (1 + N_i/A₀) = R_f Σ_k T_ik s_k + N_i o_i + R_f I_b,      s_j = V_s a_j φ((v_j − δ_j)/V_a),

with T = G⁺ − G⁻ (what arrives through the wires, if they have resistance; N is then the matrix 1 + R_f L, because a
virtual ground that is not quite at zero pushes current into its neighbours). That is again ``p = Wφ(p) + u`` in
``p = v/V_a``: the same solver and the same implicit gradient serve the ideal model, the chip and a population.

Rails clip v to ±rail and take the virtual ground away from zero. On its own a neuron then rests exactly at the clipped
solution; with resistive wires its displaced virtual ground would also pull at its neighbours', which is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equilog.cells import AffineSystem
from equilog.cells.circuit_cell import check_drive
from equilog.hardware.curve import activation_of
from equilog.hardware.effects.converter import analog_to_digital, digital_to_analog
from equilog.hardware.programming import ProgrammedLayer


def dac(layer: ProgrammedLayer, drive: Tensor) -> Tensor:
    """Return the drive as the DACs play it, in units of full scale.

    Clipped to [−1, 1], rounded to codes, and with the flaws of the technology's DACs. The gradient passes the
    rounding unchanged and is zero where the drive clips.

    Args:
        layer: the chip, or a population.
        drive: shape ``(batch, m)``.

    Returns:
        the same shape; ``(chips, batch, m)`` for a population whose DACs differ from chip to chip, by INL or noise.
    """
    check_drive(drive, layer.drives)
    if layer.chips is not None and layer.conditions.reads is not None and layer.spec.dac.noise_volt:
        drive = drive.expand(layer.chips, *drive.shape)  # every chip has noise of its own
    return digital_to_analog(drive, layer.spec.dac, layer.dac_inl, layer.conditions.reads)


def adc(layer: ProgrammedLayer, state: Tensor) -> Tensor:
    """Return states ``z = s/V_s`` as the ADCs report them: rounded and clipped to their range, with their flaws.

    Args:
        layer: the chip, or a population.
        state: shape ``(batch, n)``, or ``(chips, batch, n)``.
    """
    full_scale = layer.spec.adc.full_scale_volt / layer.spec.activation.v_out_volt
    return analog_to_digital(state / full_scale, layer.spec.adc, layer.adc_inl, layer.conditions.reads) * full_scale


def static_system(layer: ProgrammedLayer, played: Tensor) -> AffineSystem:
    """Return the resting equation of the chip for drives as played by the DACs.

    Its solution is ``p = v/V_a`` and its activation returns ``z = s/V_s``.

    Args:
        layer: the chip, or a population.
        played: shape ``(batch, m)``; or ``(chips, batch, m)``, for a population only.
    """
    n, v_a = layer.states, layer.spec.activation.v_scale_volt
    offset = layer.amp_offset_volt
    if layer.wired:
        noise_gain = layer.r_feedback_ohm * layer.load_siemens + torch.eye(n).to(layer.load_siemens)
        droop = noise_gain / layer.dc_gain[..., None, :] + torch.eye(n).to(noise_gain)
        shifted = (noise_gain @ offset[..., None])[..., 0]
    else:
        noise_gain = layer.noise_gain
        droop = 1 + noise_gain / layer.dc_gain  # finite gain: N_i/A₀ of the signal is missing
        shifted = noise_gain * offset
    if bias := layer.spec.amplifier.input_bias_ampere:
        shifted = shifted + layer.r_feedback_ohm * float(bias)
    realised = torch.cat([layer.effective, (shifted / v_a)[..., None]], dim=-1)
    c = torch.linalg.solve(droop, realised) if layer.wired else realised / droop[..., None]
    ones = torch.ones_like(played[..., :1])
    known = torch.cat([played, ones, ones], dim=-1)
    injection = known @ c[..., n:].mT
    return AffineSystem(c[..., :n], injection, activation_of(layer))
