"""Differential pairs: from the differences that weights ask for to the currents that arrive.

A training step makes all of this anew for every chip, on arrays so small that a node on autograd's tape costs more than
its arithmetic: each stage is one.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from equilog.hardware.chip import Chip, Population
from equilog.hardware.conditions import Conditions
from equilog.hardware.effects import DEVICE_EFFECTS, FIXED_NETWORK, DeviceEffect, Devices
from equilog.hardware.effects.effect import line
from equilog.hardware.effects.elementwise import elementwise
from equilog.hardware.effects.rounding import feedback_through, sold_conductance
from equilog.hardware.technology import blocks
from equilog.hardware.technology.blocks import Crossbar
from equilog.hardware.technology.eseries import values
from equilog.hardware.wire_drops import first_order_conductance
from equilog.hardware.wires import loaded_conductance

Wires = Literal["exact", "first-order"]
"""How resistive wires are reckoned with"""


def wanted_differences(
    weights: Tensor, unit: Tensor, bar: Crossbar, fixed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return ``ΔG`` in siemens and the feedback resistor that lets the largest use the whole range, in ohm.

    Args:
        weights: C, shape ``(n, columns)``.
        unit: ``V_a/V_k``, so that ``R_f ΔG = C V_a/V_k``; shape ``(columns,)``.
        bar: the crossbar.
        fixed: weights of a fixed network, shaped alike. Where its largest is above that of C, it sets R_f: no resistor
            then conducts more than a device can, which the sources must drive, and R_f does not follow weights that
            have hardly been learnt yet down to nothing, and τ = R_f C_f with it.

    Raises:
        ValueError: if a weight is not finite, or all are zero.
    """
    least = 0.0 if fixed is None else float((fixed * unit).abs().max())
    delta, r_feedback = _Differences.apply(weights, unit, bar, least)
    return delta, r_feedback


def fixed_pairs(delta: Tensor, chip: Chip | Population) -> Tensor:
    """Return the resistors of a fixed network: of every pair one is left out, of a weight of zero both.

    Of an E series where resistors come in one, and with their mismatch.

    Args:
        delta: ``ΔG`` of the pairs, shape ``(n, columns)``.
        chip: whose resistors.

    Returns:
        ``G⁺`` and ``G⁻``, shape ``(2, n, columns)``; with a leading dimension ``chips`` for a population.
    """
    pairs = torch.stack([delta, -delta]).clamp(min=0)
    conducts = pairs > 0
    series = chip.spec.crossbar.e_series
    if series is not None and bool(conducts.any()):
        ohm = 1 / pairs[conducts].detach().double()
        sold = sold_conductance(pairs, values(series, float(ohm.min()) / 2, float(ohm.max()) * 2))
        pairs = torch.where(conducts, sold, 0.0)
    spread = FIXED_NETWORK.sample(chip, pairs.shape)
    if spread is not None:
        pairs = pairs * spread.to(pairs)
    return pairs.expand(len(chip.seeds), *pairs.shape[-3:]) if isinstance(chip, Population) else pairs


class _Differences(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, unit: Tensor, bar: Crossbar, least: float) -> tuple[Tensor, Tensor]:
        wanted = weights * unit
        place = wanted.abs().argmax()
        ctx.span = bar.g_max_siemens - bar.g_min_siemens
        largest = wanted.view(-1)[place].abs()
        size = float(largest)
        if not math.isfinite(size):
            raise ValueError("a weight is inf or nan: the cell cannot be programmed onto a chip")
        ctx.given = None
        if size < least:
            largest, size = torch.full_like(largest, least), least
            ctx.given = largest
        found = largest / ctx.span
        if not size > 0:
            raise ValueError("all weights are zero: nothing to program")
        r_feedback = feedback_through(found, bar)
        ctx.rounding = float(r_feedback) - float(found) if bar.e_series is not None else 0.0
        ctx.save_for_backward(weights, unit, place)
        return wanted / r_feedback, r_feedback

    @staticmethod
    def backward(ctx: Any, of_delta: Tensor, of_r: Tensor) -> tuple[Tensor, None, None, None]:
        weights, unit, place = ctx.saved_tensors
        wanted = weights * unit
        if ctx.given is not None:  # by weights that are not learnt
            return of_delta / (ctx.given / ctx.span + ctx.rounding) * unit, None, None, None
        largest = wanted.view(-1)[place]
        r_feedback = largest.abs() / ctx.span + ctx.rounding
        of_wanted = of_delta / r_feedback
        of_largest = (of_r - (of_wanted * wanted).sum() / r_feedback) * (largest.sign() / ctx.span)
        of_wanted = of_wanted.view(-1).index_add(0, place.view(1), of_largest.view(1)).view_as(wanted)
        return of_wanted * unit, None, None, None


def checked_places(populated: Tensor, weights: Tensor) -> Tensor:
    """Return a mask of the places that have devices, on the device of the weights.

    Raises:
        ValueError: for another shape than that of the weights or another type, or a weight that is left without a pair.
    """
    if populated.shape != weights.shape or populated.dtype != torch.bool:
        raise ValueError(
            f"populated is {populated.dtype} of shape {tuple(populated.shape)}: expected torch.bool of shape "
            f"{tuple(weights.shape)}, one place a weight of [W, U, b]"
        )
    populated = populated.to(weights.device)
    if bool((lost := weights.detach().ne(0) & ~populated).any()):
        i, k = lost.nonzero()[0].tolist()
        raise ValueError(
            f"weight {float(weights[i, k].detach()):.4g} in row {i}, column {k} of [W, U, b] where populated says that "
            "there is no device: expected 0 there, or a device"
        )
    return populated


def real_pairs(delta: Tensor, chip: Chip | Population, when: Conditions, populated: Tensor | None = None) -> Tensor:
    """Return what the devices conduct, ``G⁺`` and ``G⁻``, after every effect.

    Args:
        delta: ``ΔG``, shape ``(n, columns)``.
        chip: whose devices.
        when: the circumstances of the read.
        populated: where devices are, bool, ``(n, columns)``; nothing conducts elsewhere, and has no gradient.

    Returns:
        shape ``(2, n, columns)``, with a leading dimension ``chips`` where a population's chips differ.
    """
    pairs = elementwise(_Pairs(chip, delta, when), delta)
    return pairs if populated is None else pairs.masked_fill(~populated, 0.0)


class _Pairs:
    """``ΔG ↦ (G⁺, G⁻)`` through every effect; the same at every call."""

    def __init__(self, chip: Chip | Population, delta: Tensor, when: Conditions) -> None:
        self.bar, self.when = chip.spec.crossbar, when
        shape = torch.Size((2, *delta.shape))
        self.effects: list[tuple[DeviceEffect, Tensor | None]] = []
        for effect in DEVICE_EFFECTS:
            if effect.present(self.bar):
                drawn = effect.sample(chip, shape)
                self.effects.append((effect, None if drawn is None else drawn.to(delta)))
        self._reads: Tensor | None = None

    def __call__(self, delta: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
        """Return the pairs, shape ``(…, 2, n, columns)``, and their slopes if wanted."""
        asked = torch.stack([delta, -delta]).clamp(min=0).add_(self.bar.g_min_siemens)
        devices, when = Devices.of(asked, wanted), self._same_read()
        for effect, drawn in self.effects:
            devices = effect.forward(devices, drawn, self.bar, when)
        if devices.slope is None:
            return devices.now, None
        # One of a pair carries the weight; at a weight of exactly zero, each device half of it.
        sign = delta.sign()
        return devices.now, torch.stack([line(sign, 0.5, 0.5), line(sign, 0.5, -0.5)]) * devices.slope

    def _same_read(self) -> Conditions:
        """Return the circumstances; at every call after the first, with a generator as the first one found it."""
        source = self.when.reads
        if source is None:
            return self.when
        if self._reads is None:
            self._reads = source.get_state()
            return self.when
        again = torch.Generator(source.device)
        again.set_state(self._reads)
        return replace(self.when, reads=again)


def through_wires(g: Tensor, wires: blocks.Wires | None, how: Wires) -> tuple[Tensor, Tensor]:
    """Return what arrives at the virtual grounds, and their load.

    Args:
        g: pairs, shape ``(…, 2, n, columns)``.
        wires: their resistances.
        how: to reckon with them.

    Returns:
        transfer ``(…, n, columns)`` and load, ``(…, n)``, or ``(…, n, n)`` where virtual grounds load each other; see
        :class:`~equilog.hardware.ProgrammedLayer`.
    """
    if wires is not None and (wires.word_line_ohm or wires.bit_line_ohm):
        if how == "exact":
            lines = g.movedim(-1, -3).flatten(-3, -2)
            effective, load = loaded_conductance(lines, wires.word_line_ohm, wires.bit_line_ohm)
            return (effective[..., 0::2, :] - effective[..., 1::2, :]).mT, load
        g = first_order_conductance(g, wires.word_line_ohm, wires.bit_line_ohm)
    transfer, load = _Currents.apply(g)
    return transfer, load


class _Currents(torch.autograd.Function):
    """``G⁺ − G⁻`` and the sums of both along every row."""

    @staticmethod
    def forward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        plus, minus = g.unbind(-3)
        return plus - minus, (plus + minus).sum(-1)

    @staticmethod
    def backward(ctx: Any, of_transfer: Tensor, of_load: Tensor) -> Tensor:
        each = of_load[..., None]
        return torch.stack([each + of_transfer, each - of_transfer], dim=-3)
