"""One analog matrix product without feedback: converters at both ends of a crossbar, noise and errors in between.

For the layers before and after an equilibrium that are to run in memory as well. On a given chip the weights pass the
same effects as those of a programmed cell (:mod:`equilog.hardware.effects`). In training every sample meets a chip and
a read of its own: a device's error δ adds ``Σ_k δ_ik d_k`` to output i, which over all chips is Gaussian with variance
``Σ_k σ²_ik d_k²``. That costs a second matrix product in place of a draw for every device and sample, is exact for one
product, and carries the gradient of σ(G) (the local reparameterisation of Kingma, Salimans & Welling, NeurIPS 2015).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from equilog.hardware.chip import Chip
from equilog.hardware.conditions import Conditions
from equilog.hardware.effects import DEVICE_EFFECTS, Devices
from equilog.hardware.effects.converter import analog_to_digital, digital_to_analog, sample_inl
from equilog.hardware.effects.programming_error import programming_sigma
from equilog.hardware.effects.read_noise import read_sigma
from equilog.hardware.product.many_chips import DeviceLaw, ManyChips, uniform_product
from equilog.hardware.quantise import convert, round_through
from equilog.hardware.technology.spec import Spec


class AnalogLinear(nn.Module):
    """``y = ADC(W DAC(x)) + b`` on a crossbar of differential pairs; the bias is digital.

    Args:
        inputs: columns of W.
        outputs: rows of W.
        spec: the technology.
        input_bound: input that is the DACs' full scale; larger ones clip.
        output_bound: the ADCs' full scale in units of one full-scale input times the largest weight. 12 unless given,
            as in aihwkit's default forward pass.
        bias: whether there is one.

    Raises:
        ValueError: for a size below 1 or a bound that is not above 0.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        spec: Spec,
        *,
        input_bound: float = 1.0,
        output_bound: float = 12.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if inputs < 1 or outputs < 1:
            raise ValueError(f"inputs = {inputs}, outputs = {outputs}: expected at least one of each")
        for name, bound in (("input_bound", input_bound), ("output_bound", output_bound)):
            if not 0 < bound < math.inf:
                raise ValueError(f"{name} = {bound}: expected a number above 0")
        self.spec = spec
        self.input_bound, self.output_bound = input_bound, output_bound
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor, chip: Chip | None = None, conditions: Conditions | None = None) -> Tensor:
        """Return outputs of shape ``(batch, outputs)`` for inputs ``(batch, inputs)``.

        Args:
            x: inputs.
            chip: the chip that computes; a new one for every sample if None.
            conditions: age, temperature and the generator of all that is drawn for this call. Without a chip its
                generator draws the chips too, and PyTorch's own does if there is none.
        """
        when = conditions or Conditions()
        largest = self.weight.detach().abs().amax()
        product = self._on_many(x, largest, when) if chip is None else self._on_one(x, largest, chip, when)
        return product if self.bias is None else product + self.bias

    def _on_one(self, x: Tensor, largest: Tensor, chip: Chip, when: Conditions) -> Tensor:
        bar, outputs, inputs = self.spec.crossbar, *self.weight.shape
        low, span = float(bar.g_min_siemens), bar.g_max_siemens - bar.g_min_siemens
        signed = self.weight * (span / largest)
        g = torch.stack([signed.abs() + signed, signed.abs() - signed]) / 2 + low
        shape, devices = g.shape, Devices.of(g)
        for effect in DEVICE_EFFECTS:
            if effect.present(bar):
                drawn = effect.sample(chip, shape)
                devices = effect.forward(devices, None if drawn is None else drawn.to(g), bar, when)
        realised = (devices.now[0] - devices.now[1]) * (largest / span)
        bows = sample_inl(chip, "dac", inputs), sample_inl(chip, "adc", outputs)
        drive = self._played(x, bows[0], when)
        return self._reported(drive @ realised.T, largest, bows[1], when)

    def _on_many(self, x: Tensor, largest: Tensor, when: Conditions) -> Tensor:
        bar = self.spec.crossbar
        low, span = float(bar.g_min_siemens), bar.g_max_siemens - bar.g_min_siemens
        drive = self._played(x, None, when)
        if (sigmas := self._polynomials(when)) is not None:
            levels = None if bar.levels is None else int(bar.levels)
            law = DeviceLaw(low, float(bar.g_max_siemens), float(largest) / span, levels, sigmas)
            white = torch.randn((len(x), len(self.weight)), generator=when.reads, dtype=drive.dtype)
            many = uniform_product if law.uniform else ManyChips.apply
            return self._reported(many(drive, self.weight, white, law), largest, None, when)
        noisy = any(e.present(bar) for e in DEVICE_EFFECTS if e.name in ("programming-error", "read-noise"))
        weight: Tensor = self.weight
        unit = float(largest) / span
        if not noisy and bar.levels is None:
            return self._reported(drive @ weight.T, largest, None, when)
        g = weight.abs() / unit + low
        if bar.levels is not None:
            step = span / (int(bar.levels) - 1)  # no clipping: the largest weight is at G_max, give or take a rounding
            g = low + round_through((g - low) / step) * step
            weight = (g - low) * unit * weight.sign()
        product = drive @ weight.T
        if noisy:
            # Of a pair one device carries the weight; the other, at the least conductance, adds the same everywhere.
            variance = self._variance(g, when)
            rest = float(self._variance(g.new_full((1,), low), when))
            power = drive.square()
            spread = torch.addmm(rest * power.sum(1, keepdim=True), power, variance.T)
            white = torch.randn(product.shape, generator=when.reads, dtype=product.dtype)
            # The floor keeps the root's slope finite where no input is on.
            product = product + (unit * white) * (spread + torch.finfo(spread.dtype).tiny).sqrt()
        return self._reported(product, largest, None, when)

    def _polynomials(self, when: Conditions) -> tuple[tuple[float, ...], ...] | None:
        """Return the standard deviations if all of them are polynomials of the conductance, else None."""
        bar = self.spec.crossbar
        sigmas = []
        if bar.programming_sigma is not None:
            sigmas.append(bar.programming_sigma.coefficients_siemens)
        if bar.relaxation is not None and when.age(bar.reference_second) > bar.reference_second:
            return None
        if bar.read_noise is not None:
            if bar.read_noise.flicker is not None:
                return None
            assert bar.read_noise.sigma is not None
            sigmas.append(bar.read_noise.sigma.coefficients_siemens)
        return tuple(sigmas) or None

    def _variance(self, g: Tensor, when: Conditions) -> Tensor:
        """Return the variance in S² of devices programmed to `g`, over chips and reads."""
        bar = self.spec.crossbar
        total: Tensor | float = 0.0
        if bar.programming_sigma is not None or bar.relaxation is not None:
            total = programming_sigma(g, bar, when).square()
        if bar.read_noise is not None:
            total = total + read_sigma(g, g, bar, when).square()
        assert isinstance(total, Tensor)
        return total

    def _played(self, x: Tensor, bows: Tensor | None, when: Conditions) -> Tensor:
        bows = None if bows is None else bows.to(x)
        drive = x if self.input_bound == 1 else x / self.input_bound
        return digital_to_analog(drive, self.spec.dac, bows, when.reads)

    def _reported(self, product: Tensor, largest: Tensor, bows: Tensor | None, when: Conditions) -> Tensor:
        full_scale = float(largest) * self.output_bound
        if bows is None and (when.reads is None or not self.spec.adc.noise_volt):
            reported = convert(product, int(self.spec.adc.bits), full_scale)
        else:
            bows = None if bows is None else bows.to(product)
            reported = analog_to_digital(product / full_scale, self.spec.adc, bows, when.reads) * full_scale
        return reported if self.input_bound == 1 else reported * self.input_bound
