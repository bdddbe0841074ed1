"""Burgers' equation on a circle, ``u_t + u u_x = ν u_xx``: smooth random states, and where they are some time later.

Twice, by ways that share nothing: the closed form of Hopf (Comm. Pure Appl. Math. 3 (1950) 201) and Cole (Q. Appl.
Math. 9 (1951) 225), and pseudo-spectral differences (Canuto et al., *Spectral Methods in Fluid Dynamics*, 1988,
§3.3) integrated by DOP853 (Hairer, Nørsett & Wanner, *Solving Ordinary Differential Equations I*, 1993, §II.5).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from equilog.tasks.computed import seeded

POINTS, LENGTH_METRE = 32, 2 * math.pi
VISCOSITY = 0.1  # m²/s
LARGEST = 1.2  # m/s
WAVES, MEAN = 3, 0.2
FINE = 256


def smooth_states(samples: int, seed: int) -> Tensor:
    """Return random velocities in m/s at the 32 points, float64, shape ``(samples, 32)``.

    Three waves with normal amplitudes over their number and a mean evenly in ±0.2 of their rms; each is then scaled to
    a largest speed evenly between 0.6 and 1.2 m/s.
    """
    generator = seeded(seed)
    x = torch.arange(POINTS, dtype=torch.float64) * (2 * math.pi / POINTS)
    k = torch.arange(1, WAVES + 1, dtype=torch.float64)
    cosine, sine = torch.randn(2, samples, WAVES, dtype=torch.float64, generator=generator) / k
    u = cosine @ torch.cos(k[:, None] * x) + sine @ torch.sin(k[:, None] * x)
    mean, size = 2 * torch.rand(2, samples, 1, dtype=torch.float64, generator=generator) - 1
    u = u / u.square().mean(1, keepdim=True).sqrt() + MEAN * mean
    return LARGEST * (3 + size) / 4 * u / u.abs().amax(1, keepdim=True)


def refined(u: Tensor, points: int) -> Tensor:
    """Return the trigonometric interpolant of ``(…, n)`` values at more points, ``(…, points)``."""
    modes = torch.fft.rfft(u.double())
    if u.shape[-1] % 2 == 0:
        modes[..., -1] /= 2  # shared with its mirror image, which has a place of its own on more points
    return torch.fft.irfft(modes, n=points) * (points / u.shape[-1])


def cole_hopf(u: Tensor, second: float, viscosity: float = VISCOSITY) -> Tensor:
    """Return the exact u after some time, at the points it was given at, float64.

    With c the mean and v = u − c, φ = exp(−∫v dx/2ν) obeys the heat equation in a frame that moves with c, and
    u = c − 2ν φ_x/φ. Integral, diffusion, shift and derivative are exact for each Fourier mode; 256 of them hold φ.

    Args:
        u: shape ``(…, n)``, n a divisor of 256, on a circle of 2π m, in m/s; what lies between is the interpolant.
        second: 0 or more.
        viscosity: ν > 0 in m²/s; below about 0.05 at 1 m/s a front is too steep for 256 modes.
    """
    n = u.shape[-1]
    k = torch.arange(FINE // 2 + 1, dtype=torch.float64)
    modes = torch.fft.rfft(refined(u, FINE))
    mean = modes[..., :1].real / FINE
    # The zeroth mode of the integral is free: it is a factor of φ, which drops out.
    integral = torch.fft.irfft(torch.cat([modes[..., :1] * 0, modes[..., 1:] / (1j * k[1:])], dim=-1), n=FINE)
    exponent = -integral / (2 * viscosity)
    phi = torch.fft.rfft((exponent - exponent.amax(-1, keepdim=True)).exp())
    phi = phi * torch.exp(-viscosity * k**2 * second - 1j * k * mean * second)
    slope = torch.fft.irfft(1j * k * phi, n=FINE) / torch.fft.irfft(phi, n=FINE)
    return (mean - 2 * viscosity * slope)[..., :: FINE // n]


def pseudo_spectral(
    u: Tensor, second: float, viscosity: float = VISCOSITY, *, points: int = 128, tolerance: float = 1e-10
) -> tuple[Tensor, int]:
    """Return one state after some time, shape ``(n,)``, and how often DOP853 asked for its derivative.

    Args:
        u: shape ``(n,)``, n a divisor of `points`, on a circle of 2π m, in m/s.
        second: above 0.
        viscosity: ν in m²/s.
        points: of the finer circle that is computed on; the upper third of modes is left out of products.
        tolerance: relative, and absolute in m/s.
    """
    k = np.arange(points // 2 + 1)
    kept = k <= points // 3

    def derivative(_: float, v: np.ndarray) -> np.ndarray:
        product = np.fft.rfft(v * v) * kept
        change: np.ndarray = np.fft.irfft(-0.5j * k * product - viscosity * k**2 * np.fft.rfft(v), n=points)
        return change

    start = refined(u, points).numpy()
    found = solve_ivp(derivative, (0, second), start, "DOP853", rtol=tolerance, atol=tolerance, t_eval=[second])
    return torch.from_numpy(found.y[:: points // len(u), -1].copy()), int(found.nfev)
