"""The physics-informed cell ``z = σ(W z + U u + b + P(z, u))`` with any law in it: computed, not built."""

from __future__ import annotations

from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor, nn

from equilog.cells.activation import Activation, Mixed, Tanh
from equilog.names import UserError


class Shaped(Protocol):
    """A field of a law."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""

    @property
    def size(self) -> int:
        """Numbers in one sample."""


class Residual(Protocol):
    """What the cell asks of a law; :class:`equilog.priors.Law` is one."""

    @property
    def state(self) -> Shaped:
        """The field that the law is solved for."""

    @property
    def sources(self) -> Any:
        """The fields that are given, a tuple."""

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Of the residual of one sample."""

    def __call__(self, z: Tensor, *x: Tensor) -> Tensor:
        """Return ``r(z, x)``, batch first."""


class PhysicsInformedCell(nn.Module):
    """``f(z, u) = σ(W z + U u + b + P(z, u))`` with ``P = −α r(S z, u)``, r a law's residual.

    Leading states are the law's, flattened, in units of S; states that follow are hidden, with P = 0. For
    ``EquilibriumLayer().fixed_point(cell, z0, u)``. The flow ``ż = f − z`` is damped by a law whose residual rises with
    its state.

    Two ways to hold a law. By default P leans towards it: states balance it against the rest of the equation, more
    so the larger α is. With ``held=True``, ``P = z − α r`` and the law's own states have no activation: with nothing
    learnt beside it the cell then rests where ``r = 0`` exactly, the same equation that ``CircuitCell(fixed=…)`` is
    for a linear law.

    A chip can hold this only if the law is linear; then build a :class:`~equilog.cells.CircuitCell`.

    Args:
        recurrent: makes W, ``(n, n)``, as :class:`~equilog.cells.MonotoneWeight`; n at least the law's states.
        input_weight: U, ``(n, m)``, m numbers in all sources of the law together, or in u where these are apart.
        bias: b, ``(n,)``.
        law: r.
        damping: α > 0, states per unit of the residual: a number, or one a state of the law.
        scale: S > 0, what a state's 1 is in units of the law's state: a number, or one a state of the law.
        activation: σ, tanh unless given.
        held: see above.

    Raises:
        ValueError: for shapes that do not fit together, or numbers out of range.
    """

    scale: Tensor
    damping: Tensor

    def __init__(
        self,
        recurrent: nn.Module,
        input_weight: Tensor,
        bias: Tensor,
        law: Residual,
        *,
        damping: float | Tensor = 1.0,
        scale: float | Tensor = 1.0,
        activation: Activation | None = None,
        held: bool = False,
    ) -> None:
        super().__init__()
        n, own = len(bias), law.state.size
        weight = recurrent()
        if bias.ndim != 1 or weight.shape != (n, n) or input_weight.ndim != 2 or len(input_weight) != n:
            shapes = f"{tuple(weight.shape)}, {tuple(input_weight.shape)} and {tuple(bias.shape)}"
            raise ValueError(f"W, U and b of shapes {shapes}: expected (n, n), (n, m) and (n,)")
        if own > n or law.shape != law.state.shape:
            raise ValueError(
                f"law of {own} states {law.state.name} with a residual of shape {law.shape} in a cell of {n} states: "
                "expected no more states, and as many equations as the law has states"
            )
        for name, value in (("damping", damping), ("scale", scale)):
            given = torch.as_tensor(value, dtype=bias.dtype).detach().reshape(-1)
            if given.numel() not in (1, own) or not bool((given > 0).all() and given.isfinite().all()):
                raise ValueError(f"{name} = {value}: expected a positive number, or {own} of them, one a state")
            self.register_buffer(name, given.clone())
        self.recurrent, self.law, self.held = recurrent, law, held
        self.states, self.drives = n, input_weight.shape[1]
        self.input_weight = nn.Parameter(input_weight.detach().clone())
        self.bias = nn.Parameter(bias.detach().clone())
        self.sigma = activation or (Mixed(own) if held else Tanh())

    def forward(self, z: Tensor, u: Tensor, *sources: Tensor) -> Tensor:
        """Return ``σ(W z + U u + b + P)``, shape ``(batch, n)``.

        Args:
            z: states, ``(batch, n)``.
            u: ``(batch, m)``; cut into the law's sources in their order, unless these are given.
            sources: of the law, each ``(batch, *shape)``.

        Raises:
            ValueError: for other shapes.
        """
        for name, value, wanted in (("z", z, self.states), ("u", u, self.drives)):
            if value.ndim != 2 or value.shape[1] != wanted:
                raise ValueError(f"{name} has shape {tuple(value.shape)}: expected (batch, {wanted})")
        own = self.law.state.size
        physical = z[:, :own]
        r = self.law((physical * self.scale).view(-1, *self.law.state.shape), *(sources or self._cut(u)))
        prior = -self.damping * r.reshape(len(z), own)
        if self.held:
            prior = prior + physical
        p = z @ self.recurrent().T + u @ self.input_weight.T + self.bias
        return self.sigma(p + nn.functional.pad(prior, (0, self.states - own)))

    def start(self, u: Tensor) -> Tensor:
        """Return zeros to begin at, shape ``(batch, n)``."""
        return u.new_zeros(len(u), self.states)

    @property
    def activation(self) -> NoReturn:
        """What a device asks for first: refused as :meth:`matrices` is. The cell's own is `sigma`."""
        self.matrices()

    def matrices(self) -> NoReturn:
        """Refuse what a chip would be programmed with: raises :class:`~equilog.names.UserError` with what to do."""
        what = f"PhysicsInformedCell with the law of {self.law.state.name}"
        if hasattr(self.law, "coupling"):
            raise UserError(
                f"{what} is computed and not built: its law is linear, so write "
                "CircuitCell(states, drives, fixed=law.coupling(…)), the same in fixed conductances"
            )
        raise UserError(
            f"{what} is computed and not built: its law is not linear, and hardware holds linear laws only; use its "
            "linear part, equilog.priors.linearised(law, z, x), in CircuitCell(…, fixed=….coupling(…))"
        )

    def _cut(self, u: Tensor) -> list[Tensor]:
        sources = self.law.sources
        sizes = [s.size for s in sources]
        if sizes and sum(sizes) != self.drives:
            names = ", ".join(f"{s.name} {s.shape}" for s in sources)
            raise ValueError(
                f"u of {self.drives} numbers for a law of {names}: expected {sum(sizes)}, or sources apart"
            )
        return [part.reshape(-1, *s.shape) for s, part in zip(sources, u.split(sizes, 1))] if sizes else []

    def extra_repr(self) -> str:
        """Describe the layer in ``repr``."""
        return f"states={self.states}, drives={self.drives}, law={self.law.state.name!r}, held={self.held}"
