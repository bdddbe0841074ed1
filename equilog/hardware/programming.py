"""From weights to conductances: the layer as one chip really holds it.

Everything downstream (static twin, transient twin, netlist, cost) reads the same :class:`ProgrammedLayer`, so
they speak of the same resistors. Columns of the crossbar, in order: n states, m drives, one bias reference;
column k is driven by a source of amplitude ``V_k`` in both polarities, and a signed weight is a pair

    R_f (G⁺_ik − G⁻_ik) V_k = V_a C_ik,    C = [W, U, b].

R_f is chosen so that the largest weight uses the whole conductance range; where resistors come in an E series, it is
the next larger one of that.

With resistive wires the array is laid out as :mod:`equilog.hardware.wires` draws it: word line 2k carries the negative
polarity of column k and its G⁺, word line 2k + 1 the positive polarity and its G⁻; bit line i ends in neuron i.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from equilog.hardware.chip import Chip, Population
from equilog.hardware.conditions import Conditions
from equilog.hardware.effects import ACTIVATION_GAIN, ACTIVATION_OFFSET, AMPLIFIER_OFFSET, DEVICE_EFFECTS, Devices
from equilog.hardware.effects.converter import sample_inl
from equilog.hardware.effects.rounding import feedback_through
from equilog.hardware.technology.spec import Spec
from equilog.hardware.wires import loaded_conductance


@dataclass(frozen=True)
class ProgrammedLayer:
    """A cell on a chip, in volts, siemens and ohms. All tensors share dtype and device and carry gradients.

    On a population of chips every shape below, but that of R_f, C_f and the target, has a leading dimension ``chips``.

    Attributes:
        g_plus_siemens: ``G⁺`` of the devices, shape ``(n, n + m + 1)``; zero where no device conducts.
        g_minus_siemens: ``G⁻``, same shape.
        transfer_siemens: what arrives of them, current into virtual ground i for a volt at source k, same shape:
            ``G⁺ − G⁻`` with ideal wires.
        load_siemens: all conductance at the virtual grounds but the feedback: ``ΣG_i``, shape ``(n,)``; with resistive
            wires the matrix L of :func:`equilog.hardware.wires.loaded_conductance`, shape ``(n, n)``.
        r_feedback_ohm: ``R_f``, scalar.
        c_feedback_farad: ``C_f``, scalar.
        dc_gain: ``A₀``, shape ``(n,)``.
        gbw_hertz: gain–bandwidth product, shape ``(n,)``.
        amp_offset_volt: ``o_i``, shape ``(n,)``.
        act_gain: relative output amplitude of the activation, shape ``(n,)``.
        act_offset_volt: input offset of the activation, shape ``(n,)``.
        dac_inl, adc_inl: bows of the converters, shapes ``(2, m)`` and ``(2, n)``, see
            :mod:`equilog.hardware.effects.converter`; None without INL.
        target: the unrounded weights ``C`` that were asked for, shape ``(n, n + m + 1)``.
        spec: the technology.
        seed: of the chip, or a tuple of seeds.
        conditions: age, temperature and read for which the conductances hold.
    """

    g_plus_siemens: Tensor
    g_minus_siemens: Tensor
    transfer_siemens: Tensor
    load_siemens: Tensor
    r_feedback_ohm: Tensor
    c_feedback_farad: Tensor
    dc_gain: Tensor
    gbw_hertz: Tensor
    amp_offset_volt: Tensor
    act_gain: Tensor
    act_offset_volt: Tensor
    dac_inl: Tensor | None
    adc_inl: Tensor | None
    target: Tensor
    spec: Spec
    seed: int | tuple[int, ...]
    conditions: Conditions

    @property
    def states(self) -> int:
        """Number of neurons n."""
        return self.g_plus_siemens.shape[-2]

    @property
    def chips(self) -> int | None:
        """How many chips this is a population of; None for a single one."""
        return self.g_plus_siemens.shape[0] if self.g_plus_siemens.ndim == 3 else None

    @property
    def drives(self) -> int:
        """Number of DAC channels m."""
        return self.g_plus_siemens.shape[-1] - self.states - 1

    @property
    def wired(self) -> bool:
        """Whether the wires have resistance: then virtual grounds load each other and `load_siemens` is a matrix."""
        return self.load_siemens.ndim == self.g_plus_siemens.ndim

    @property
    def row_conductance_siemens(self) -> Tensor:
        """``ΣG_i``: conductance from virtual ground i to everything but the feedback, shape ``(n,)``."""
        return self.load_siemens.diagonal(dim1=-2, dim2=-1) if self.wired else self.load_siemens

    @property
    def noise_gain(self) -> Tensor:
        """``N_i = 1 + R_f ΣG_i``, shape ``(n,)``."""
        return 1 + self.r_feedback_ohm * self.row_conductance_siemens

    @property
    def effective(self) -> Tensor:
        """The weights ``C`` that the array realises, shape ``(n, n + m + 1)``."""
        scale = self.r_feedback_ohm / self.spec.activation.v_scale_volt
        return self.transfer_siemens * scale * source_volts(self.spec, self)

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


def program(
    matrices: tuple[Tensor, Tensor, Tensor], chip: Chip | Population, conditions: Conditions | None = None
) -> ProgrammedLayer:
    """Map a cell's weights onto a chip, or onto every chip of a population.

    Range and levels are the technology's; programming error, exponents of drift, stuck devices and offsets this chip's.
    Differentiable in the weights; the rounding to levels passes gradients straight through.

    Args:
        matrices: ``W (n, n)``, ``U (n, m)``, ``b (n,)``, as from :meth:`CircuitCell.matrices`.
        chip: where to.
        conditions: when, how warm and with which noise the chip is read; just programmed, at 300 K and without noise
            unless given.

    Raises:
        ValueError: if a weight is not finite, or all are zero (no conductance could be chosen).
    """
    weight, input_weight, bias = matrices
    when = conditions or Conditions()
    target = torch.cat([weight, input_weight, bias[:, None]], dim=1)
    spec, bar = chip.spec, chip.spec.crossbar
    n, columns = target.shape
    m = columns - n - 1
    largest = _largest(target)
    volts = _volts(spec, n, m, target)
    wanted = target * (spec.activation.v_scale_volt / volts)  # R_f ΔG
    span = bar.g_max_siemens - bar.g_min_siemens
    r_feedback = feedback_through(wanted.abs().max() / span, bar)
    if not largest > 0:
        raise ValueError("all weights are zero: nothing to program")
    delta = wanted / r_feedback
    # Halves of |ΔG| ± ΔG rather than two clamps, whose gradients would both count at a weight of exactly zero.
    size = delta.abs()
    g = torch.stack([size + delta, size - delta]) / 2 + bar.g_min_siemens
    shape, devices = g.shape, Devices.of(g)
    lead = (len(chip.seeds),) if isinstance(chip, Population) else ()
    for effect in DEVICE_EFFECTS:
        if effect.present(bar):
            drawn = effect.sample(chip, shape)
            devices = effect.forward(devices, None if drawn is None else drawn.to(target), bar, when)
    g_plus, g_minus = devices.now.expand(*lead, *shape).unbind(-3)
    transfer, load = _through_wires(g_plus, g_minus, spec)

    def per_neuron(value: float) -> Tensor:
        return target.new_full((*lead, n), value)

    def bows(which: str, channels: int) -> Tensor | None:
        drawn = sample_inl(chip, which, channels)
        return None if drawn is None else drawn.to(target)

    amp = spec.amplifier
    return ProgrammedLayer(
        g_plus_siemens=g_plus,
        g_minus_siemens=g_minus,
        transfer_siemens=transfer,
        load_siemens=load,
        r_feedback_ohm=r_feedback,
        c_feedback_farad=target.new_tensor(float(amp.c_feedback_farad)),
        dc_gain=per_neuron(amp.dc_gain),
        gbw_hertz=per_neuron(amp.gbw_hertz),
        amp_offset_volt=AMPLIFIER_OFFSET.sample(chip, n).to(target),
        act_gain=1 + ACTIVATION_GAIN.sample(chip, n).to(target),
        act_offset_volt=ACTIVATION_OFFSET.sample(chip, n).to(target),
        dac_inl=bows("dac", m),
        adc_inl=bows("adc", n),
        target=target,
        spec=spec,
        seed=chip.seeds if isinstance(chip, Population) else chip.seed,
        conditions=when,
    )


def _largest(target: Tensor) -> float:
    largest = float(target.detach().abs().max())
    if not math.isfinite(largest):
        raise ValueError("a weight is inf or nan: the cell cannot be programmed onto a chip")
    return largest


def _through_wires(g_plus: Tensor, g_minus: Tensor, spec: Spec) -> tuple[Tensor, Tensor]:
    """Return what arrives at the virtual grounds, and their load; see :class:`ProgrammedLayer`."""
    wires = spec.crossbar.wires
    if wires is None or not (wires.word_line_ohm or wires.bit_line_ohm):
        return g_plus - g_minus, (g_plus + g_minus).sum(-1)
    if g_plus.ndim == 3:
        each = [_through_wires(p, m, spec) for p, m in zip(g_plus, g_minus)]
        return torch.stack([transfer for transfer, _ in each]), torch.stack([load for _, load in each])
    lines = torch.stack([g_plus.T, g_minus.T], dim=1).reshape(-1, g_plus.shape[0])
    effective, load = loaded_conductance(lines, wires.word_line_ohm, wires.bit_line_ohm)
    return (effective[0::2] - effective[1::2]).T, load
