"""How much each conductance of one chip differs from that of another, as a function of the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equilog.hardware import ProgrammedLayer
from equilog.hardware.effects import Devices
from equilog.hardware.effects.effect import TINY
from equilog.hardware.effects.levels import Levels
from equilog.hardware.effects.programming_error import programming_sigma
from equilog.hardware.effects.read_noise import read_sigma
from equilog.hardware.effects.rounding import ESeriesRounding
from equilog.hardware.programming import source_volts
from equilog.hardware.technology.blocks import ClampedLog


def asked_siemens(layer: ProgrammedLayer) -> Tensor:
    """Return what the devices were asked to conduct, rounded to what there is, shape ``(2, n, columns)``, G⁺ first.

    Zero where there is no device. The gradient passes the rounding straight through.
    """
    bar, spec = layer.spec.crossbar, layer.spec
    delta = layer.target * (float(spec.activation.v_scale_volt) / source_volts(spec, layer)) / layer.r_feedback_ohm
    devices = Devices.of(torch.stack([delta, -delta]).clamp(min=0) + float(bar.g_min_siemens))
    for effect in (Levels(), ESeriesRounding()):
        if effect.present(bar):
            devices = effect.forward(devices, None, bar, layer.conditions)
    return _where_populated(devices.asked, layer)


def device_variance(layer: ProgrammedLayer) -> Tensor:
    """Return the variance of every device in S² at the age and temperature of the read, shape ``(2, n, columns)``.

    Programming error and its relaxation; the spread of drift exponents, ``(G ln(t/t₀) σ_ν)²``; read noise if the read
    is noisy; zero where there is no device. Stuck devices, which are no small change, and what is the same on all chips
    are not in it.
    """
    bar, when = layer.spec.crossbar, layer.conditions
    asked = asked_siemens(layer)
    now, variance = asked, programming_sigma(asked, bar, when).square()
    ratio = when.age(bar.reference_second) / bar.reference_second
    if bar.drift is not None and ratio != 1:
        log_x = torch.log(asked.clamp(min=TINY * float(bar.g_max_siemens)) / float(bar.g_max_siemens))
        kept = ratio ** -_clamped_log(log_x, bar.drift.exponent_mean)
        spread = asked * _clamped_log(log_x, bar.drift.exponent_sigma) * math.log(ratio)
        now, variance = now * kept, (variance + spread.square()) * kept.square()
    if bar.temperature is not None:
        warmer = when.temperature_kelvin - float(bar.temperature.reference_kelvin)
        factor = max(0.0, 1 + float(bar.temperature.per_kelvin) * warmer)
        now, variance = now * factor, variance * factor**2
    if bar.read_noise is not None and when.reads is not None:
        variance = variance + read_sigma(now, asked, bar, when).square()
    return _where_populated(variance, layer)


def _where_populated(value: Tensor, layer: ProgrammedLayer) -> Tensor:
    return value if layer.populated is None else value.masked_fill(~layer.populated, 0.0)


def _clamped_log(log_x: Tensor, law: ClampedLog) -> Tensor:
    return (law.slope * log_x + law.intercept).clamp(law.low, law.high)
