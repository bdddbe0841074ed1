"""What converted layers are: products on a crossbar, equilibria on a chip, and equilibria that stay digital."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from equilog.cells import CircuitCell
from equilog.equilibrium import EquilibriumLayer
from equilog.hardware import Chip, Conditions, Population, ProgrammedLayer, Spec
from equilog.hardware.product import AnalogLinear
from equilog.model import HybridDEQ


@dataclass
class Reach:
    """How large the numbers are that a layer meets: the largest input and the largest product."""

    input: float = 0.0
    product: float = 0.0

    def meet(self, x: Tensor, product: Tensor | None = None) -> None:
        """Count one call of the layer."""
        self.input = max(self.input, _largest(x))
        if product is not None:
            self.product = max(self.product, _largest(product))


def _own_precision(x: Tensor) -> torch.autocast:
    """Converted layers compute in the precision of their weights: autocast's would be coarser than converters are."""
    return torch.autocast(x.device.type, enabled=False)


def _largest(x: Tensor) -> float:
    if not x.numel():
        return 0.0
    largest = float(x.detach().abs().amax())
    return largest if math.isfinite(largest) else math.inf


class OnChip:
    """What converted layers share; a mixin of modules.

    Attributes:
        spec: the technology.
        chip: this layer's part of the chip; None computes the ideal mathematics. Set by :func:`set_chip`.
        conditions: under which the chip is read; None for just programmed and without noise.
        reach: counts what the layer meets while it is calibrated; None otherwise.
    """

    spec: Spec
    chip: Chip | None = None
    conditions: Conditions | None = None
    reach: Reach | None = None

    def rescale(self, reach: Reach, headroom: float) -> None:
        """Fit the converters' ranges to what was met, times `headroom`; the ideal function stays as it is."""
        raise NotImplementedError

    def describe(self) -> str:
        """Return shape and ranges in a line."""
        raise NotImplementedError

    def place(self) -> str:
        """Return where the layer computes, in words."""
        return "ideal" if self.chip is None else f"chip {self.chip.seed} of {self.spec.name}"


class Product(OnChip, AnalogLinear):
    """``y = W x + b`` for inputs ``(…, inputs)``: ideal, or a crossbar's product with the bias added digitally.

    The DACs' full scale is an input of `input_scale`, the ADCs' is `output_scale` times the product of one such input
    with the largest weight; both are buffers. Larger numbers clip, and have no gradient there.

    Args:
        weight: shape ``(outputs, inputs)``; kept as it is, a parameter stays the same parameter.
        bias: shape ``(outputs,)``, or None.
        spec: the technology.
    """

    input_scale: Tensor
    output_scale: Tensor

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter | None, spec: Spec) -> None:
        super().__init__(weight.shape[1], weight.shape[0], spec, bias=False)
        self.weight, self.bias = weight, bias
        self.register_buffer("input_scale", torch.tensor(self.input_bound).to(weight))
        self.register_buffer("output_scale", torch.tensor(self.output_bound).to(weight))

    def forward(self, x: Tensor, chip: Chip | None = None, conditions: Conditions | None = None) -> Tensor:
        """Return outputs of shape ``(…, outputs)``.

        Args:
            x: inputs.
            chip: the chip that computes; the one that is set unless given.
            conditions: the ones that are set unless given.
        """
        chip = chip or self.chip
        with _own_precision(x):
            x = x.to(self.weight.dtype)
            flat = x.reshape(-1, self.weight.shape[1])
            if self.reach is not None:
                self.reach.meet(flat, flat @ self.weight.T)
            if chip is None or self.reach is not None:
                return functional.linear(x, self.weight, self.bias)
            self.input_bound, self.output_bound = float(self.input_scale), float(self.output_scale)
            y = super().forward(flat, chip, conditions or self.conditions)
        return y.reshape(*x.shape[:-1], len(self.weight))

    def rescale(self, reach: Reach, headroom: float) -> None:
        """Fit the DACs to the largest input and the ADCs to the largest product."""
        one = reach.input * float(self.weight.detach().abs().amax())
        if reach.input > 0:
            self.input_scale.fill_(headroom * reach.input)
        if reach.product > 0 and one > 0:
            self.output_scale.fill_(reach.product / one)  # the headroom of the input is in its unit

    def describe(self) -> str:
        """Return shape and ranges in a line."""
        outputs, inputs = self.weight.shape
        return f"{outputs} × {inputs}, input ±{float(self.input_scale):.3g}"

    def extra_repr(self) -> str:
        """Describe the layer in ``repr``."""
        return f"{self.describe()}, {self.place()}"


class ProductConv2d(Product):
    """A convolution as products of one crossbar, one for every pixel of the output.

    Args:
        of: the convolution; one group, padded with a number of zeros.
        spec: the technology.
    """

    def __init__(self, of: nn.Conv2d, spec: Spec) -> None:
        kernel = nn.Parameter(of.weight.detach().flatten(1), requires_grad=of.weight.requires_grad)
        super().__init__(kernel, cast(nn.Parameter | None, of.bias), spec)
        self.channels, self.kernel_size = of.in_channels, of.kernel_size
        self.windows: dict[str, Any] = {"dilation": of.dilation, "padding": of.padding, "stride": of.stride}

    def forward(self, x: Tensor, chip: Chip | None = None, conditions: Conditions | None = None) -> Tensor:
        """Return ``(batch, outputs, height, width)`` for images ``(batch, channels, height, width)``."""
        if (chip or self.chip) is None and self.reach is None:
            kernel = self.weight.view(-1, self.channels, *self.kernel_size)
            with _own_precision(x):
                return functional.conv2d(x.to(kernel.dtype), kernel, self.bias, **self.windows)
        images = x if x.ndim == 4 else x[None]
        columns = functional.unfold(images, self.kernel_size, **self.windows).mT
        y = super().forward(columns, chip, conditions).mT
        sides = zip(images.shape[2:], self.kernel_size, *self.windows.values())
        size = [(s + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for s, k, dilation, padding, stride in sides]
        y = y.reshape(len(images), len(self.weight), *size)
        return y if x.ndim == 4 else y[0]


class ToDrive(nn.Module):
    """Inputs as drives of the DACs: flattened, and divided by `scale`, the input that is their full scale."""

    scale: Tensor

    def __init__(self, shape: torch.Size, like: Tensor) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("scale", like.new_ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return drives ``(batch, m)`` for inputs ``(…, *shape)``."""
        drive: Tensor = x.reshape(-1, math.prod(self.shape)) / self.scale
        return drive


class FromState(nn.Module):
    """States as outputs ``gain z + shift``: ½z + ½ makes a sigmoid of a tanh."""

    def __init__(self, gain: float, shift: float) -> None:
        super().__init__()
        self.gain, self.shift = gain, shift

    def forward(self, z: Tensor) -> Tensor:
        """Return outputs shaped like the states."""
        return z if self.gain == 1 and self.shift == 0 else self.gain * z + self.shift


class Equilibrium(OnChip, HybridDEQ):
    """The resting state of ``p = W φ(p) + U x + b`` as a layer: ideal, or on its part of the chip.

    It is a :class:`HybridDEQ` whose digital ends only scale, so all that takes one takes it: devices, ``verify``,
    ``estimate``. `cell` is what a chip or a device is programmed with; ``parameterize(x)`` are its drives.

    Args:
        cell: what settles; its drives are inputs in units of `scale`.
        spec: the technology.
        inputs, states: shapes of one sample's input and state.
        gain, shift: see :class:`FromState`.
        equilibrium: how it settles; the default solver unless given.
    """

    parameterize: ToDrive
    readout: FromState

    def __init__(
        self,
        cell: CircuitCell,
        spec: Spec,
        inputs: torch.Size,
        states: torch.Size,
        *,
        gain: float = 1.0,
        shift: float = 0.0,
        equilibrium: EquilibriumLayer | None = None,
    ) -> None:
        super().__init__(ToDrive(inputs, cell.bias.detach()), cell, FromState(gain, shift), equilibrium)
        self.spec, self.shape = spec, states

    def forward(self, x: Tensor, chip: Chip | Population | ProgrammedLayer | None = None) -> Tensor:
        """Return outputs ``(…, *states)`` for inputs ``(…, *inputs)``; on `chip`, if given, else on the one set.

        ``(chips, …, *states)`` for a population.
        """
        if self.reach is not None:
            self.reach.meet(x)
        on = chip or self.chip
        with _own_precision(x):
            drive = self.parameterize(x.to(self.cell.bias.dtype))
            if on is None or self.reach is not None:
                z = self.settle(drive)
            else:
                z = self.settle(drive, on if isinstance(on, ProgrammedLayer) else self.program(on, self.conditions))
        before = x.shape[: x.ndim - len(self.parameterize.shape)]
        return self.readout(z).reshape(*z.shape[:-2], *before, *self.shape)

    @torch.no_grad()
    def rescale(self, reach: Reach, headroom: float) -> None:
        """Fit the DACs to the largest input; U takes the factor, so that U d stays U x."""
        if reach.input > 0:
            before = self.parameterize.scale.clone()
            self.parameterize.scale.fill_(headroom * reach.input)
            self.cell.input_weight.mul_(self.parameterize.scale / before)

    def describe(self) -> str:
        """Return shape and ranges in a line."""
        scale = float(self.parameterize.scale)
        return f"{self.cell.states} states, {self.cell.drives} drives, input ±{scale:.3g}"

    def extra_repr(self) -> str:
        """Describe the layer in ``repr``."""
        return f"{self.describe()}, {self.place()}"


class EquilibriumCell(Equilibrium):
    """An equilibrium in the place of a cell ``f(z, u)``: whatever z is, its fixed point under u.

    A loop around it that iterates to the fixed point finds it at once, and does not move from it.
    """

    def forward(self, z: Tensor | None, u: Tensor) -> Tensor:  # type: ignore[override]  # the cell's own signature
        """Return the fixed point, shaped like z."""
        return super().forward(u)


class EquilibriumRNNCell(Equilibrium):
    """An equilibrium in the place of an ``nn.RNNCell``: the state that iterating it on one input ends in."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:  # type: ignore[override]  # as RNNCell's
        """Return the fixed point ``(…, hidden)`` under inputs ``(…, inputs)``, whatever hx is."""
        return super().forward(input)


class DigitalEquilibrium(nn.Module):
    """The fixed point of a cell ``f(z, …)`` that no chip of the technology holds, solved digitally in every mode.

    Args:
        f: the cell.
        reason: why it does not compile.
        equilibrium: how it settles; the default solver unless given.
    """

    def __init__(self, f: nn.Module, reason: str, equilibrium: EquilibriumLayer | None = None) -> None:
        super().__init__()
        self.f, self.reason = f, reason
        self.equilibrium = equilibrium or EquilibriumLayer()

    def forward(self, z: Tensor, *args: Any) -> Tensor:
        """Return the fixed point that settling from z finds, differentiable in the cell and `args`."""
        found: Tensor = self.equilibrium.fixed_point(self.f, z, *args)
        return found

    def extra_repr(self) -> str:
        """Describe the layer in ``repr``."""
        return f"digital: {self.reason}"
