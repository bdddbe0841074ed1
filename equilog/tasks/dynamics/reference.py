"""Trusted trajectories of a system by DOP853, and what its attractor is: exponents, statistics, periods."""

from __future__ import annotations

import time
from functools import cache

import numpy as np
import torch
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline
from torch import Tensor

from equilog.tasks.computed import seeded
from equilog.tasks.dynamics.systems import System
from equilog.tasks.measures import SolverAnswer

RTOL = 1e-12
SOLVER_RTOL = 1e-6
EXPONENT_RTOL = 1e-6
FINER = 8
"""samples within a step h, where a reference is read from a spline"""
_TINY = 1e-30
ATTRACTOR_SEED, _TANGENT_SEED = 5, 6


def starts(system: System, count: int, seed: int) -> Tensor:
    """Return points in the system's box, evenly distributed, float64, ``(count, n)``."""
    low, high = (torch.tensor(side, dtype=torch.float64) for side in (system.low, system.high))
    return low + (high - low) * torch.rand(count, system.size, dtype=torch.float64, generator=seeded(seed))


def trajectories(system: System, start: Tensor, steps: int, every: float | None = None) -> Tensor:
    """Return trajectories from points ``(count, n)``, sampled at 0, h, 2h …, shape ``(count, steps + 1, n)``, float64.

    By SciPy's DOP853 (Hairer, Nørsett & Wanner 1993, §II.5) at rtol = atol = 1e-12, all trajectories with one step
    size, the smallest that their root mean square asks for.

    Args:
        start: float64.
        steps: how many.
        every: time between samples; the system's h unless given.

    Raises:
        RuntimeError: if the solver gives up.
    """
    count, n = start.shape
    times = np.arange(steps + 1) * (system.step if every is None else every)

    def rates(_t: float, x: np.ndarray) -> np.ndarray:
        return system.f_array(x.reshape(n, count)).reshape(-1)

    x0 = start.detach().double().numpy().T.reshape(-1)
    found = solve_ivp(rates, (0.0, times[-1]), x0, method="DOP853", t_eval=times, rtol=RTOL, atol=RTOL)
    if not found.success:
        raise RuntimeError(f"DOP853 gave up on {system.name}: {found.message}")
    return torch.from_numpy(np.ascontiguousarray(found.y.reshape(n, count, -1).transpose(1, 2, 0)))


def advanced(system: System, x: Tensor) -> Tensor:
    """Return states ``(count, n)`` one step h later, float64."""
    return trajectories(system, x, 1)[:, -1]


@cache
def on_attractor(system: System, count: int, seed: int = ATTRACTOR_SEED) -> Tensor:
    """Return points on the attractor, ``(count, n)``, float64: where trajectories from the box are after a horizon."""
    return trajectories(system, starts(system, count, seed), 1, system.horizon)[:, -1]


@cache
def reference_run(system: System, count: int, seed: int = ATTRACTOR_SEED) -> Tensor:
    """Return trajectories of one horizon from :func:`on_attractor`, ``(count, steps + 1, n)``, float64."""
    return trajectories(system, on_attractor(system, count, seed), system.steps(system.horizon))


@cache
def largest_exponent(system: System, count: int = 128, spans: int = 4) -> tuple[float, float]:
    """Return the largest Lyapunov exponent and its standard error, 1/time.

    By the variational equations ``ẇ = J(x) w`` beside the system, w renormalised at the end of every horizon (Benettin
    et al., Meccanica 15 (1980) 9). J w is the imaginary part of ``f(x + iεw)/ε``: exact to rounding for rates that are
    analytic (Squire & Trapp, SIAM Rev. 40 (1998) 110). The first span, in which w turns, is not counted.

    Args:
        system: one with an attractor.
        count: trajectories, whose spread gives the error.
        spans: horizons that are counted.
    """
    n = system.size
    shape = (2, n, count)

    def rates(_t: float, y: np.ndarray) -> np.ndarray:
        x, w = y.reshape(shape)
        f = system.f_array(x + 1j * _TINY * w)
        return np.stack([f.real, f.imag / _TINY]).reshape(-1)

    x = on_attractor(system, count).numpy().T
    w = torch.randn(n, count, dtype=torch.float64, generator=seeded(_TANGENT_SEED)).numpy()
    grown = np.zeros(count)
    for span in range(spans + 1):
        w = w / np.linalg.norm(w, axis=0)
        y0, until = np.stack([x, w]).reshape(-1), (0.0, system.horizon)
        found = solve_ivp(rates, until, y0, method="DOP853", rtol=EXPONENT_RTOL, atol=EXPONENT_RTOL)
        x, w = found.y[:, -1].reshape(shape)
        if span:
            grown += np.log(np.linalg.norm(w, axis=0))
    each = grown / (spans * system.horizon)
    return float(each.mean()), float(each.std(ddof=1) / count**0.5)


def period_and_amplitude(signal: Tensor, step: float) -> tuple[float, float] | None:
    """Return the mean period and half the peak-to-peak range of a sampled oscillation; None without two full periods.

    A period is the time between two passages upward through the middle of the range, on a cubic spline through the
    samples; extremes are read from the spline too.

    Args:
        signal: shape ``(samples,)``.
        step: time between samples.
    """
    if not bool(signal.isfinite().all()) or float(signal.max() - signal.min()) < 1e-9:
        return None
    spline = CubicSpline(np.arange(len(signal)) * step, signal.detach().double().numpy())
    turns = spline.derivative().roots(extrapolate=False)
    values = spline(turns[np.isfinite(turns)])
    if len(values) < 2:
        return None
    low, high = values.min(), values.max()
    times = spline.solve((low + high) / 2, extrapolate=False)
    passages = times[spline(times, 1) > 0]
    if len(passages) < 3:
        return None
    return float(np.diff(passages).mean()), float(high - low) / 2


@cache
def reference_cycle(system: System) -> tuple[float, float]:
    """Return period and amplitude of the first coordinate from the system's probe, after one horizon, by DOP853."""
    every, steps = system.step / FINER, FINER * system.steps(system.horizon)
    run = trajectories(system, torch.tensor([system.probe], dtype=torch.float64), 2 * steps, every)[0, steps:, 0]
    found = period_and_amplitude(run, every)
    assert found is not None, f"{system.name} does not oscillate"
    return found


def solve_one_by_one(system: System, x: Tensor, rtol: float = SOLVER_RTOL) -> SolverAnswer:
    """Return DOP853's answers for states ``(samples, n)`` one after the other, as they would be asked for.

    Operations are evaluations of f times products in f; the combinations of stages that the method itself makes are
    left out.
    """

    def rates(_t: float, state: list[float]) -> tuple[float, ...]:
        return system.rates(*state, **system.parameters)

    evaluations, answers, begin = 0, [], time.perf_counter()
    for state in x.detach().double().numpy():
        found = solve_ivp(rates, (0.0, system.step), state, method="DOP853", rtol=rtol, atol=rtol)
        evaluations += found.nfev
        answers.append(found.y[:, -1])
    second = (time.perf_counter() - begin) / len(x)
    return SolverAnswer(
        name=f"DOP853, rtol = atol = {rtol:g}",
        y=torch.from_numpy(np.stack(answers)),
        second_per_sample=second,
        operations_per_sample=evaluations / len(x) * system.operations,
    )
