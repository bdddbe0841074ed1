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

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from equilog.cells import AffineSystem
from equilog.cells.circuit_cell import check_drive
from equilog.hardware.curve import activation_of
from equilog.hardware.effects.converter import analog_to_digital, digital_to_analog
from equilog.hardware.programming import ProgrammedLayer, source_volts


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
    return analog_to_digital(state, layer.spec.adc, layer.adc_inl, layer.conditions.reads, full_scale)


def static_system(layer: ProgrammedLayer, played: Tensor) -> AffineSystem:
    """Return the resting equation of the chip for drives as played by the DACs.

    Its solution is ``p = v/V_a`` and its activation returns ``z = s/V_s``.

    Args:
        layer: the chip, or a population.
        played: shape ``(batch, m)``; or ``(chips, batch, m)``, for a population only.
    """
    weight, drives, constant = (_wired if layer.wired else _apart)(layer)
    if layer.chips is None:
        injection = torch.addmm(constant, played, drives.mT)
    else:
        injection = played @ drives.mT + constant[..., None, :]
    return AffineSystem(weight, injection, activation_of(layer))


def _wired(layer: ProgrammedLayer) -> tuple[Tensor, Tensor, Tensor]:
    """Return W, U and the constant of ``p = Wφ(p) + U d + c`` where virtual grounds pull at each other."""
    n, v_a = layer.states, float(layer.spec.activation.v_scale_volt)
    eye = torch.eye(n).to(layer.load_siemens)
    noise_gain = layer.r_feedback_ohm * layer.load_siemens + eye
    droop = noise_gain / layer.dc_gain[..., None, :] + eye  # finite gain: N/A₀ of the signal is missing
    shift = noise_gain @ layer.amp_offset_volt[..., None]
    if bias := layer.spec.amplifier.input_bias_ampere:
        shift = shift + layer.r_feedback_ohm * float(bias)
    realised = torch.linalg.solve(droop, torch.cat([layer.effective, shift / v_a], dim=-1))
    weight, drives, known = realised.split([n, layer.drives, 2], dim=-1)
    return weight, drives, known.sum(-1)


def _apart(layer: ProgrammedLayer) -> tuple[Tensor, Tensor, Tensor]:
    """Return the same where every neuron's virtual ground is its own affair."""
    spec = layer.spec
    found: tuple[Tensor, Tensor, Tensor] = _Rows.apply(
        layer.transfer_siemens,
        layer.load_siemens,
        layer.r_feedback_ohm,
        layer.dc_gain,
        layer.amp_offset_volt,
        source_volts(spec, layer) / float(spec.activation.v_scale_volt),
        float(spec.activation.v_scale_volt),
        float(spec.amplifier.input_bias_ampere or 0.0),
    )
    return found


class _Rows(torch.autograd.Function):
    """``W, U, c`` of neurons apart: one node on the tape for two dozen, as for every new chip they are made anew.

    D = 1 + (1 + R ΣG)/A₀,      [W, U, b] = R T ∘ V/V_a / D,      c = b + ((1 + R ΣG) o + R I_b)/(V_a D)
    """

    @staticmethod
    def forward(
        ctx: Any,
        t: Tensor,
        load: Tensor,
        r: Tensor,
        gain: Tensor,
        offset: Tensor,
        volts: Tensor,
        v_a: float,
        i_b: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(t, load, r, gain, offset, volts)
        ctx.constants = v_a, i_b
        noise_gain = 1 + r * load
        droop = 1 + noise_gain / gain
        n, columns = t.shape[-2:]
        realised = t * ((r / droop)[..., None] * volts)
        weight, drives, bias = realised.split([n, columns - n - 1, 1], dim=-1)
        return weight, drives, bias[..., 0] + (noise_gain * offset + r * i_b) / (v_a * droop)

    @staticmethod
    def backward(ctx: Any, of_weight: Tensor, of_drives: Tensor, of_constant: Tensor) -> tuple[Tensor | None, ...]:
        t, load, r, gain, offset, volts = ctx.saved_tensors
        v_a, i_b = ctx.constants
        noise_gain = 1 + r * load
        droop = 1 + noise_gain / gain
        row = r / droop
        of_realised = torch.cat([of_weight, of_drives, of_constant[..., None]], dim=-1)
        of_t = of_realised * (row[..., None] * volts)
        # [W, U, b] is in proportion to R/D, the constant's other part to 1/D.
        of_size = (of_t * t).sum(-1)
        of_shift = of_constant / (v_a * droop)
        shift = noise_gain * offset + r * i_b
        of_droop = -(of_size + of_shift * shift) / droop
        of_noise_gain = of_shift * offset + of_droop / gain
        of_r = (of_size / r + of_shift * i_b + of_noise_gain * load).sum_to_size(r.shape)
        asks = ctx.needs_input_grad
        of_gain = -of_droop * noise_gain / gain.square() if asks[3] else None
        of_offset = of_shift * noise_gain if asks[4] else None
        return of_t, of_noise_gain * r, of_r, of_gain, of_offset, None, None, None


@dataclass(frozen=True)
class TwinState:
    """A batch at rest on a programmed chip, with everything that led there; on the tape where gradients are enabled.

    Attributes:
        layer: the chip, or a population.
        drive: what the digital side asked the DACs for, shape ``(batch, m)``.
        played: what they played, see :func:`dac`.
        system: the resting equation under it, see :func:`static_system`.
        p: its solution ``v/V_a``, shape ``(batch, n)``, or ``(chips, batch, n)``.
    """

    layer: ProgrammedLayer
    drive: Tensor
    played: Tensor
    system: AffineSystem
    p: Tensor

    @property
    def z(self) -> Tensor:
        """States ``s/V_s``, shaped like `p`."""
        return self.system.activation(self.p)

    @property
    def read(self) -> Tensor:
        """States as the ADCs report them; their noise is drawn anew at every access."""
        return adc(self.layer, self.z)
