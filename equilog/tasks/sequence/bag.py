"""Bags of words and word pairs: hashed, weighed by a linear classifier, and summed as learnt vectors.

Each feature is weighed by its TF-IDF times its coefficient in a logistic regression, so that the sum of a sentence's
weights is that regression's logit; what a network learns of a feature is added to that (as Wang & Manning, ACL 2012, do
with naive Bayes). Sentences that are trained on are weighed by regressions that have not seen them (Wolpert, Neural
Networks 5 (1992) 241): otherwise their weights would tell their classes.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.special import expit
from torch import Tensor, nn

FEATURES = 2**17
"""places that features are hashed to; with a quarter of them a regression loses two points of accuracy"""
LONGEST = 128
"""features of a sentence; what it has beyond them is left out"""
INNER_FOLDS = 5
PENALTY = 4.0
"""C of the regression, ``½‖w‖² + C Σ ln(1 + exp(∓wᵀx))``"""
SLOWLY = 0.03
"""by which learnt vectors are multiplied: a step of Adam is as large for a rare word as for a frequent one"""

Features = Sequence[Sequence[int]]
Floats = NDArray[np.float64]


def features_of(sentence: str) -> list[int]:
    """Return the places of a sentence's words, then of its pairs of neighbours, each once: CRC-32 modulo 2¹⁷."""
    words = sentence.split()
    found = [*words, *(f"{a} {b}" for a, b in pairwise(words))]
    return list(dict.fromkeys(zlib.crc32(text.encode()) % FEATURES for text in found))[:LONGEST]


def inverse_frequencies(features: Features) -> Floats:
    """Return ``ln((1 + N)/(1 + n)) + 1`` of every place, n of N sentences holding it; shape ``(FEATURES,)``."""
    counts = np.bincount([place for places in features for place in places], minlength=FEATURES)
    found: Floats = np.log((1 + len(features)) / (1 + counts)) + 1
    return found


def tf_idf(features: Features, inverse: Floats) -> csr_array:
    """Return every sentence's inverse frequencies with norm 1, sparse, shape ``(sentences, FEATURES)``."""
    ends = np.cumsum([0, *(len(places) for places in features)])
    columns = np.array([place for places in features for place in places], dtype=np.int64)
    values = inverse[columns]
    sizes = np.sqrt(np.add.reduceat(values**2, ends[:-1]))
    return csr_array((values / np.repeat(sizes, np.diff(ends)), columns, ends), shape=(len(features), FEATURES))


def regression(x: csr_array, classes: NDArray[np.int64]) -> Floats:
    """Return the coefficients of a penalised logistic regression without a constant, shape ``(FEATURES,)``.

    Args:
        x: of :func:`tf_idf`.
        classes: 0 or 1, shape ``(sentences,)``.
    """

    def loss(w: Floats) -> tuple[float, Floats]:
        logit = x @ w
        gap = expit(logit) - classes
        value = 0.5 * float(w @ w) + PENALTY * float((np.logaddexp(0, logit) - classes * logit).sum())
        return value, w + PENALTY * (x.T @ gap)

    found: Floats = minimize(loss, np.zeros(FEATURES), jac=True, method="L-BFGS-B", options={"maxiter": 100}).x
    return found


def weighed_apart(train: Features, classes: Tensor, test: Features) -> tuple[Tensor, Tensor]:
    """Return the inputs of training and of test sentences, see :func:`packed`.

    Test sentences are weighed by the regression on all training sentences, these by one on four fifths of them that
    they are not among: every fifth is a fold, in the order in which they come.
    """
    inverse, y = inverse_frequencies(train), classes.numpy()
    x, fold = tf_idf(train, inverse), np.arange(len(train)) % INNER_FOLDS
    weights = np.empty(x.nnz)
    rows = np.repeat(np.arange(len(train)), np.diff(x.indptr))
    for k in range(INNER_FOLDS):
        own = fold[rows] == k
        weights[own] = x.data[own] * regression(x[fold != k], y[fold != k])[x.indices[own]]
    held = tf_idf(test, inverse)
    return packed(train, weights), packed(test, held.data * regression(x, y)[held.indices])


def packed(features: Features, weights: Floats) -> Tensor:
    """Return places and weights, float32, shape ``(sentences, 2, LONGEST)``; what is unused is place 0 of weight 0.

    Args:
        features: of the sentences.
        weights: of all features of all sentences, one sentence after the other.
    """
    x = torch.zeros(len(features), 2, LONGEST)
    parts = torch.from_numpy(weights).split([len(places) for places in features])
    for row, places, own in zip(x, features, parts):
        row[0, : len(places)] = torch.tensor(places, dtype=torch.float32)  # exact below 2²⁴
        row[1, : len(places)] = own
    return x


class Bag(nn.Module):
    """``Σ_k w_k (1 + 0.03 e(i_k))`` over a sentence's features: places i, weights w, learnt vectors e that begin as 0.

    Args:
        width: of the vectors.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(FEATURES, width)
        nn.init.zeros_(self.vectors.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(sentences, width)`` for inputs of :func:`packed`."""
        weights = x[:, 1, :, None].to(self.vectors.weight)
        y: Tensor = (weights * (1 + SLOWLY * self.vectors(x[:, 0].long()))).sum(1)
        return y


def without_some(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Return a copy with a share of the features left out at random, the others weighing as much more."""
    kept = torch.rand(x[:, 1].shape, generator=generator) >= share
    return torch.stack([x[:, 0], x[:, 1] * kept / (1 - share)], dim=1)
