"""Bags of words and word pairs: hashed, weighed by naive Bayes, and summed as learnt vectors.

The weights are those of Wang & Manning (ACL 2012): with p and q how many positive and negative training sentences hold
a feature, one added to each, ``r = ln((p/Σp) / (q/Σq))``. What is learnt of a feature is added to a common start, as
their interpolation does, so that a model begins with what naive Bayes knows (and Joulin et al., EACL 2017, for the sum
of vectors of hashed pairs).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

FEATURES = 2**17
"""places that features are hashed to; with a quarter of them accuracy falls by two points"""
LONGEST = 128
"""features of a sentence; what it has beyond them is left out"""


def features_of(sentence: str) -> list[int]:
    """Return the places of a sentence's words, then of its pairs of neighbours, each once: CRC-32 modulo 2¹⁷."""
    words = sentence.split()
    found = dict.fromkeys([*words, *(f"{a} {b}" for a, b in pairwise(words))])
    return list(dict.fromkeys(zlib.crc32(text.encode()) % FEATURES for text in found))[:LONGEST]


def counts_of(features: Sequence[Sequence[int]], classes: Tensor) -> Tensor:
    """Return in how many sentences of each class every place occurs, one added: float64, shape ``(2, FEATURES)``.

    Args:
        features: of the training sentences.
        classes: of them, 0 or 1, int64.
    """
    counts = torch.ones(2, FEATURES, dtype=torch.float64)
    for places, kind in zip(features, classes.tolist()):
        counts[kind, places] += 1
    return counts


def weighed(features: Sequence[Sequence[int]], counts: Tensor, counted: Tensor | None = None) -> Tensor:
    """Return ids and weights, float32, shape ``(sentences, 2, LONGEST)``; weights have norm 1, or are 0 throughout.

    Unused places hold id 0 with weight 0.

    Args:
        features: of the sentences.
        counts: of :func:`counts_of`.
        counted: classes of the sentences if the counts are of them. Each is then weighed as if it had not been there:
            a word that occurs in no other sentence would otherwise tell its class.
    """
    totals = counts.sum(1, keepdim=True)
    x = torch.zeros(len(features), 2, LONGEST)
    for k, (row, places) in enumerate(zip(x, features)):
        own = counts[:, places]
        if counted is not None:
            own[counted[k]] -= 1
        share = own / totals
        weights = (share[1] / share[0]).log()
        size = torch.linalg.vector_norm(weights)
        row[0, : len(places)] = torch.tensor(places, dtype=torch.float32)  # exact below 2²⁴
        row[1, : len(places)] = weights / size if size > 0 else weights
    return x


class Bag(nn.Module):
    """``Σ_k w_k (1 + e(i_k))`` over a sentence's features: ids i, weights w, learnt vectors e that begin as 0.

    Args:
        width: of the vectors.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(FEATURES, width)
        nn.init.zeros_(self.vectors.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(sentences, width)`` for ``(sentences, 2, LONGEST)``, see :func:`weighed`."""
        weights = x[:, 1, :, None].to(self.vectors.weight)
        y: Tensor = (weights * (1 + self.vectors(x[:, 0].long()))).sum(1)
        return y


def without_some(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Return a copy with a share of the features left out at random, the others weighing as much more."""
    kept = torch.rand(x[:, 1].shape, generator=generator) >= share
    return torch.stack([x[:, 0], x[:, 1] * kept / (1 - share)], dim=1)
