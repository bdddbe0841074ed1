"""Weights that are convolutions: ``Wz`` on images, its exact transpose, and certificates for an image size.

Kernels are odd, so that ``Wz`` has the size of z and the transpose of a convolution is the convolution with the
:func:`mirrored` kernel, for zero and for circular padding alike.

How the numbers of a certificate are found:

- dense: the matrix, for n = channels·height·width up to 1024;
- fourier: circular padding makes W block diagonal under the Fourier transform, one (channels, channels) block a
  frequency: exact at any size;
- lanczos: extreme eigenvalues of sym W and WᵀW by implicitly restarted Lanczos (ARPACK) until the residual says
  they are right to `tolerance`. What the construction promises is rigorous in any case; an eigenvalue that Lanczos
  never saw would not be.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor, nn

from equilog.cells.certificate import Certificate, Entries, certify
from equilog.names import nearest

Padding = Literal["zeros", "circular"]
Method = Literal["auto", "dense", "fourier", "lanczos"]
DENSE_LIMIT = 1024


class Convolution(nn.Module):
    """What convolutional weights share; a kind of weight gives `kernels`, `product` and `promise`.

    Args:
        channels: of the state z, shape ``(batch, channels, height, width)``.
        kernel_size: side of the kernels; odd.
        padding: "zeros" or "circular".
        reach: how many pixels away an entry of W can be, per direction.

    Raises:
        ValueError: if an argument is out of its range.
    """

    symmetric = False

    def __init__(self, channels: int, kernel_size: int, padding: Padding, *, reach: int) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels = {channels}: expected at least one channel")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size = {kernel_size}: expected an odd number of pixels, 1, 3, 5, …")
        _check_name("padding", padding, get_args(Padding))
        self.channels = channels
        self.kernel_size = kernel_size
        self.padding: Padding = padding
        self.reach = reach

    @property
    def promise(self) -> str:
        """What holds for any parameters."""
        raise NotImplementedError  # a subclass says

    def kernels(self) -> tuple[Tensor, ...]:
        """Return the kernels that W is made of; compute them once to multiply by W many times."""
        raise NotImplementedError  # a subclass says

    def product(self, z: Tensor, kernels: tuple[Tensor, ...], transpose: bool) -> Tensor:
        """Return ``Wz`` or ``Wᵀz`` for given kernels."""
        raise NotImplementedError  # a subclass says

    def forward(self, z: Tensor, kernels: tuple[Tensor, ...] | None = None) -> Tensor:
        """Return ``Wz``, shape ``(batch, channels, height, width)`` like z; `kernels` may be passed for speed.

        Raises:
            ValueError: if z is not of that shape, or too small to be padded circularly.
        """
        self._check(z)
        return self.product(z, self.kernels() if kernels is None else kernels, False)

    def transpose(self, z: Tensor, kernels: tuple[Tensor, ...] | None = None) -> Tensor:
        """Return ``Wᵀz``; shapes and errors as for :meth:`forward`."""
        self._check(z)
        return self.product(z, self.kernels() if kernels is None else kernels, True)

    def matrix(self, height: int, width: int) -> Tensor:
        """Return W as a dense matrix ``(n, n)``, n = channels·height·width, for images that are small enough."""
        n = self._states(height, width)
        parameter = next(self.parameters())
        eye = torch.eye(n, dtype=parameter.dtype, device=parameter.device)
        return self(eye.view(n, self.channels, height, width)).reshape(n, n).T

    def certificate(self, height: int, width: int, *, method: Method = "auto", tolerance: float = 1e-6) -> Certificate:
        """Return what the present W guarantees on images of this size, measured in float64.

        Args:
            height, width: of the image, in pixels.
            method: see the top of this file; "auto" takes fourier if circular, else dense up to n = 1024, else lanczos.
            tolerance: of the eigenvalues that lanczos finds, relative to ‖W‖ or 1, whichever is more.

        Raises:
            ValueError: if the size, method or tolerance makes no sense, fourier meets zero padding, or kernels hold inf
                or nan.
            RuntimeError: if Lanczos does not converge to the tolerance.
        """
        n = self._states(height, width)
        _check_name("method", method, get_args(Method))
        if not 0 < tolerance < 1:
            raise ValueError(f"tolerance = {tolerance}: expected a number in (0, 1)")
        if method == "fourier" and self.padding != "circular":
            raise ValueError("method = 'fourier': expected circular padding; zeros are not diagonal in that basis")
        if method == "auto":
            method = "fourier" if self.padding == "circular" else "dense" if n <= DENSE_LIMIT else "lanczos"
        if not all(bool(p.isfinite().all()) for p in self.parameters()):
            raise ValueError("the kernels hold inf or nan: expected finite numbers")
        exact = copy.deepcopy(self).to("cpu", torch.float64).requires_grad_(False)
        kernels = exact.kernels()
        entries, row_sum, row_margin = exact._entries(kernels, height, width)
        if method == "dense" or n == 1:
            found = certify(exact.matrix(height, width))
        else:
            measure = exact._fourier if method == "fourier" else exact._lanczos
            margin, norm, chord, accuracy, how = measure(kernels, height, width, tolerance)
            found = Certificate(
                n, margin, row_margin - accuracy, norm, row_sum + accuracy, chord, accuracy, how, entries
            )
        return replace(found, entries=entries, symmetric=self.symmetric, promise=self.promise)

    def start(
        self, scale: float, centre: float, dtype: torch.dtype | None, device: torch.device | str | None
    ) -> Tensor:
        """Return a random kernel ``(channels, channels, s, s)`` around `centre` times the identity."""
        s = self.kernel_size
        kernel = torch.randn(self.channels, self.channels, s, s, dtype=dtype, device=device)
        kernel *= scale / (self.channels**0.5 * s)
        kernel[:, :, s // 2, s // 2] += centre * torch.eye(self.channels, dtype=dtype, device=device)
        return kernel

    def extra_repr(self) -> str:
        """Describe the layer in ``repr``."""
        return f"channels={self.channels}, kernel_size={self.kernel_size}, padding={self.padding!r}"

    def _check(self, z: Tensor) -> None:
        if z.ndim != 4 or z.shape[1] != self.channels:
            raise ValueError(f"z has shape {tuple(z.shape)}, expected (batch, {self.channels}, height, width)")
        self._states(*z.shape[2:])

    def _states(self, height: int, width: int) -> int:
        least = self.kernel_size // 2 if self.padding == "circular" else 1
        for name, value in (("height", height), ("width", width)):
            if value < max(least, 1):
                raise ValueError(
                    f"{name} = {value}: expected at least {max(least, 1)} pixels, padding {self.padding!r}"
                )
        return self.channels * height * width

    def _entries(self, kernels: tuple[Tensor, ...], height: int, width: int) -> tuple[Entries, float, float]:
        """Sums over every kind of row and column, ‖W‖∞ and the row margin, by multiplying W with unit vectors.

        Lines of W differ only in the channel and, if zeros are padded, in the distance to the borders up to `reach`:
        an image of 2 reach + 1 pixels a side has all kinds.
        """
        c, side = self.channels, 2 * self.reach + 1
        circular = self.padding == "circular"
        h, w = (height, width) if circular else (min(height, side), min(width, side))
        where = [0] if circular else range(h * w)
        sums: tuple[list[Tensor], list[Tensor]] = ([], [])
        diagonal = []
        for pixel in where:
            unit = torch.zeros(c, c, h * w, dtype=torch.float64)
            unit[:, :, pixel] = torch.eye(c, dtype=torch.float64)
            unit = unit.view(c, c, h, w)
            for transpose, sign in ((False, -1.0), (True, 1.0)):
                ones = tuple(torch.full_like(k, sign) for k in kernels)  # no two terms of W cancel: shows the devices
                lines = self.product(unit, kernels, transpose).reshape(c, -1)
                devices = (self.product(unit, ones, transpose) != 0).reshape(c, -1).sum(1).double()
                sums[transpose].append(
                    torch.stack([devices, lines.abs().sum(1), (lines**2).sum(1), lines.abs().amax(1)])
                )
            diagonal.append(lines.view(c, c, h * w)[:, :, pixel].diagonal())
        columns, rows = (torch.cat(s, dim=1) for s in sums)
        own = torch.cat(diagonal)
        entries = Entries(rows[:3], columns[:3], own.abs(), float(rows[3].max()))
        return entries, float(rows[1].max()), 1 - float((rows[1] - own.abs() + own.clamp(min=0)).max())

    def _fourier(
        self, kernels: tuple[Tensor, ...], height: int, width: int, tolerance: float
    ) -> tuple[float, float, float, float, str]:
        """Margin, norm and chord rate from the blocks of a circular W, which are exact."""
        c = self.channels
        unit = torch.zeros(c, c, height, width, dtype=torch.float64)
        unit[:, :, 0, 0] = torch.eye(c, dtype=torch.float64)
        blocks = torch.fft.rfft2(self.product(unit, kernels, False)).permute(2, 3, 1, 0)
        eye = torch.eye(c, dtype=blocks.dtype)
        norm = float(torch.linalg.matrix_norm(blocks, 2).max())
        accuracy = 4 * c * height * width * float(np.finfo(np.float64).eps) * (1 + norm)
        margin = float(torch.linalg.eigvalsh(eye - (blocks + blocks.mH) / 2).min()) - accuracy
        chord = math.inf
        if margin > 0:
            chord = float(torch.linalg.matrix_norm(torch.linalg.solve(eye - blocks / 2, blocks), 2).max()) / 2
        return margin, norm + accuracy, chord + accuracy, accuracy, "Fourier blocks"

    def _lanczos(
        self, kernels: tuple[Tensor, ...], height: int, width: int, tolerance: float
    ) -> tuple[float, float, float, float, str]:
        """Margin and norm by Lanczos; the chord rate bounded by ‖W‖₂/√(‖W‖₂² + 4m)."""
        shape = (1, self.channels, height, width)
        n = math.prod(shape)

        def symmetric(z: Tensor) -> Tensor:
            return (self.product(z, kernels, False) + self.product(z, kernels, True)) / 2

        def gram(z: Tensor) -> Tensor:
            return self.product(self.product(z, kernels, False), kernels, True)

        square, error = _largest(gram, n, shape, tolerance)
        norm = math.sqrt(max(square, 0.0) + error)
        top, miss = _largest(symmetric, n, shape, tolerance)
        margin = 1 - top - miss
        chord = norm / math.sqrt(norm**2 + 4 * margin) if margin > 0 else math.inf
        return margin, norm, chord, max(miss, norm - math.sqrt(max(square, 0.0))), "Lanczos (chord rate: upper bound)"


def _largest(
    multiply: Callable[[Tensor], Tensor], n: int, shape: tuple[int, ...], tolerance: float
) -> tuple[float, float]:
    """Return the largest eigenvalue of a symmetric operator and the norm of its residual, a bound on the error."""

    def shifted(x: np.ndarray) -> np.ndarray:
        z = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float64)).view(shape)
        return (multiply(z) + z).reshape(-1).numpy()  # + I: ARPACK refuses the operator 0

    start = np.random.default_rng(0).standard_normal(n)
    try:
        values, vectors = eigsh(
            LinearOperator((n, n), matvec=shifted, dtype=np.float64), k=1, which="LA", tol=tolerance / 4, v0=start
        )
    except ArpackNoConvergence as error:
        raise RuntimeError(f"Lanczos did not converge to tolerance = {tolerance} on {n} states; loosen it") from error
    x = vectors[:, 0]
    top = float(values[0])
    residual = float(np.linalg.norm(shifted(x) - top * x)) + n * float(np.finfo(np.float64).eps) * abs(top)
    return top - 1, residual


def convolve(z: Tensor, kernel: Tensor, padding: Padding) -> Tensor:
    """Convolve ``z (batch, c, h, w)`` with an odd ``kernel (c, c, s, s)``; the size of the image stays."""
    radius = kernel.shape[-1] // 2
    if padding == "circular":
        z = nn.functional.pad(z, (radius,) * 4, mode="circular")
        return nn.functional.conv2d(z, kernel)
    return nn.functional.conv2d(z, kernel, padding=radius)


def mirrored(kernel: Tensor) -> Tensor:
    """Return the kernel of the transposed convolution: channels swapped, both axes reversed."""
    return kernel.transpose(0, 1).flip(2, 3)


def _check_name(kind: str, name: str, valid: tuple[str, ...]) -> None:
    if name not in valid:
        raise ValueError(f"{kind} = {name!r}{nearest(name, valid)}: expected one of {', '.join(valid)}")
