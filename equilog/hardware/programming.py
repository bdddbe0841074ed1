"""From weights to conductances: the layer as one chip really holds it.

Everything downstream (static twin, transient twin, netlist, cost) reads the same :class:`ProgrammedLayer`, so
they speak of the same resistors. Columns of the crossbar, in order: n states, m drives, one bias reference;
column k is driven by a source of amplitude ``V_k`` in both polarities, and a signed weight is a pair

    R_f (G⁺_ik − G⁻_ik) V_k = V_a C_ik,    C = [W, U, b].

R_f is chosen so that the largest weight uses the whole conductance range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from equilog.hardware.chip import Chip
from equilog.hardware.quantise import to_levels
from equilog.hardware.spec import Crossbar, Spec


@dataclass(frozen=True)
class ProgrammedLayer:
    """A cell on a chip, in volts, siemens and ohms. All tensors share dtype and device and carry gradients.

    Attributes:
        g_plus_siemens: ``G⁺``, shape ``(n, n + m + 1)``; zero where no device conducts.
        g_minus_siemens: ``G⁻``, same shape.
        r_feedback_ohm: ``R_f``, scalar.
        c_feedback_farad: ``C_f``, scalar.
        dc_gain: ``A₀``, shape ``(n,)``.
        gbw_hertz: gain–bandwidth product, shape ``(n,)``.
        amp_offset_volt: ``o_i``, shape ``(n,)``.
        act_gain: relative output amplitude of the activation, shape ``(n,)``.
        act_offset_volt: input offset of the activation, shape ``(n,)``.
        target: the unrounded weights ``C`` that were asked for, shape ``(n, n + m + 1)``.
        spec: the technology.
        seed: of the chip.
    """

    g_plus_siemens: Tensor
    g_minus_siemens: Tensor
    r_feedback_ohm: Tensor
    c_feedback_farad: Tensor
    dc_gain: Tensor
    gbw_hertz: Tensor
    amp_offset_volt: Tensor
    act_gain: Tensor
    act_offset_volt: Tensor
    target: Tensor
    spec: Spec
    seed: int

    @property
    def states(self) -> int:
        """Number of neurons n."""
        return self.g_plus_siemens.shape[0]

    @property
    def drives(self) -> int:
        """Number of DAC channels m."""
        return self.g_plus_siemens.shape[1] - self.states - 1

    @property
    def row_conductance_siemens(self) -> Tensor:
        """``ΣG_i``: all conductance at the virtual ground but the feedback, shape ``(n,)``."""
        return (self.g_plus_siemens + self.g_minus_siemens).sum(1)

    @property
    def noise_gain(self) -> Tensor:
        """``N_i = 1 + R_f ΣG_i``, shape ``(n,)``."""
        return 1 + self.r_feedback_ohm * self.row_conductance_siemens

    @property
    def effective(self) -> Tensor:
        """The weights ``C`` that the conductances realise, shape ``(n, n + m + 1)``."""
        scale = self.r_feedback_ohm / self.spec.activation.v_scale_volt
        return (self.g_plus_siemens - self.g_minus_siemens) * scale * source_volts(self.spec, self)

    @property
    def time_constant_second(self) -> float:
        """``τ = R_f C_f``."""
        return float((self.r_feedback_ohm * self.c_feedback_farad).detach())

    def to(self, dtype: torch.dtype) -> ProgrammedLayer:
        """Return a copy in another precision."""
        tensors = {f.name: v.to(dtype) for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        return replace(self, **tensors)  # type: ignore[arg-type]  # only tensors are replaced


def source_volts(spec: Spec, layer: ProgrammedLayer) -> Tensor:
    """Return the amplitude ``V_k`` of every column's source, shape ``(n + m + 1,)``."""
    return _volts(spec, layer.states, layer.drives, layer.g_plus_siemens)


def _volts(spec: Spec, n: int, m: int, like: Tensor) -> Tensor:
    volts = [float(spec.activation.v_out_volt)] * n + [float(spec.dac.full_scale_volt)] * (m + 1)
    return like.new_tensor(volts)


def program(matrices: tuple[Tensor, Tensor, Tensor], chip: Chip) -> ProgrammedLayer:
    """Map a cell's weights onto a chip.

    Range and levels are the technology's, programming error and offsets this chip's. Differentiable in the
    weights; the rounding to levels passes gradients straight through.

    Args:
        matrices: ``W (n, n)``, ``U (n, m)``, ``b (n,)``, as from :meth:`CircuitCell.matrices`.
        chip: where to.

    Raises:
        ValueError: if a weight is not finite, or all are zero (no conductance could be chosen).
    """
    weight, input_weight, bias = matrices
    target = torch.cat([weight, input_weight, bias[:, None]], dim=1)
    spec, bar = chip.spec, chip.spec.crossbar
    n, columns = target.shape
    largest = _largest(target)
    volts = _volts(spec, n, columns - n - 1, target)
    wanted = target * (spec.activation.v_scale_volt / volts)  # R_f ΔG
    span = bar.g_max_siemens - bar.g_min_siemens
    r_feedback = wanted.abs().max() / span
    if not largest > 0:
        raise ValueError("all weights are zero: nothing to program")
    delta = wanted / r_feedback
    # Halves of |ΔG| ± ΔG rather than two clamps, whose gradients would both count at a weight of exactly zero.
    size = delta.abs()
    g = torch.stack([size + delta, size - delta]) / 2 + bar.g_min_siemens
    if bar.levels is not None:
        g = to_levels(g, bar.g_min_siemens, bar.g_max_siemens, int(bar.levels))
    g = _programmed(g, bar, chip)

    def per_neuron(value: float) -> Tensor:
        return target.new_full((n,), value)

    def mismatch(name: str, sigma: float) -> Tensor:
        return sigma * chip.standard_normal(name, n).to(target)

    amp, act = spec.amplifier, spec.activation
    return ProgrammedLayer(
        g_plus_siemens=g[0],
        g_minus_siemens=g[1],
        r_feedback_ohm=r_feedback,
        c_feedback_farad=target.new_tensor(float(amp.c_feedback_farad)),
        dc_gain=per_neuron(amp.dc_gain),
        gbw_hertz=per_neuron(amp.gbw_hertz),
        amp_offset_volt=mismatch("amplifier.offset", amp.offset_sigma_volt),
        act_gain=1 + mismatch("activation.gain", act.gain_sigma),
        act_offset_volt=mismatch("activation.offset", act.offset_sigma_volt),
        target=target,
        spec=spec,
        seed=chip.seed,
    )


def _largest(target: Tensor) -> float:
    largest = float(target.detach().abs().max())
    if not math.isfinite(largest):
        raise ValueError("a weight is inf or nan: the cell cannot be programmed onto a chip")
    return largest


def _programmed(g: Tensor, bar: Crossbar, chip: Chip) -> Tensor:
    """Add the programming error of this chip's devices; a device never conducts less than nothing."""
    if bar.programming_sigma is None:
        return g
    x = g / bar.g_max_siemens
    sigma = torch.zeros_like(g)
    for coefficient in reversed(bar.programming_sigma.coefficients_siemens):
        sigma = sigma * x + coefficient
    deviate = chip.standard_normal("crossbar.programming", *g.shape).to(g)
    return (g + sigma.clamp(min=0) * deviate).clamp(min=0)
