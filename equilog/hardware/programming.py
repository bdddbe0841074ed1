"""From weights to conductances: the layer as one chip really holds it.

Everything downstream (static twin, transient twin, netlist, cost) reads the same :class:`ProgrammedLayer`, so
they speak of the same resistors. Columns of the crossbar, in order: n states, m drives, one bias reference;
column k is driven by a source of amplitude ``V_k`` in both polarities, and a signed weight is a pair

    R_f (G⁺_ik − G⁻_ik) V_k = V_a C_ik,    C = [W, U, b].

R_f is chosen so that the largest weight uses the whole conductance range; where resistors come in an E series, it is
the next larger one of that.

A law beside the weights (:class:`~equilog.cells.FixedCoupling`) is a network of precision resistors on the same columns
and virtual grounds, ``R_f (F⁺_ik − F⁻_ik) V_k = V_a K_ik``, of which nothing is programmed; it lies beside the array,
not behind its wires. Everything downstream that asks for currents, loads and weights gets both together.

A pair errs even where its weight is zero. Places that a cell leaves to its law are not *populated*: there is no device,
and nothing conducts on any chip, whatever its errors and its age.

With resistive wires the array is laid out as :mod:`equilog.hardware.wires` draws it: word line 2k carries the negative
polarity of column k and its G⁺, word line 2k + 1 the positive polarity and its G⁻; bit line i ends in neuron i.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import get_args

import torch
from torch import Tensor

from equilog.cells.fixed import FixedCoupling, HoldsMatrices, fixed_of, populated_of
from equilog.hardware.chip import Chip, Population
from equilog.hardware.conditions import Conditions
from equilog.hardware.effects import AMPLIFIER_OFFSET
from equilog.hardware.effects.converter import sample_inl
from equilog.hardware.effects.fixed_network import sample_outputs
from equilog.hardware.pairs import Wires, checked_places, fixed_pairs, real_pairs, through_wires, wanted_differences
from equilog.hardware.technology import blocks
from equilog.hardware.technology.spec import Spec


@dataclass(frozen=True)
class ProgrammedLayer:
    """A cell on a chip, in volts, siemens and ohms. All tensors share dtype and device and carry gradients.

    On a population of chips every shape below has a leading dimension ``chips``, but those of :data:`SHARED`.

    Attributes:
        g_plus_siemens: ``G⁺`` of the crossbar's devices, shape ``(n, n + m + 1)``; zero where no device conducts.
        g_minus_siemens: ``G⁻``, same shape.
        transfer_siemens: what arrives of them, current into virtual ground i for a volt at source k, same shape:
            ``G⁺ − G⁻`` with ideal wires; and of a fixed network, if there is one.
        load_siemens: all conductance at the virtual grounds but the feedback: ``ΣG_i``, shape ``(n,)``; with resistive
            wires the matrix L of :func:`equilog.hardware.wires.loaded_conductance`, shape ``(n, n)``, unless they are
            reckoned with to first order only.
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
        fixed_plus_siemens, fixed_minus_siemens: ``F⁺`` and ``F⁻`` of a fixed network, shaped like ``G⁺``, zero where
            there is no resistor; None without a law.
        fixed_target: what it was to realise, ``[K_z, K_d, k]``, shaped like the target; None without one.
        linear: how many leading neurons have no activation.
        populated: where there are devices, bool, shaped like the target; None for everywhere.
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
    fixed_plus_siemens: Tensor | None = None
    fixed_minus_siemens: Tensor | None = None
    fixed_target: Tensor | None = None
    linear: int = 0
    populated: Tensor | None = None

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
    def fixed_pairs(self) -> tuple[Tensor, Tensor] | None:
        """``F⁺`` and ``F⁻``; None without a law."""
        if self.fixed_plus_siemens is None or self.fixed_minus_siemens is None:
            return None
        return self.fixed_plus_siemens, self.fixed_minus_siemens

    @property
    def resistors(self) -> tuple[Tensor, Tensor]:
        """``G⁺ + F⁺`` and ``G⁻ + F⁻``: all that each source, in either polarity, drives at each virtual ground."""
        plus, minus = self.g_plus_siemens, self.g_minus_siemens
        return (plus, minus) if (law := self.fixed_pairs) is None else (plus + law[0], minus + law[1])

    @property
    def devices(self) -> int:
        """How many devices the crossbar has, two a pair; those that came out as no conductance are there as well."""
        pairs = self.target.numel() if self.populated is None else int(self.populated.sum())
        return 2 * pairs * (self.chips or 1)

    @property
    def wires(self) -> blocks.Wires | None:
        """Resistances of the crossbar's lines; None where they are ideal or there is no crossbar."""
        return self.spec.crossbar.wires if self.devices else None

    @property
    def wired(self) -> bool:
        """Whether virtual grounds load each other through resistive wires: then `load_siemens` is a matrix."""
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
        """The weights that the chip realises, its fixed network included, shape ``(n, n + m + 1)``."""
        return self._weights(self.transfer_siemens)

    @property
    def fixed_effective(self) -> Tensor | None:
        """What of them is the fixed network's; None without one."""
        return None if (law := self.fixed_pairs) is None else self._weights(law[0] - law[1])

    @property
    def asked(self) -> Tensor:
        """What :attr:`effective` was to be: the target and the law together, shape ``(n, n + m + 1)``."""
        return self.target if self.fixed_target is None else self.target + self.fixed_target

    def _weights(self, siemens: Tensor) -> Tensor:
        scale = self.r_feedback_ohm / self.spec.activation.v_scale_volt
        return siemens * scale * source_volts(self.spec, self)

    @property
    def time_constant_second(self) -> float:
        """``τ = R_f C_f``."""
        return float((self.r_feedback_ohm * self.c_feedback_farad).detach())

    def to(self, dtype: torch.dtype) -> ProgrammedLayer:
        """Return a copy in another precision."""
        held = {f.name: v for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        tensors = {name: v.to(dtype) for name, v in held.items() if v.is_floating_point()}
        return replace(self, **tensors)  # type: ignore[arg-type]  # only tensors are replaced


SHARED = ("r_feedback_ohm", "c_feedback_farad", "target", "fixed_target", "populated")
"""What of a :class:`ProgrammedLayer` all chips of a population have in common"""


def source_volts(spec: Spec, layer: ProgrammedLayer) -> Tensor:
    """Return the amplitude ``V_k`` of every column's source, shape ``(n + m + 1,)``."""
    return _volts(spec, layer.states, layer.drives, layer.g_plus_siemens)


def _volts(spec: Spec, n: int, m: int, like: Tensor) -> Tensor:
    key = float(spec.activation.v_out_volt), float(spec.dac.full_scale_volt), n, m + 1, like.dtype, like.device
    return _made_volts(*key)


@lru_cache(maxsize=64)
def _made_volts(state: float, drive: float, n: int, others: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # kept, and perhaps on a tape later
        return torch.tensor([state] * n + [drive] * others, dtype=dtype, device=device)


def program(
    matrices: tuple[Tensor, Tensor, Tensor],
    chip: Chip | Population,
    conditions: Conditions | None = None,
    *,
    fixed: FixedCoupling | None = None,
    populated: Tensor | None = None,
    wires: Wires = "exact",
) -> ProgrammedLayer:
    """Map a cell's weights onto a chip, or onto every chip of a population.

    Range and levels are the technology's; programming error, exponents of drift, stuck devices and offsets this chip's.
    Differentiable in the weights; the rounding to levels passes gradients straight through. Of a cell see
    :func:`program_cell`.

    Args:
        matrices: ``W (n, n)``, ``U (n, m)``, ``b (n,)``, as from :meth:`CircuitCell.matrices`.
        chip: where to.
        conditions: when, how warm and with which noise the chip is read; just programmed, at 300 K and without noise
            unless given.
        fixed: a law that the chip has in fixed resistors beside them.
        populated: where the crossbar has devices, bool, ``(n, n + m + 1)``; everywhere unless given.
        wires: how resistive ones are reckoned with: "exact", by Kirchhoff's laws, once differentiable; or
            "first-order", the approximation of :mod:`equilog.hardware.wire_drops`, at a small part of the cost and
            meant for training. Without resistive wires they are the same.

    Raises:
        ValueError: for another `wires`, a law or a mask of another size, a weight where there is no device, one that
            is not finite, or all zero (no conductance could be chosen).
    """
    if wires not in get_args(Wires):
        raise ValueError(f"wires = {wires!r}: expected one of {', '.join(get_args(Wires))}")
    weight, input_weight, bias = matrices
    when = conditions or Conditions()
    target = torch.cat([weight, input_weight, bias[:, None]], dim=1)
    spec, bar = chip.spec, chip.spec.crossbar
    n, columns = target.shape
    m = columns - n - 1
    unit = float(spec.activation.v_scale_volt) / _volts(spec, n, m, target)
    law, linear = None, 0
    if fixed is not None:
        fixed.check_beside(n, m)
        law, linear = fixed.columns().to(target), fixed.linear
    if populated is not None:
        populated = checked_places(populated, target)
    delta, r_feedback = wanted_differences(target, unit, bar, law)
    g = real_pairs(delta, chip, when, populated)
    if isinstance(chip, Population):
        lead: tuple[int, ...] = (len(chip.seeds),)
        g = g.expand(*lead, 2, n, columns)
    else:
        lead = ()
    g_plus, g_minus = g.unbind(-3)
    empty = populated is not None and not bool(populated.any())
    transfer, load = through_wires(g, None if empty else bar.wires, wires)
    fixed_plus = fixed_minus = None
    if law is not None:
        fixed_plus, fixed_minus = fixed_pairs(law * unit / r_feedback, chip).unbind(-3)
        own = (fixed_plus + fixed_minus).sum(-1)
        transfer = transfer + (fixed_plus - fixed_minus)
        load = load + (own.diag_embed() if load.ndim == transfer.ndim else own)

    def per_neuron(value: float) -> Tensor:
        return target.new_full((*lead, n), value)

    def bows(which: str, channels: int) -> Tensor | None:
        drawn = sample_inl(chip, which, channels)
        return None if drawn is None else drawn.to(target)

    amp = spec.amplifier
    act_gain, act_offset = sample_outputs(chip, n, linear)
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
        act_gain=act_gain.to(target),
        act_offset_volt=act_offset.to(target),
        dac_inl=bows("dac", m),
        adc_inl=bows("adc", n),
        target=target,
        spec=spec,
        seed=chip.seeds if isinstance(chip, Population) else chip.seed,
        conditions=when,
        fixed_plus_siemens=fixed_plus,
        fixed_minus_siemens=fixed_minus,
        fixed_target=law,
        linear=linear,
        populated=populated,
    )


def program_cell(
    cell: HoldsMatrices,
    chip: Chip | Population,
    conditions: Conditions | None = None,
    *,
    wires: Wires = "exact",
    dtype: torch.dtype | None = None,
) -> ProgrammedLayer:
    """Map a cell onto a chip, its law included if it has one: :func:`program` of the whole equation.

    Devices are where the cell wants them: in its attribute `populated`, if it has one.

    Args:
        cell: any cell.
        chip, conditions, wires: as for :func:`program`.
        dtype: to compute in; that of the cell's weights unless given.

    Raises:
        ValueError: as :func:`program`.
    """
    weight, input_weight, bias = (m if dtype is None else m.to(dtype) for m in cell.matrices())
    matrices = weight, input_weight, bias
    return program(matrices, chip, conditions, fixed=fixed_of(cell), populated=populated_of(cell), wires=wires)
