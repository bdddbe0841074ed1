"""What the solvers see: a batch of fixed-point problems ``x = f(x)`` on flat states of shape ``(batch, n)``.

:class:`Map` is enough to iterate; a :class:`Problem` also offers the Jacobian ``J = ∂f/∂x`` of every sample, as
products from the left and right and as a matrix, and states its own adjoint equation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


class Map(ABC):
    """A batch of maps f whose fixed points are wanted; the samples do not depend on each other.

    Attributes:
        start: where to begin unless told otherwise, shape ``(batch, n)``.
        original_residual: for a map that is another one in disguise, what turns its residual ``f(x) − x`` into the
            residual of the original, by which samples are judged; else None.
    """

    start: Tensor
    original_residual: Callable[[Tensor], Tensor] | None = None

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate f at ``x (batch, n)``."""

    @abstractmethod
    def select(self, rows: Tensor) -> Map:
        """Return the map of these samples only; `rows` are indices, shape ``(k,)``."""

    @property
    def precision(self) -> torch.dtype:
        """The precision in which f is evaluated; tolerances follow it."""
        return self.start.dtype

    @property
    def batch(self) -> int:
        """Number of samples."""
        return self.start.shape[0]

    @property
    def n(self) -> int:
        """Numbers per sample."""
        return self.start.shape[1]


class Problem(Map):
    """A map with its Jacobian and its adjoint equation."""

    @abstractmethod
    def select(self, rows: Tensor) -> Problem:
        """Return the problem of these samples only."""

    @abstractmethod
    def jvp(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Return ``v -> J v``, per sample, linearised at ``x``."""

    @abstractmethod
    def vjp(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Return ``v -> Jᵀ v``, per sample, linearised at ``x``."""

    @abstractmethod
    def jacobian(self, x: Tensor) -> Tensor:
        """Return J of every sample, shape ``(batch, n, n)``."""

    @abstractmethod
    def adjoint(self, x: Tensor, g: Tensor) -> tuple[Problem, Callable[[Tensor], Tensor]]:
        """Return a problem and the map from its solution to the λ of ``λ = g + Jᵀ λ``. All of it numbers, no graph."""

    theta: tuple[Tensor, ...] = ()
    """The tensors that f is made of and may want gradients of higher order for."""

    @abstractmethod
    def on_tape(self, x: Tensor, theta: Sequence[Tensor]) -> Tensor:
        """Evaluate f at ``x`` as a function of ``x`` and θ."""

    @abstractmethod
    def adjoint_on_tape(self, x: Tensor, g: Tensor, theta: Sequence[Tensor], settle: Callable[[Any], Tensor]) -> Tensor:
        """Return λ as a function of ``x``, ``g`` and θ; `settle` is the layer's way to settle an equation on tape."""

    def check_theta(self, x: Tensor) -> None:
        """Raise ``RuntimeError`` if f uses tensors that want gradients and are not in θ."""
        return
