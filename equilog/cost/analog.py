"""The analog side's power, block by block, from the programmed chip and its own resting points.

Everything is on for the whole inference (DAC, settling, detector, ADC). What stays on between inferences, and what
programming takes, is in :mod:`equilog.cost.inference` and :mod:`equilog.cost.writing`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equilog.cost.process import Process, process_of
from equilog.cost.span import Span
from equilog.cost.wire_power import array_with_wires_watt
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
    """Return the power of all activation blocks: ``n · V_dd · I_bias``.

    An output without an activation is charged as one: it has the same two drivers, and an amplifier for the pair.
    """
    return Span.of(layer.spec.activation.bias_ampere) * (layer.states * float(layer.spec.amplifier.supply_volt))


def detector_watt(layer: ProgrammedLayer, process: Process | None = None) -> Span:
    """Return the power of the detector: two comparators a neuron; nothing where the technology has none."""
    if layer.spec.detector is None:
        return Span.of(0.0)
    return Span.of((process or process_of(layer.spec)).comparator_watt) * (2 * layer.states)


def bias_watt(layer: ProgrammedLayer, process: Process | None = None) -> Span:
    """Return the power of references and bias: one reference a chip, and with a detector the sample-and-holds.

    There is one for every neuron: what the detector found at rest is kept for the ADCs.
    """
    process = process or process_of(layer.spec)
    holds = 0 if layer.spec.detector is None else layer.states
    return Span.of(process.reference_watt) + Span.of(process.sample_hold_watt) * holds


def idle_watt(layer: ProgrammedLayer, process: Process | None = None) -> Span:
    """Return what the chip draws while it waits: the reference, and what is left of amplifiers and activations."""
    process = process or process_of(layer.spec)
    left = (amplifier_watt(layer) + activation_watt(layer)) * process.standby_fraction
    return Span.of(process.reference_watt) + left


@torch.no_grad()
def array_watt(layer: ProgrammedLayer, p: Tensor, z: Tensor, played: Tensor) -> float:
    """Return what the resistors of a chip dissipate at rest, mean over samples; see :func:`sample_watt`."""
    return float(sample_watt(layer, p, z, played).mean())


def sample_watt(layer: ProgrammedLayer, p: Tensor, z: Tensor, played: Tensor) -> Tensor:
    """Return what crossbar, fixed network and feedback resistors dissipate at rest, sample by sample; on the tape.

    ``Σ G (V − x)²`` over every device with its own source and virtual ground, and ``(v − x)²/R_f``. Where wires have
    resistance, devices see what the wires leave them and the wires take the rest; the gradient is that of ideal ones.

    Args:
        layer: the chip.
        p, z: resting ``v/V_a`` and ``s/V_s``, shape ``(batch, n)``.
        played: drives as played, shape ``(batch, m)``.

    Returns:
        watts, shape ``(batch,)``.
    """
    v = p * float(layer.spec.activation.v_scale_volt)
    return array_watt_at(layer, v, layer.amp_offset_volt - v / layer.dc_gain, z, played)


def array_watt_at(layer: ProgrammedLayer, v: Tensor, x: Tensor, z: Tensor, played: Tensor) -> Tensor:
    """Return the same at any instant: amplifier outputs ``v`` and virtual grounds ``x`` in volts, ``(batch, n)``."""
    spec = layer.spec
    ones = torch.ones_like(played[:, :1])
    full_scale = float(spec.dac.full_scale_volt)
    source = torch.cat([z * float(spec.activation.v_out_volt), played * full_scale, ones * full_scale], dim=1)
    plus, minus = layer.g_plus_siemens, layer.g_minus_siemens
    devices = _pairs_watt(plus, minus, source, x)
    wires = layer.wires
    if layer.wired and wires is not None:
        lines = torch.stack([plus.T, minus.T], dim=1).reshape(-1, layer.states)
        drivers = torch.stack([-source, source], dim=2).reshape(len(source), -1)
        exact = array_with_wires_watt(lines, float(wires.word_line_ohm), float(wires.bit_line_ohm), drivers, x)
        devices = devices + (exact.to(devices) - devices.detach())
    if (law := layer.fixed_pairs) is not None:
        devices = devices + _pairs_watt(*law, source, x)
    return devices + ((v - x) ** 2).sum(1) / layer.r_feedback_ohm


def _pairs_watt(plus: Tensor, minus: Tensor, source: Tensor, x: Tensor) -> Tensor:
    """Return ``Σ_ik G⁺(−V_k − x_i)² + G⁻(V_k − x_i)²``, multiplied out: no (batch, n, columns) array is needed."""
    both = plus + minus
    return ((source**2) @ both.T + 2 * x * (source @ (plus - minus).T) + x**2 * both.sum(1)).sum(1)
