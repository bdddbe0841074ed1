"""States of any shape, or several tensors at once, as rows of one matrix."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Nested = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True)
class States:
    """Remembers how a state looked before it was flattened to ``(batch, n)``.

    Attributes:
        shapes: of each tensor, batch first.
        single: whether the state was one tensor rather than a tuple.
    """

    shapes: tuple[torch.Size, ...]
    single: bool

    @staticmethod
    def like(z: Nested) -> States:
        """Take the shapes from an example.

        Raises:
            ValueError: if a tensor has no batch dimension, or they disagree about the batch size.
        """
        parts = (z,) if isinstance(z, Tensor) else tuple(z)
        if not parts or any(part.ndim == 0 for part in parts):
            raise ValueError("a state needs at least one tensor, each with a batch dimension first")
        if len({part.shape[0] for part in parts}) != 1:
            raise ValueError(
                f"the tensors of a state have batch sizes {[part.shape[0] for part in parts]}: expected one size"
            )
        return States(tuple(part.shape for part in parts), isinstance(z, Tensor))

    def pack(self, z: Nested) -> Tensor:
        """Flatten to ``(batch, n)``.

        Raises:
            ValueError: if the shapes are not those remembered.
        """
        parts = (z,) if isinstance(z, Tensor) else tuple(z)
        fits = len(parts) == len(self.shapes) and len({part.shape[:1] for part in parts}) == 1
        if not fits or any(part.shape[1:] != shape[1:] for part, shape in zip(parts, self.shapes)):
            raise ValueError(
                f"f returned shapes {[tuple(p.shape) for p in parts]}, expected {[tuple(s) for s in self.shapes]}: "
                "a fixed point needs f(z) shaped like z"
            )
        if self.single:
            return parts[0].reshape(parts[0].shape[0], -1)
        return torch.cat([part.reshape(part.shape[0], -1) for part in parts], dim=1)

    def unpack(self, x: Tensor) -> Nested:
        """Undo :meth:`pack`; the batch may have become smaller."""
        if self.single:
            return x.reshape(x.shape[0], *self.shapes[0][1:])
        sizes = [shape[1:].numel() for shape in self.shapes]
        return tuple(part.reshape(x.shape[0], *shape[1:]) for part, shape in zip(x.split(sizes, dim=1), self.shapes))
