"""A physical law: a residual ``r(z, x) = 0`` of fields that have names, shapes and units."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equilog.priors import units

Residual = Callable[..., Tensor]


@dataclass(frozen=True)
class Field:
    """One quantity of every sample.

    Attributes:
        name: for messages.
        shape: of one sample; a batch of them is ``(batch, *shape)``.
        unit: as ``"Pa"``; empty for a number without dimension.

    Raises:
        ValueError: without a name, or for a shape with an empty dimension.
    """

    name: str
    shape: tuple[int, ...]
    unit: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        if not self.name or any(type(n) is not int or n < 1 for n in self.shape):
            raise ValueError(f"field {self.name!r} of shape {self.shape}: expected a name, and dimensions of 1 or more")

    @property
    def size(self) -> int:
        """Numbers in one sample."""
        return math.prod(self.shape)

    def check(self, value: Tensor, batch: int | None = None) -> None:
        """Raise ``ValueError`` unless `value` is ``(batch, *shape)`` in floating point."""
        if not isinstance(value, Tensor) or not value.is_floating_point():
            got = f"of {value.dtype}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise ValueError(f"{self.name} is {got}: expected a tensor of floating-point numbers")
        wanted = ", ".join(str(n) for n in ("batch" if batch is None else batch, *self.shape))
        if value.ndim != 1 + len(self.shape) or value.shape[1:] != self.shape or batch not in (None, len(value)):
            raise ValueError(f"{self.name} has shape {tuple(value.shape)}: expected ({wanted})")


@dataclass(frozen=True)
class Constant:
    """A number that a law holds, or a tensor of them, with its unit."""

    value: float | Tensor
    unit: str = ""


@dataclass(frozen=True)
class Relaxation:
    """``f(z, x) = z − α r(z, x)``: at rest exactly where the law holds, whatever α is.

    The flow ``ż = f − z = −α r`` comes to rest if r rises with z, as ``−∇²u − f`` does and ``∇²u + f`` does not; plain
    iteration if α also is below 2 over the steepest rise.
    """

    law: Law
    damping: float | Tensor
    """α, a number or shaped like the state, in units of the state per unit of the residual"""

    def __call__(self, z: Tensor, *x: Tensor) -> Tensor:
        """Evaluate at states ``(batch, *state.shape)``."""
        damping = self.damping.to(z) if isinstance(self.damping, Tensor) else self.damping
        return z - damping * self.law(z, *x)


class Law:
    """``r(z, x) = 0`` between a state z and sources x, one or more or none.

    Calling it gives r, checked, in the precision of the state, differentiable in all that the function differentiates.
    Construction evaluates it once. Where pint is installed and anything has a unit, that also checks units, by what
    units mean: the law must hold in every system of them. All inputs and constants are expressed in other base units,
    and the residual must be the same one, in those. So every number with a dimension in the law has to be a declared
    constant; what the function does with them is free (exponentials, ``torch.roll``, a solver).

    Args:
        residual: ``(z, *x, **constants) -> r``, batches first, each sample on its own.
        state: z.
        sources: x, in the order in which the residual takes them.
        unit: of r.
        scale: what counts as one in r, in its unit: a number, or shaped like r.
        shape: of r of one sample; that of the state unless given.
        constants: numbers by name, given to the residual as keyword arguments, tensors in precision and place of z.
        checked: False leaves out the evaluation, for a law that another one has checked.

    Raises:
        ValueError: naming field, what it has and what was expected, for shapes, precision or units that do not fit.
    """

    def __init__(
        self,
        residual: Residual,
        state: Field,
        sources: Sequence[Field] | Field = (),
        *,
        unit: str = "",
        scale: float | Tensor = 1.0,
        shape: Sequence[int] | None = None,
        constants: Mapping[str, Constant] | None = None,
        checked: bool = True,
    ) -> None:
        self.residual, self.state, self.unit, self.scale = residual, state, unit, scale
        self.sources: tuple[Field, ...] = (sources,) if isinstance(sources, Field) else tuple(sources)
        self.shape: tuple[int, ...] = state.shape if shape is None else tuple(shape)
        self.constants = dict(constants or {})
        size = torch.as_tensor(scale)
        if not bool((size > 0).all() and size.isfinite().all()):
            raise ValueError(f"scale = {scale}: expected positive, in {unit or 'numbers'} of the residual")
        if size.ndim and size.shape != self.shape:
            raise ValueError(f"scale has shape {tuple(size.shape)}: expected that of the residual, {self.shape}")
        if checked:
            self.check()

    def __call__(self, z: Tensor, *x: Tensor) -> Tensor:
        """Return ``r(z, x)``, shape ``(batch, *shape)``.

        Args:
            z: shape ``(batch, *state.shape)``.
            x: one for each source, ``(batch, *source.shape)``.

        Raises:
            ValueError: for other shapes, of arguments or of what the function returned.
        """
        self._check_arguments(z, x)
        return self._checked(z, self.residual(z, *x, **self._constants(z)))

    def consistency(self, z: Tensor, *x: Tensor) -> Tensor:
        """Return ``√(mean_i (r_i / scale_i)²)`` of every sample, shape ``(batch,)``: 0 where the law holds.

        With the scale of what the terms of the law are where it is broken, this is a fraction of them.
        """
        r = self(z, *x)
        scale = self.scale.to(r) if isinstance(self.scale, Tensor) else self.scale
        return (r / scale).square().reshape(len(r), -1).mean(1).sqrt()

    def as_map(self, damping: float | Tensor) -> Relaxation:
        """Return ``f(z, *x) = z − α r``, for ``EquilibriumLayer.fixed_point(f, z0, *x)``.

        Args:
            damping: α > 0, a number or shaped like the state.

        Raises:
            ValueError: if it is not positive, or the residual is not shaped like the state.
        """
        if self.shape != self.state.shape:
            raise ValueError(
                f"residual of shape {self.shape} for {self.state.name} of shape {self.state.shape}: only a law with as "
                "many equations as unknowns moves every one of them"
            )
        if not bool((torch.as_tensor(damping) > 0).all()):
            raise ValueError(f"damping = {damping}: expected a positive number, or one a state")
        return Relaxation(self, damping)

    def check(self) -> None:
        """Evaluate the law once, on two samples of made-up numbers near one.

        Raises:
            ValueError: for a result of another shape or precision, or units that do not combine.
        """
        z, *x = samples = [_made_up(f, k) for k, f in enumerate((self.state, *self.sources))]
        r = self(z, *x)
        held = [*(f.unit for f in (self.state, *self.sources)), *(c.unit for c in self.constants.values()), self.unit]
        if not any(held) or units.registry() is None:
            return
        self._check_system(samples, r, {}, si=True)
        names = sorted({d for u in held for d in (units.read(u, self.state.name) or ({}, 1.0))[0]})
        for name in names:  # by powers of two, so that rounding does not blur the comparison
            self._check_system(samples, r, {name: 4.0}, si=False)

    def _check_system(self, samples: Sequence[Tensor], r: Tensor, base: Mapping[str, float], si: bool) -> None:
        """Compare with the residual in another system of units: SI, or one with a base unit that much smaller."""

        def size(unit: str, where: str) -> float:
            dimensions, factor = units.read(unit, where) or ({}, 1.0)
            return factor if si else math.prod(base.get(d, 1.0) ** power for d, power in dimensions.items())

        fields = (self.state, *self.sources)
        z, *x = [value * size(f.unit, f.name) for value, f in zip(samples, fields)]
        constants = {
            name: c * size(self.constants[name].unit, f"constant {name}") for name, c in self._constants(z).items()
        }
        wanted = r * size(self.unit, "residual")
        got = self.residual(z, *x, **constants)
        gap = float((got - wanted).abs().max() / wanted.abs().max().clamp(min=torch.finfo(r.dtype).tiny))
        if gap < 1e-9 or not math.isfinite(gap):
            return
        listed = [f"{f.name} [{f.unit or '1'}]" for f in fields]
        listed += [f"{name} [{c.unit or '1'}]" for name, c in self.constants.items()]
        why = (
            "its units are of other sizes than the formula combines: give all in SI units"
            if si
            else f"it does not scale as its unit does with {', '.join(base)}"
        )
        raise ValueError(
            f"residual in {self.unit or 'numbers'} of {', '.join(listed)}: {why}. Declare every number with a "
            "dimension as a Constant"
        )

    def _check_arguments(self, z: Tensor, x: Sequence[Tensor]) -> None:
        if len(x) != len(self.sources):
            names = ", ".join(s.name for s in self.sources) or "none"
            raise ValueError(f"{len(x)} sources: expected {len(self.sources)} ({names})")
        self.state.check(z)
        for source, value in zip(self.sources, x):
            source.check(value, len(z))

    def _checked(self, z: Tensor, r: Tensor) -> Tensor:
        Field("residual", self.shape, self.unit).check(r, len(z))
        if r.dtype != z.dtype:
            raise ValueError(f"residual is of {r.dtype}: expected {z.dtype}, that of {self.state.name}")
        return r

    def _constants(self, z: Tensor) -> dict[str, float | Tensor]:
        return {k: c.value.to(z) if isinstance(c.value, Tensor) else c.value for k, c in self.constants.items()}


def _made_up(of: Field, seed: int) -> Tensor:
    """Two samples of numbers in [0.5, 1.5], always the same."""
    generator = torch.Generator().manual_seed(seed)
    return 0.5 + torch.rand(2, *of.shape, dtype=torch.float64, generator=generator)
