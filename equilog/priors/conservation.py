"""What a state must have in common with what went in: energy, mass, charge, or any function of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from equilog.priors.law import Constant, Field, Law

Quantity = Callable[..., Tensor]


def conserved(
    state: Field,
    source: Field,
    quantity: Quantity,
    given: Quantity | None = None,
    *,
    unit: str = "",
    scale: float = 1.0,
    constants: Mapping[str, Constant] | None = None,
) -> Law:
    """Return ``Q(z) − Q'(x) = 0`` of every sample.

    Fewer equations than unknowns: what a penalty or a check is made of (:meth:`Law.consistency`), not a cell by itself.

    Args:
        state, source: z and x.
        quantity: Q, ``(z, **constants) -> (batch, k)`` or ``(batch,)``.
        given: Q' of the source; Q unless given.
        unit: of Q.
        scale: what counts as one in it.
        constants: of Q and Q', by name.

    Raises:
        ValueError: if either returns another shape than the other.
    """
    before, held = given or quantity, dict(constants or {})

    def residual(z: Tensor, x: Tensor, **k: float | Tensor) -> Tensor:
        after, was = (q.reshape(len(q), -1) for q in (quantity(z, **k), before(x, **k)))
        if after.shape != was.shape:
            raise ValueError(f"quantity of {state.name} has shape {tuple(after.shape)}: expected {tuple(was.shape)}")
        return after - was

    samples = (torch.full((1, *f.shape), 0.5, dtype=torch.float64) for f in (state, source))
    values: dict[str, Any] = {name: c.value for name, c in held.items()}
    count = residual(*samples, **values).shape[1]
    return Law(residual, state, source, unit=unit, scale=scale, shape=(count,), constants=held)


def conserved_sum(
    state: Field, source: Field, cell: float = 1.0, *, cell_unit: str = "", unit: str = "", scale: float = 1.0
) -> Law:
    """Return ``Σ z Δ − Σ x Δ = 0``: mass from a density, with Δ the size of a cell.

    Raises:
        ValueError: for a size that is not positive, or units that do not combine.
    """
    if not cell > 0:
        raise ValueError(f"cell = {cell}: expected above 0")

    def residual(z: Tensor, x: Tensor, cell: float) -> Tensor:
        return cell * (z.flatten(1).sum(1, keepdim=True) - x.flatten(1).sum(1, keepdim=True))

    constants = {"cell": Constant(cell, cell_unit)}
    return Law(residual, state, source, unit=unit, scale=scale, shape=(1,), constants=constants)


def conserved_energy(
    state: Field, source: Field, stiffness: Tensor, *, stiffness_unit: str = "", unit: str = "", scale: float = 1.0
) -> Law:
    """Return ``½ zᵀKz − ½ xᵀKx = 0`` with a symmetric K, ``(n, n)`` on flattened states.

    Raises:
        ValueError: for fields of other sizes, or a K that is not symmetric.
    """
    n = state.size
    if source.size != n or stiffness.shape != (n, n) or not torch.allclose(stiffness, stiffness.T, rtol=1e-9, atol=0):
        raise ValueError(
            f"K of shape {tuple(stiffness.shape)} between {state.name} of {n} and {source.name} of {source.size} "
            f"numbers: expected ({n}, {n}), symmetric, and as many numbers"
        )

    def energy(v: Tensor, k: Tensor) -> Tensor:
        flat = v.flatten(1)
        return (0.5 * (flat @ k) * flat).sum(1, keepdim=True)

    def residual(z: Tensor, x: Tensor, stiffness: Tensor) -> Tensor:
        return energy(z, stiffness) - energy(x, stiffness)

    constants = {"stiffness": Constant(stiffness, stiffness_unit)}
    return Law(residual, state, source, unit=unit, scale=scale, shape=(1,), constants=constants)
