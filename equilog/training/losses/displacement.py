"""How far mismatch and noise are expected to move the resting states of a chip: by cause, exact to first order.

Random changes of independent parts, each with its place in the equation of :mod:`equilog.training.losses.response`:

- device ±ik of the crossbar, or resistor of a fixed network, between a source ∓V_k x_k and a virtual ground at
  ``x_i = o_i − v_i/A₀``, brings ``η_i = (R_f/V_a) δG_ik (V_k x_k ± x_i)``, its variance from
  :mod:`equilog.training.losses.devices` or the network's tolerance;
- an amplifier's offset brings ``η = N δo/V_a``;
- a DAC's non-linearity, a bow of :mod:`equilog.hardware.effects.converter`, and its noise, if the read is noisy, shift
  the drive that it plays;
- an activation's relative gain and its offset bring ``ε_i = z_i/a_i δa_i`` and ``ε_i = −D_i δ_i/V_a``.

With resistive wires a device's own two voltages are taken as if its lines had none. Thermal and amplifier noise come
from the Lyapunov equation, see :mod:`equilog.hardware.noise`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equilog.hardware.effects import AMPLIFIER_OFFSET, FIXED_NETWORK
from equilog.hardware.effects.converter import inl
from equilog.hardware.effects.fixed_network import output_sigmas
from equilog.hardware.noise import noise_at_rest
from equilog.hardware.programming import source_volts
from equilog.hardware.twin import TwinState
from equilog.training.losses.devices import device_variance
from equilog.training.losses.response import Response, all_probed, noise_gain


@dataclass(frozen=True)
class Displacement:
    """``E‖δz‖²/n`` of every sample by cause, in units of the state squared, shape ``(batch,)``.

    Attributes:
        devices: by the conductances of the crossbar and of a fixed network.
        amplifiers: by the amplifiers' offsets.
        dacs: by the non-linearity of the DACs, and their noise if the read is noisy.
        activations: by the activations' gains and offsets.
        noise: by thermal and amplifier noise.
    """

    devices: Tensor
    amplifiers: Tensor
    dacs: Tensor
    activations: Tensor
    noise: Tensor

    @property
    def mismatch(self) -> Tensor:
        """All but noise."""
        return self.devices + self.amplifiers + self.dacs + self.activations

    @property
    def total(self) -> Tensor:
        """All causes."""
        return self.mismatch + self.noise


def expected_displacement(state: TwinState) -> Displacement:
    """Return how far another chip of the technology, just read, would rest from this one; on the tape.

    Exact to first order: all n adjoint solutions and a Lyapunov equation for each sample, O(n³).
    :class:`~equilog.training.losses.Robustness` estimates the mean of its total.

    Raises:
        ValueError: for a population.
        UnstableChipError: if a sample does not stay at rest in the circuit.
    """
    n = state.layer.states
    devices, amplifiers, dacs, activations = (part.sum(0) / n for part in mismatch(state, all_probed(state)))
    noise = noise_at_rest(state.layer, state.p * float(state.layer.spec.activation.v_scale_volt))
    shaken = noise.expected_displacement.to(state.p) / n
    return Displacement(devices, amplifiers, dacs, activations, shaken)


def mismatch(state: TwinState, response: Response) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return ``λᵀQ_ελ + μᵀQ_ημ`` by devices, amplifiers, DACs and activations, each of shape ``(…, batch)``."""
    layer, spec, lam, mu = state.layer, state.layer.spec, response.of_outputs, response.of_sums
    v_a, z, gain = float(spec.activation.v_scale_volt), state.z, noise_gain(layer)
    offset = AMPLIFIER_OFFSET.sigma(spec) / v_a
    gain_sigma, shift_sigma = (sigma.to(z) for sigma in output_sigmas(spec, layer.states, layer.linear))
    amplifiers = (mu @ gain if layer.wired else mu * gain).mul(offset).square().sum(-1)
    own = (gain_sigma * z / layer.act_gain).square()
    own = own + (shift_sigma / v_a * state.system.activation.slope(state.p)).square()
    devices = (mu.square() * _of_devices(state, z)).sum(-1)
    dacs = (response.of_drives(layer).square() * _of_dacs(state)).sum(-1)
    return devices, amplifiers, dacs, (lam.square() * own).sum(-1)


def _of_devices(state: TwinState, z: Tensor) -> Tensor:
    """Return the variance of η by the crossbar's devices, shape ``(batch, n)``."""
    layer, spec = state.layer, state.layer.spec
    v_a = float(spec.activation.v_scale_volt)
    source = torch.cat([z, state.played, torch.ones_like(z[:, :1])], dim=1) * (source_volts(spec, layer) / v_a)
    ground = layer.amp_offset_volt / v_a - state.p / layer.dc_gain
    plus, minus = device_variance(layer)
    if (law := layer.fixed_pairs) is not None:
        plus, minus = (v + (FIXED_NETWORK.sigma(spec) * f).square() for v, f in zip((plus, minus), law))
    plus, minus = (v * layer.r_feedback_ohm.square() for v in (plus, minus))
    both = plus + minus
    # Σ_k P_ik (s_k + x_i)² + M_ik (s_k − x_i)², multiplied out so that no (batch, n, columns) array is needed.
    return source.square() @ both.T + 2 * ground * (source @ (plus - minus).T) + ground.square() * both.sum(1)


def _of_dacs(state: TwinState) -> Tensor:
    """Return the variance of every drive as played, in units of full scale squared, shape ``(batch, m)``."""
    dac, x = state.layer.spec.dac, state.played
    variance = torch.zeros_like(x)
    if dac.inl_lsb:
        bows = torch.eye(2).to(x)[..., None].expand(2, 2, x.shape[-1])
        variance = sum((inl(x, bow, int(dac.bits)).square() for bow in bows), variance) * (float(dac.inl_lsb) ** 2 / 2)
    if dac.noise_volt and state.layer.conditions.reads is not None:
        variance = variance + float(dac.noise_volt / dac.full_scale_volt) ** 2
    return variance
