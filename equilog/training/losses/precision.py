"""Precision: what the levels of the conductances and the range and bits of the converters cannot represent."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from equilog.hardware import ProgrammedLayer
from equilog.hardware.curve import activation_of
from equilog.hardware.programming import source_volts
from equilog.hardware.twin import TwinState
from equilog.training.losses.devices import asked_siemens
from equilog.training.losses.response import probed


class Precision(nn.Module):
    """``E‖z_read − z_exact‖²/n`` by rounding and clipping alone, mean over the batch.

    Unit: the state squared, 1 being V_s². Rounding to steps of q is an error of variance q²/12, independent from one
    number to the next (Bennett, Bell Syst. Tech. J. 27 (1948) 446), which moves the states as
    :mod:`equilog.training.losses.response` says; clipping is an error that is known:

    - levels: ``E η_i² = (R_f q/V_a)²/12 Σ_k (V_k x_k)²`` with ``q = (G_max − G_min)/(levels − 1)``: R_f q is the
      largest weight over levels − 1, so that one large weight costs all others their resolution. In an E series of
      ratio r, ``q = G ln r``;
    - DACs: a code's variance on every drive, and drives beyond ±1;
    - rails: what the activation would have returned beyond them;
    - ADCs: a code's variance on every state, and states beyond full scale.

    Rounding is taken at its expectation and not at the rounding that happened: the latter has no gradient. Populations
    are refused.

    Raises:
        ValueError: when called, for a population.
    """

    def forward(self, state: TwinState, generator: torch.Generator | None = None) -> Tensor:
        """Return an estimate without bias, a scalar on the tape; one adjoint solve.

        Args:
            state: a batch at rest on one chip.
            generator: of the probes; PyTorch's own unless given.
        """
        layer, spec, z = state.layer, state.layer.spec, state.z
        n = layer.states
        response = probed(state, generator)
        source = torch.cat([z, state.played, torch.ones_like(z[:, :1])], dim=1) * source_volts(spec, layer)
        levels = source.square() @ _rounding_variance(layer).T  # of η, (batch, n)
        by_drive = response.of_drives(layer)
        coarse = (response.of_sums.square() * levels).sum(-1)
        coarse = coarse + by_drive.square().sum(-1) * _code_variance(int(spec.dac.bits))
        clipped = (by_drive * (state.drive - state.drive.clamp(-1, 1))).sum(-1)
        if spec.amplifier.rail_volt is not None:
            free = replace(activation_of(layer), rail=math.inf)
            clipped = clipped + (response.of_outputs * (free(state.p) - z)).sum(-1)
        full = float(spec.adc.full_scale_volt / spec.activation.v_out_volt)
        read = (z - z.clamp(-full, full)).square().sum(-1)
        return (coarse + clipped.square() + read).mean() / n + full**2 * _code_variance(int(spec.adc.bits))


def _code_variance(bits: int) -> float:
    """Return q²/12 of a symmetric converter of full scale 1."""
    return 1 / (2 ** (bits - 1) - 1) ** 2 / 12


def _rounding_variance(layer: ProgrammedLayer) -> Tensor:
    """Return the variance of ``R_f ΔG/V_a`` by rounding ΔG, in 1/V², shape ``(n, columns)``."""
    bar = layer.spec.crossbar
    scale = layer.r_feedback_ohm / float(layer.spec.activation.v_scale_volt)
    if bar.e_series is not None:
        # The device that carries the weight; the other conducts the same in all pairs.
        step = asked_siemens(layer).amax(0) * (math.log(10) / float(bar.e_series[1:]))
    elif bar.levels is not None:
        # A weight of zero is two devices at G_min, which is a level.
        step = layer.target.ne(0).to(layer.target) * float((bar.g_max_siemens - bar.g_min_siemens) / (bar.levels - 1))
    else:
        return torch.zeros_like(layer.target)
    return (step * scale).square() / 12
