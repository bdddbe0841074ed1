"""The analog side: power while the circuit is on, energy per conversion, and how long it all takes.

Everything is on for the whole inference (DAC, settling, ADC); nothing is switched off in between, and the time
between inferences is not charged. Drift, refresh and programming are not charged either.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equilog.cost.span import Span
from equilog.hardware import ProgrammedLayer


def amplifier_watt(layer: ProgrammedLayer) -> Span:
    """Return the power of all op-amps: ``n · branches · V_dd · 2π GBW C_L / (g_m/I_D)``.

    A single-pole amplifier needs g_m = 2π GBW C_L. GBW is taken as specified, without spread: a faster amplifier
    would settle sooner.
    """
    amp = layer.spec.amplifier
    current = Span.of(amp.load_farad) * (2 * math.pi * float(amp.gbw_hertz)) / amp.gm_over_id
    return current * (layer.states * float(amp.branches) * float(amp.supply_volt))


def activation_watt(layer: ProgrammedLayer) -> Span:
    """Return the power of all activation blocks: ``n · V_dd · I_bias``."""
    return Span.of(layer.spec.activation.bias_ampere) * (layer.states * float(layer.spec.amplifier.supply_volt))


@torch.no_grad()
def array_watt(layer: ProgrammedLayer, p: Tensor, z: Tensor, played: Tensor) -> float:
    """Return what crossbar and feedback resistors dissipate at rest, mean over samples.

    ``Σ G (V − x)²`` over every device with its own source and row voltage, and ``(v − x)²/R_f``.

    Args:
        layer: the chip.
        p, z: resting ``v/V_a`` and ``s/V_s``, shape ``(batch, n)``.
        played: drives as played, shape ``(batch, m)``.
    """
    spec = layer.spec
    v = p * float(spec.activation.v_scale_volt)
    x = layer.amp_offset_volt - v / layer.dc_gain
    ones = torch.ones_like(played[:, :1])
    full_scale = float(spec.dac.full_scale_volt)
    source = torch.cat([z * float(spec.activation.v_out_volt), played * full_scale, ones * full_scale], dim=1)
    plus, minus = layer.g_plus_siemens, layer.g_minus_siemens
    # Σ_k G⁺(−V_k − x_i)² + G⁻(V_k − x_i)², multiplied out so that no (batch, n, columns) array is needed.
    devices = ((source**2) @ (plus + minus).T + 2 * x * (source @ (plus - minus).T) + x**2 * (plus + minus).sum(1)).sum(
        1
    )
    feedback = ((v - x) ** 2).sum(1) / layer.r_feedback_ohm
    return float((devices + feedback).mean())
