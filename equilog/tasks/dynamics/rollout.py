"""A learned stepper let run: its trajectories, how long they are right, and what its attractor is like."""

from __future__ import annotations

import torch
from torch import Tensor

from equilog.tasks.task import Predict

LOST = 1e6
"""a coordinate beyond so many times the largest one at the start is called diverged"""
SAMPLES_AT_ONCE = 4096


@torch.no_grad()
def rolled(predict: Predict, start: Tensor, steps: int) -> Tensor:
    """Return ``x, predict(x), predict(predict(x)), …``, shape ``(count, steps + 1, n)``, float64.

    A trajectory that diverges is nan from there on.

    Args:
        predict: one step.
        start: shape ``(count, n)``.
        steps: how many.
    """
    path = torch.full((len(start), steps + 1, start.shape[1]), torch.nan, dtype=torch.float64)
    path[:, 0] = start
    limit = LOST * float(start.abs().max().clamp(min=1.0))
    alive = torch.arange(len(start))
    for k in range(steps):
        x = predict(path[alive, k])
        fine = (x.abs() < limit).all(1)  # false for nan too
        alive = alive[fine]
        if not len(alive):
            break
        path[alive, k + 1] = x[fine].double()
    return path


def valid_times(path: Tensor, reference: Tensor, step: float, threshold: float = 0.4) -> Tensor:
    """Return for every trajectory the time until ``‖x̂ − x‖/√⟨‖x‖²⟩`` first exceeds the threshold, ``(count,)``.

    The measure and its threshold of 0.4 are those of Pathak et al., Chaos 28 (2018) 041101. The mean is over all
    reference states. A trajectory that never exceeds it counts with its whole length.

    Args:
        path, reference: shape ``(count, steps + 1, n)``, from the same starts.
        step: time between states.
        threshold: in units of the attractor's root mean square.
    """
    size = reference.square().sum(-1).mean().sqrt()
    wrong = ~((path - reference).norm(dim=-1) <= threshold * size)  # nan is wrong
    wrong[:, -1] = True
    return wrong.double().argmax(1) * step


def rollout_error(path: Tensor, reference: Tensor, at: int) -> float | None:
    """Return the mean of ``‖x̂ − x‖/√⟨‖x‖²⟩`` after `at` steps; None if a trajectory diverged before."""
    size = reference.square().sum(-1).mean().sqrt()
    error = float(((path[:, at] - reference[:, at]).norm(dim=-1) / size).mean())
    return error if error < float("inf") else None


def jacobians(predict: Predict, x: Tensor) -> Tensor:
    """Return ``∂predict/∂x`` at states ``(samples, n)``, shape ``(samples, n, n)``, by one backward pass an output."""
    found = []
    for some in x.detach().double().split(SAMPLES_AT_ONCE):
        part = some.clone().requires_grad_(True)
        with torch.enable_grad():
            y = predict(part)
        n = y.shape[1]
        rows = [torch.autograd.grad(y[:, i].sum(), part, retain_graph=i < n - 1)[0] for i in range(n)]
        found.append(torch.stack(rows, dim=1))
    return torch.cat(found)


def exponent_of_map(predict: Predict, path: Tensor, step: float) -> tuple[float, float] | None:
    """Return the largest Lyapunov exponent of a stepper and its standard error, 1/time; None if it cannot be had.

    QR of the Jacobians along its own trajectories (Eckmann & Ruelle, Rev. Mod. Phys. 57 (1985) 617, §V.C). The first
    quarter lets the directions settle and is not counted; the error is from the spread over trajectories.

    Args:
        predict: one step.
        path: its trajectories, ``(count, steps + 1, n)``.
        step: time between states.
    """
    if not bool(path.isfinite().all()):
        return None
    count, states, n = path.shape
    along = jacobians(predict, path[:, :-1].reshape(-1, n)).unflatten(0, (count, states - 1))
    if not bool(along.isfinite().all()):
        return None
    q = torch.eye(n, dtype=torch.float64).expand(count, n, n)
    first, grown = (states - 1) // 4, torch.zeros(count, dtype=torch.float64)
    for k in range(states - 1):
        q, r = torch.linalg.qr(along[:, k] @ q)
        if k >= first:
            grown += r[:, 0, 0].abs().log()
    each = grown / ((states - 1 - first) * step)
    if not bool(each.isfinite().all()):
        return None
    return float(each.mean()), float(each.std() / count**0.5)


def distance_of_statistics(path: Tensor, reference: Tensor) -> float | None:
    """Return how far two sets of states are apart in their distributions; None if one holds nan.

    The 1-Wasserstein distance of every coordinate in units of its standard deviation in the reference, averaged over
    coordinates. The later half of each trajectory counts.

    Args:
        path, reference: shape ``(count, steps + 1, n)``.
    """
    half = path.shape[1] // 2
    from scipy.stats import wasserstein_distance  # noqa: PLC0415  # a second of every command's start

    mine, trusted = path[:, half:].flatten(0, 1), reference[:, half:].flatten(0, 1)
    if not bool(mine.isfinite().all()):
        return None
    apart = [wasserstein_distance(a.numpy(), b.numpy()) / float(b.std()) for a, b in zip(mine.T, trusted.T)]
    return sum(apart) / len(apart)
