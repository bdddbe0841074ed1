"""The problems on which all solvers are tried, in the tests and in the benchmarks alike.

Each is data: a name, what makes it hard, and a function of the size, the batch and the precision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from equilog.cells import AffineSystem, MonotoneWeight, ReLU, Tanh
from equilog.equilibrium.affine import AffineProblem
from equilog.equilibrium.function import FunctionProblem
from equilog.equilibrium.problem import Problem
from equilog.equilibrium.states import Nested


@dataclass(frozen=True)
class Function:
    """A fixed point of an arbitrary function: ``f`` and where to begin."""

    f: Callable[[Any], Any]
    z: Nested


@dataclass(frozen=True)
class ReferenceProblem:
    """One problem.

    Attributes:
        name: how it is called in tables and tests.
        hard: what makes it hard.
        make: ``(n, batch, dtype, seed) -> equations``.
        solvable: whether a fixed point exists.
    """

    name: str
    hard: str
    make: Callable[[int, int, torch.dtype, int], AffineSystem | Function]
    solvable: bool = True

    def problem(self, n: int, batch: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Problem:
        """Return it as the solvers see it."""
        made = self.make(n, batch, dtype, seed)
        return AffineProblem(made) if isinstance(made, AffineSystem) else FunctionProblem(made.f, made.z)


def _normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def contractive(
    n: int, batch: int, dtype: torch.dtype, seed: int, *, norm: float = 0.9, size: float = 1.0
) -> AffineSystem:
    """A random weight scaled to a spectral norm below 1."""
    weight = _normal(seed, n, n)
    weight = weight * (norm / torch.linalg.matrix_norm(weight, 2))
    return AffineSystem(weight.to(dtype), (size * _normal(seed + 1, batch, n)).to(dtype), Tanh())


def monotone_weight(n: int, norm: float, seed: int, margin: float = 0.3) -> Tensor:
    """A monotone weight whose random parts are scaled together until ``‖W‖₂`` is `norm`, float64."""
    torch.manual_seed(seed)
    module = MonotoneWeight(n, margin, scale=1.0, dtype=torch.float64)
    with torch.no_grad():
        eye = (1 - margin) ** 0.5 * torch.eye(n, dtype=torch.float64)
        noise_a, noise_b = module.a - eye, module.b * 2
        low, high = 0.0, 8.0 * norm
        for _ in range(40):
            scale = (low + high) / 2
            module.a.copy_(eye + scale * noise_a)
            module.b.copy_(scale * noise_b)
            low, high = (scale, high) if _norm(module()) < norm else (low, scale)
        return module()


def _norm(weight: Tensor) -> float:
    """Return ``‖W‖₂``, by converged power iteration where an SVD would take minutes."""
    if len(weight) <= 1024:
        return float(torch.linalg.matrix_norm(weight, 2))
    v = torch.ones(len(weight), dtype=weight.dtype)
    size = torch.zeros(())
    for _ in range(100):
        v = weight.T @ (weight @ v)
        new = v.norm().sqrt()
        if abs(float(new - size)) < 1e-3 * float(new):
            break
        size, v = new, v / v.norm()
    return float(new)


def monotone(
    n: int, batch: int, dtype: torch.dtype, seed: int, *, norm: float = 3.6, size: float = 1.0
) -> AffineSystem:
    """A monotone weight of margin 0.3 with a norm far above 1."""
    weight = monotone_weight(n, norm, seed)
    return AffineSystem(weight.to(dtype), (size * _normal(seed + 1, batch, n)).to(dtype), Tanh())


def near_critical(n: int, batch: int, dtype: torch.dtype, seed: int) -> AffineSystem:
    """A symmetric weight with eigenvalues up to 0.999 under drives so small that the slopes are nearly 1."""
    q, _ = torch.linalg.qr(_normal(seed, n, n))
    weight = (q * torch.linspace(-0.999, 0.999, n, dtype=torch.float64)) @ q.T
    return AffineSystem(weight.to(dtype), (0.01 * _normal(seed + 1, batch, n)).to(dtype), Tanh())


def stiff(n: int, batch: int, dtype: torch.dtype, seed: int) -> AffineSystem:
    """Real eigenvalues from −100 to 0.7: time constants over two decades."""
    q, _ = torch.linalg.qr(_normal(seed, n, n))
    spectrum = 0.7 - torch.logspace(-2, 2, n, dtype=torch.float64)
    return AffineSystem(((q * spectrum) @ q.T).to(dtype), _normal(seed + 1, batch, n).to(dtype), Tanh())


def relu(n: int, batch: int, dtype: torch.dtype, seed: int) -> AffineSystem:
    """A monotone weight under an activation with kinks."""
    weight = monotone_weight(n, 2.0, seed)
    return AffineSystem(weight.to(dtype), _normal(seed + 1, batch, n).to(dtype), ReLU())


def convolutional(n: int, batch: int, dtype: torch.dtype, seed: int) -> Function:
    """A 3×3 convolution with four channels on an image of about n numbers, norm below 1 by its absolute sum."""
    side = max(2, round((n / 4) ** 0.5))
    kernel = _normal(seed, 4, 4, 3, 3)
    kernel = (kernel * (0.9 / kernel.abs().sum((1, 2, 3)).max())).to(dtype)
    u = _normal(seed + 1, batch, 4, side, side).to(dtype)
    return Function(lambda z: torch.tanh(torch.nn.functional.conv2d(z, kernel, padding=1) + u), torch.zeros_like(u))


def multiscale(n: int, batch: int, dtype: torch.dtype, seed: int) -> Function:
    """Two states of different size that feed each other."""
    half = max(1, n // 3)
    rest = max(1, n - half)
    weights = [
        _normal(seed + i, a, b) for i, (a, b) in enumerate([(half, half), (half, rest), (rest, half), (rest, rest)])
    ]
    aa, ab, ba, bb = ((0.45 * w / torch.linalg.matrix_norm(w, 2)).to(dtype) for w in weights)
    u, v = _normal(seed + 8, batch, half).to(dtype), _normal(seed + 9, batch, rest).to(dtype)

    def f(z: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        a, b = z
        return torch.tanh(a @ aa.T + b @ ab.T + u), torch.tanh(a @ ba.T + b @ bb.T + v)

    return Function(f, (torch.zeros_like(u), torch.zeros_like(v)))


def nowhere(n: int, batch: int, dtype: torch.dtype, seed: int) -> Function:
    """``f(z) = z + 1``: no fixed point at all."""
    return Function(lambda z: z + 1, _normal(seed, batch, n).to(dtype))


PROBLEMS = (
    ReferenceProblem("contractive", "nothing: ‖W‖ = 0.9", contractive),
    ReferenceProblem("monotone", "‖W‖ = 3.6: Picard diverges", monotone),
    ReferenceProblem("monotone, saturated", "‖W‖ = 3.6, large drives", partial(monotone, size=3.0)),
    ReferenceProblem("monotone, strong", "‖W‖ = 15", partial(monotone, norm=15.0)),
    ReferenceProblem("near-critical", "eigenvalue 0.999 at slope 1", near_critical),
    ReferenceProblem("stiff", "eigenvalues from −100 to 0.7", stiff),
    ReferenceProblem("tiny", "inputs of size 1e-6", partial(contractive, size=1e-6)),
    ReferenceProblem("huge", "inputs of size 1e6", partial(contractive, size=1e6)),
    ReferenceProblem("relu", "kinks; ‖W‖ = 2", relu),
    ReferenceProblem("convolutional", "a function on images", convolutional),
    ReferenceProblem("multiscale", "a tuple of tensors", multiscale),
    ReferenceProblem("nowhere", "has no fixed point", nowhere, solvable=False),
)
"""Every problem, by what makes it hard."""
