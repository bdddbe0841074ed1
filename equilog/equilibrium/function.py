"""Any function of PyTorch as a fixed-point problem: the Jacobian comes from autograd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from equilog.equilibrium.problem import Problem
from equilog.equilibrium.states import Nested, States


class FunctionProblem(Problem):
    """``z = f(z, *args)`` for a function or module on tensors, or tuples of tensors; first dimension is the batch.

    f must treat samples independently (no batch normalisation in training mode). Samples are never taken out of its
    batch, because f may hold other tensors of that batch size; work on few of them is done on all.

    Args:
        f: ``(z, *args) -> z'`` with z' shaped like z.
        z: where to begin; fixes the shapes.
        args: what else f takes.
    """

    def __init__(self, f: Callable[..., Any], z: Nested, args: Sequence[Any] = ()) -> None:
        self.f, self.args = f, tuple(args)
        self.states = States.like(z)
        self.start = self.states.pack(z).detach()
        device = self.start.device.type
        self.autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        self._names = [name for name, _ in f.named_parameters()] if isinstance(f, nn.Module) else []
        own = [p for _, p in f.named_parameters()] if isinstance(f, nn.Module) else []
        self._places = [i for i, a in enumerate(self.args) if isinstance(a, Tensor)]
        self.theta = (*own, *(self.args[i] for i in self._places))

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate f on flat states; the result has the precision of ``x`` whatever f computes in."""
        if self.autocast is None:
            return self.states.pack(self.f(self.states.unpack(x), *self.args)).to(x.dtype)
        # The caller's autocast is for f; the solver's own algebra stays in the precision of the state.
        with torch.autocast(x.device.type, self.autocast):
            return self.states.pack(self.f(self.states.unpack(x), *self.args)).to(x.dtype)

    def on_tape(self, x: Tensor, theta: Sequence[Tensor]) -> Tensor:
        """Evaluate f as a function of x, its parameters and its tensor arguments."""
        own, given = theta[: len(self._names)], theta[len(self._names) :]
        args = list(self.args)
        for place, value in zip(self._places, given):
            args[place] = value
        z = self.states.unpack(x)
        if isinstance(self.f, nn.Module) and own:
            found = torch.func.functional_call(self.f, dict(zip(self._names, own)), (z, *args))
        else:
            found = self.f(z, *args)
        return self.states.pack(found).to(x.dtype)

    @property
    def precision(self) -> torch.dtype:
        """The precision in which f is evaluated."""
        return self.autocast or self.start.dtype

    def check_theta(self, x: Tensor) -> None:
        """Refuse derivatives of higher order if f closes over tensors that want gradients.

        Raises:
            RuntimeError: saying how to pass them.
        """
        if self.on_tape(x.detach(), [t.detach() for t in self.theta]).requires_grad:
            raise RuntimeError(
                "second derivatives through fixed_point(f, z) need every tensor that f uses to be an argument: "
                "f closes over tensors that require gradients; write fixed_point(f, z, *tensors) with f(z, *tensors), "
                "or make f a module"
            )

    def jvp(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Return ``v -> J v`` by differentiating ``v -> Jᵀ v``, which is linear; works wherever autograd does twice."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            dummy = torch.zeros_like(x, requires_grad=True)
            (pulled,) = _grad(self(x), x, dummy, create_graph=True)
        if not pulled.requires_grad:  # f does not depend on x
            return torch.zeros_like

        def product(v: Tensor) -> Tensor:
            return _grad(pulled, dummy, v, retain_graph=True)[0]

        return product

    def vjp(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Return ``v -> Jᵀ v``; f is evaluated once."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            y = self(x)
        return lambda v: _grad(y, x, v, retain_graph=True)[0]

    def jacobian(self, x: Tensor) -> Tensor:
        """Return J of every sample, row by row: n products, so for small n."""
        pull = self.vjp(x)
        rows = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        return torch.stack([pull(row.expand_as(x)) for row in rows], dim=1)

    def select(self, rows: Tensor) -> FunctionProblem:
        """Return the problem of some samples; f still sees its whole batch."""
        return _Some(self, rows)

    def adjoint(self, x: Tensor, g: Tensor) -> tuple[Problem, Callable[[Tensor], Tensor]]:
        """``λ = g + Jᵀ λ`` as it stands."""
        return _Adjoint(self, x, g), lambda lam: lam

    def adjoint_on_tape(self, x: Tensor, g: Tensor, theta: Sequence[Tensor], settle: Callable[[Any], Tensor]) -> Tensor:
        """Settle ``λ = g + Jᵀ λ`` as a function of x, g and θ: a fixed point differentiated like any other."""

        def adjoint(lam: Tensor, x: Tensor, g: Tensor, *theta: Tensor) -> Tensor:
            with torch.enable_grad():
                # An alias: the derivative is partial, whatever g and θ may owe to x.
                at = x.view_as(x) if x.requires_grad else x.detach().requires_grad_()
                return g + _grad(self.on_tape(at, theta), at, lam, create_graph=True)[0]

        return settle(FunctionProblem(adjoint, g.detach(), (x, g, *theta)))


class _Adjoint(FunctionProblem):
    """``λ = g + Jᵀ λ`` at a fixed point of another problem: linear, and its Jacobian is that one's, transposed."""

    def __init__(self, of: FunctionProblem, x: Tensor, g: Tensor) -> None:
        super().__init__(of.f, g)
        self.of, self.x = of, x
        self._pull = of.vjp(x)

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate ``g + Jᵀ λ``."""
        return self.start + self._pull(x)

    def jvp(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Return ``v -> Jᵀ v``, wherever it is asked for."""
        return self._pull

    def vjp(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Return ``v -> J v``."""
        return self.of.jvp(self.x)

    def jacobian(self, x: Tensor) -> Tensor:
        """Return ``Jᵀ`` of every sample."""
        return self.of.jacobian(self.x).mT


class _Some(FunctionProblem):
    """Some samples of another problem, embedded into its batch whenever f is evaluated."""

    def __init__(self, whole: FunctionProblem, rows: Tensor) -> None:
        self.whole, self.rows = whole, rows
        self.states, self.autocast = whole.states, whole.autocast
        self.start = whole.start[rows]

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate f with the other samples left where they started."""
        return self.whole(self._embed(x))[self.rows]

    def jvp(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Return ``v -> J v`` of these samples."""
        return self._some(self.whole.jvp(self._embed(x)))

    def vjp(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Return ``v -> Jᵀ v`` of these samples."""
        return self._some(self.whole.vjp(self._embed(x)))

    def jacobian(self, x: Tensor) -> Tensor:
        """Return J of these samples."""
        return self.whole.jacobian(self._embed(x))[self.rows]

    def select(self, rows: Tensor) -> FunctionProblem:
        """Return the problem of some of these."""
        return _Some(self.whole, self.rows[rows])

    def _embed(self, x: Tensor) -> Tensor:
        return self.whole.start.index_copy(0, self.rows, x)

    def _some(self, product: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        zero = torch.zeros_like(self.whole.start)
        return lambda v: product(zero.index_copy(0, self.rows, v))[self.rows]


def _grad(y: Tensor, x: Tensor, v: Tensor, **options: bool) -> tuple[Tensor]:
    if not y.requires_grad:
        return (torch.zeros_like(x),)
    (found,) = torch.autograd.grad(y, x, v, allow_unused=True, **options)
    return (torch.zeros_like(x) if found is None else found,)
