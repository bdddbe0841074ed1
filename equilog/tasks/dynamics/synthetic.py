"""What made-up dynamical tasks share: seeded draws, matrices with known properties, data without a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from equilog.names import UserError
from equilog.tasks.task import Data


def seeded(seed: int) -> torch.Generator:
    """Return a generator of its own: data are the same whatever was drawn before."""
    return torch.Generator().manual_seed(seed)


def uniform(samples: int, features: int, seed: int) -> Tensor:
    """Return inputs in [−1, 1), float64, shape ``(samples, features)``."""
    return 2 * torch.rand(samples, features, dtype=torch.float64, generator=seeded(seed)) - 1


def stable_matrix(states: int, slowest: float, fastest: float, coupling: float, seed: int) -> Tensor:
    """Return A of shape ``(n, n)``, float64, whose symmetric part has eigenvalues from ``−fastest`` to ``−slowest``.

    So every eigenvalue of A has a real part of at most ``−slowest``, whatever the skew part is, and ``ż = A z + …``
    comes to rest in any norm.

    Args:
        states: n.
        slowest, fastest: rates, above 0; the symmetric part's eigenvalues are spread evenly in the logarithm.
        coupling: spectral norm of the skew part.
        seed: of eigenvectors and skew part.

    Raises:
        ValueError: for rates that are not in order or not above 0.
    """
    if not 0 < slowest <= fastest:
        raise ValueError(f"slowest = {slowest}, fastest = {fastest}: expected rates above 0, the slower first")
    generator = seeded(seed)
    basis, skew = torch.randn(2, states, states, dtype=torch.float64, generator=generator)
    axes = torch.linalg.qr(basis).Q
    rates = torch.logspace(0, 1, states, base=fastest / slowest, dtype=torch.float64) * slowest
    skew = skew - skew.T
    size = torch.linalg.matrix_norm(skew, 2)
    return -(axes * rates) @ axes.T + skew * (coupling / size if size > 0 else 0.0)


def made_up(
    inputs: Callable[[int, int], Tensor],
    answer: Callable[[Tensor], Tensor],
    counts: tuple[int, int],
    seeds: tuple[int, int],
    source: str,
) -> Data:
    """Return training and test data that are computed: in float64, kept in float32.

    Args:
        inputs: ``(samples, seed) -> x``, float64.
        answer: ``x -> y``, float64.
        counts: of training and test samples.
        seeds: of both; they must differ, or the test samples would be training samples.
        source: what is computed.

    Raises:
        ValueError: for equal seeds.
    """
    if seeds[0] == seeds[1]:
        raise ValueError(f"seeds {seeds}: expected two different ones, for training and test samples")
    parts = [inputs(count, seed) for count, seed in zip(counts, seeds)]
    train_x, train_y, test_x, test_y = (t.float() for x in parts for t in (x, answer(x)))
    return Data(train_x, train_y, test_x, test_y, source)


def refuse_folder(task: str, folder: Path | None) -> None:
    """Raise ``UserError`` if somebody brings data to a task that computes its own."""
    if folder is not None:
        raise UserError(f"the data of {task} are computed: leave out --data")
