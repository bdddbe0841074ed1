"""What tasks on running text share: windows of tokens, an implicit Transformer, bits a token and perplexity."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from equilog.cells import CircuitCell
from equilog.model import HybridDEQ
from equilog.objective import Objective
from equilog.tasks.measures import Measure
from equilog.tasks.sequence.causal import causal_front, language_model
from equilog.tasks.sequence.next_token import CONTEXT, NextToken, perplexity, token_bits
from equilog.tasks.sequence.text import scored_windows, windows
from equilog.tasks.task import Data, ModelConfig, Predict, Task
from equilog.training.config import TrainConfig

POSITIONS = 64
"""of a window: rows a sample"""
STRIDE = 32
"""between windows of the test text; every token is predicted from 33 to 64 others"""
MEASURED = 512
"""windows that perplexity is measured on, the first: each takes as long as it is exact"""
_BATCH = 64


class Language(Task):
    """Predict the next token at every position; a subclass says which tokens."""

    token: ClassVar[str]
    """what one is, in the singular"""
    vocabulary: ClassVar[int]
    width: ClassVar[int]
    """numbers a position in the digital part"""
    blocks: ClassVar[int] = 1
    """of the digital part: a convolution and an attention each"""
    verify_defaults: ClassVar[dict[str, Any]] = {"rest_samples": 1, "settle_samples": 2, "chain_samples": 1, "chips": 4}

    def build(self, config: ModelConfig) -> HybridDEQ:
        """Gated convolutions and attentions, causal and digital; then each position settles; a linear readout."""
        sizes = {"width": self.width, "heads": 4, "reach": 4, "blocks": self.blocks}
        front = causal_front(self.vocabulary, POSITIONS, config.drives, **sizes)
        cell = CircuitCell(config.states, config.drives, margin=config.margin)
        return language_model(front, cell, self.vocabulary, POSITIONS)

    def objective(self, data: Data, config: TrainConfig) -> Objective:
        """Return cross-entropy of the next token; the score is in bits a token."""
        return NextToken(config.label_smoothing)

    def measures(self, predict: Predict, data: Data, *, ideal: bool) -> list[Measure]:
        """Return perplexity over the first test windows, and what a model that knows only frequencies has."""
        data = replace(data, test_x=data.test_x[:MEASURED], test_y=data.test_y[:MEASURED])
        found = [Measure(name="perplexity", value=perplexity(_mean_bits(predict, data)), note=self._over(data))]
        if ideal:
            bits = unigram_bits(data, self.vocabulary)
            found.append(
                Measure(
                    name="perplexity of frequencies alone",
                    value=perplexity(bits),
                    note=f"every {self.token} as often as in training (one added to each count): {bits:.3f} bits",
                )
            )
        return found

    def cut(self, train: Tensor, test: Tensor, source: str, skipped: dict[str, int] | None = None) -> Data:
        """Return windows of two texts of which the second follows on the first, given as ids, int64."""
        return Data(*windows(train, POSITIONS), *scored_windows(test, train, POSITIONS, STRIDE), source, skipped or {})

    def _over(self, data: Data) -> str:
        return f"2 to the mean bits, over {int((data.test_y != CONTEXT).sum()):,} {self.token}s"


def unigram_bits(data: Data, vocabulary: int) -> float:
    """Return the bits a test token that the training tokens' frequencies leave, with one added to every count."""
    counts = torch.bincount(data.train_y[data.train_y != CONTEXT], minlength=vocabulary).double() + 1
    bits = -(counts / counts.sum()).log2()
    return float(bits[data.test_y[data.test_y != CONTEXT]].mean())


@torch.no_grad()
def _mean_bits(predict: Predict, data: Data) -> float:
    pairs = zip(data.test_x.split(_BATCH), data.test_y.split(_BATCH))
    total = sum(float(token_bits(predict(x), y).sum()) for x, y in pairs)
    return total / int((data.test_y != CONTEXT).sum())
