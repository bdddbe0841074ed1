"""Activations that know their own slope: ideal, or as one chip makes them.

An activation acts elementwise. Its fields are numbers shared by all, or tensors that broadcast against the state:
``(n,)`` for every neuron its own, ``(chips, 1, n)`` in a population.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import hardtanh


@runtime_checkable
class Activation(Protocol):
    """What the solvers ask of an activation."""

    def __call__(self, p: Tensor) -> Tensor:
        """Map pre-activations to states, elementwise."""

    def slope(self, p: Tensor) -> Tensor:
        """Return ``dz/dp``, elementwise; differentiable wherever second derivatives are wanted."""


@dataclass(frozen=True)
class Tanh:
    """``z = gain * tanh(p - shift)``: a transconductor's curve, with one neuron's own gain and offset.

    The ideal activation has gain 1 and shift 0. `shift` is the input offset in units of the activation scale V_a;
    `rail` is what the output that feeds it cannot exceed, in the same units: `p` is clipped to ±rail.
    """

    gain: Tensor | float = 1.0
    shift: Tensor | float = 0.0
    rail: float = math.inf

    @property
    def ideal(self) -> bool:
        """Whether gain and shift are the numbers 1 and 0, and there is no rail."""
        if not (type(self.gain) is float and type(self.shift) is float):
            return False
        return self.gain == 1.0 and self.shift == 0.0 and self.rail == math.inf

    def __call__(self, p: Tensor) -> Tensor:
        """Map pre-activations ``p`` to states of the same shape."""
        z = self._tanh(p)
        return z if isinstance(self.gain, float) and self.gain == 1.0 else self.gain * z

    def slope(self, p: Tensor) -> Tensor:
        """Return the derivative ``dz/dp``, elementwise, same shape as ``p``."""
        slope = 1 - self._tanh(p).square()
        if self.rail < math.inf:
            slope = torch.ops.aten.hardtanh_backward(slope, p, -self.rail, self.rail)  # zero beyond the rails
        return slope if isinstance(self.gain, float) and self.gain == 1.0 else self.gain * slope

    def _tanh(self, p: Tensor) -> Tensor:
        if self.rail < math.inf:
            p = hardtanh(p, -self.rail, self.rail)  # as clamp, with a way back in one pass
        # The ideal case is the hot one: at small n two needless framework calls cost as much as the tanh.
        return torch.tanh(p if isinstance(self.shift, float) and self.shift == 0.0 else p - self.shift)


@dataclass(frozen=True)
class ReLU:
    """``z = max(p, 0)``; the slope at exactly 0 is taken as 0, as PyTorch does."""

    def __call__(self, p: Tensor) -> Tensor:
        """Map pre-activations ``p`` to states of the same shape."""
        return torch.relu(p)

    def slope(self, p: Tensor) -> Tensor:
        """Return 1 where ``p > 0``, else 0."""
        return (p > 0).to(p.dtype)


@dataclass(frozen=True)
class Linear:
    """``z = d ∘ p`` with slopes ``d`` that may differ from sample to sample: what an activation is to its adjoint."""

    d: Tensor

    def __call__(self, p: Tensor) -> Tensor:
        """Return ``d ∘ p``."""
        return self.d * p

    def slope(self, p: Tensor) -> Tensor:
        """Return ``d`` in the shape of ``p``."""
        return self.d.expand_as(p)


@dataclass(frozen=True)
class Mixed:
    """``z = gain * [x_1 … x_d, φ(x_{d+1}) …]``, ``x = p − shift``: leading neurons without an activation.

    Attributes:
        linear: d, how many.
        of: φ of the others, elementwise, the same for all: with no gain, shift or rail of its own.
        gain, shift, rail: of all neurons, as of :class:`Tanh`.

    Raises:
        ValueError: for a negative d, or a φ with tensors in it.
    """

    linear: int
    of: Activation = field(default_factory=Tanh)
    gain: Tensor | float = 1.0
    shift: Tensor | float = 0.0
    rail: float = math.inf

    def __post_init__(self) -> None:
        if self.linear < 0:
            raise ValueError(f"linear = {self.linear}: expected 0 or more states without an activation")
        if any(isinstance(value, Tensor) for value in vars(self.of).values()):
            raise ValueError("an activation shared by neurons has no gain and shift of its own: give them to Mixed")

    def __call__(self, p: Tensor) -> Tensor:
        """Map pre-activations ``p`` to states of the same shape."""
        x = self.entering(p)
        z = torch.cat([x[..., : self.linear], self.of(x[..., self.linear :])], dim=-1)
        return z if isinstance(self.gain, float) and self.gain == 1.0 else self.gain * z

    def slope(self, p: Tensor) -> Tensor:
        """Return the derivative ``dz/dp``, elementwise, same shape as ``p``; 0 beyond the rails."""
        x = self.entering(p)
        slope = torch.cat([torch.ones_like(x[..., : self.linear]), self.of.slope(x[..., self.linear :])], dim=-1)
        if self.rail < math.inf:
            slope = torch.where(p.abs() < self.rail, slope, 0.0)
        return slope if isinstance(self.gain, float) and self.gain == 1.0 else self.gain * slope

    def entering(self, p: Tensor) -> Tensor:
        """Return x: ``p`` within the rails, less every neuron's own shift."""
        if self.rail < math.inf:
            p = hardtanh(p, -self.rail, self.rail)
        return p if isinstance(self.shift, float) and self.shift == 0.0 else p - self.shift


def lightened(activation: Activation, weight: Tensor) -> tuple[Activation, Tensor]:
    """Return an activation and a weight of the same ``Wφ(p)`` that a solver evaluates faster.

    The gains of neurons go into the columns of the weight, unless they differ from sample to sample; rails that tanh
    does not feel, to within the rounding of the weight's precision, are left out.
    """
    if type(activation) not in (Tanh, Mixed):
        return activation, weight
    assert isinstance(activation, Tanh | Mixed)
    if type(activation) is Tanh and activation.rail < math.inf and _saturates(activation, weight.dtype):
        activation = replace(activation, rail=math.inf)
    gain = activation.gain
    if isinstance(gain, Tensor) and (gain.ndim < 2 or (gain.ndim == weight.ndim == 3 and gain.shape[1] == 1)):
        return replace(activation, gain=1.0), weight * gain.detach()
    return activation, weight


def evaluator(activation: Activation) -> Callable[[Tensor], Tensor]:
    """Return what computes an activation fastest: PyTorch's own function where nothing else is in it."""
    if type(activation) is Tanh and activation.ideal:
        return torch.tanh
    return torch.relu if type(activation) is ReLU else activation


def _saturates(activation: Tanh, dtype: torch.dtype) -> bool:
    """Whether tanh is one before the rail is reached, to within the rounding of the precision."""
    shift = activation.shift
    largest = float(shift.detach().abs().max()) if isinstance(shift, Tensor) else abs(shift)
    return activation.rail - largest > 0.5 * math.log(4 / torch.finfo(dtype).eps)


def select(activation: Activation, rows: Tensor, population: Tensor | None, shape: torch.Size) -> Activation:
    """Return the activation of some samples only.

    Args:
        activation: a dataclass whose tensor fields broadcast against states of `shape`.
        rows: indices of samples in the flattened batch, shape ``(k,)``.
        population: the chip of each of those rows, shape ``(k,)``, or None for one weight shared by all.
        shape: of the states, ``(batch, n)`` or ``(chips, batch, n)``.

    Returns:
        the same kind of activation; its fields broadcast against ``(k, n)`` states, or ``(k, 1, n)`` in a population.
    """
    n = shape[-1]

    def pick(value: Tensor) -> Tensor:
        if value.ndim < 2 or (population is None and value.shape[0] == 1):
            return value
        if population is None:
            return value[rows]
        if value.ndim == 3 and value.shape[1] == 1:
            return value.expand(shape[0], 1, n)[population]
        return value.expand(shape).reshape(-1, n)[rows][:, None, :]

    changed = {
        f.name: pick(value)
        for f in fields(activation)  # type: ignore[arg-type]  # the protocol cannot say that it is a dataclass
        if isinstance(value := getattr(activation, f.name), Tensor)
    }
    return replace(activation, **changed) if changed else activation  # type: ignore[type-var]  # likewise
