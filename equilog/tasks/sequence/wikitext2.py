"""WikiText-2: articles of Wikipedia as words (Merity et al., ICLR 2017), from its official token files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from equilog.names import UserError
from equilog.tasks.damage import DamagedError, Skipped
from equilog.tasks.files.store import Store, open_store
from equilog.tasks.sequence.language import POSITIONS, STRIDE, Language
from equilog.tasks.sequence.text import content_of, decoded
from equilog.tasks.task import Data, ModelConfig
from equilog.training.config import TrainConfig
from equilog.training.curriculum import ideal_then_twin

ARCHIVE = "wikitext-2-v1.zip"
HOW_TO_GET = (
    f"get {ARCHIVE} and name it, or a folder that holds it or wiki.train.tokens and wiki.test.tokens, with --data"
)
NAMES = {part: (f"wiki.{part}.tokens", f"wikitext2_{part}.txt") for part in ("train", "valid", "test")}
UNKNOWN, END = "<unk>", "<eos>"
WORDS = 4096
"""of the vocabulary, the unknown one among them"""
LEAST = 3
"""times that a word must occur to be in the vocabulary"""


class WikiText2(Language):
    """What comes next in articles, word by word."""

    name = "wikitext2"
    summary = f"WikiText-2, the next of {WORDS} words at each of {POSITIONS} positions"
    split = (
        "official: wiki.train.tokens trains, wiki.test.tokens tests; where the training part is absent, "
        f"wiki.valid.tokens trains in its place. Every test word is predicted once, from {POSITIONS - STRIDE + 1} to "
        f"{POSITIONS} before it (at most {STRIDE - 1} at the end are left out)"
    )
    caveat = (
        f"the {WORDS - 1:,} most frequent words that occur {LEAST} times in the training part, all others are <unk>: a "
        "perplexity over fewer words is lower than the published ones over 33,278; trained on the validation part, a "
        "tenth of the training part, higher"
    )
    token = "word"
    vocabulary = WORDS
    width = 96
    model_defaults = ModelConfig(states=64, drives=48, margin=0.3)
    train_defaults = TrainConfig(
        stages=ideal_then_twin(6), batch_size=16, learning_rate=0.003, weight_decay=0.1, label_smoothing=0.0
    )
    dropped = 0.15
    """share of the words read that training replaces by the unknown one"""

    def load(self, folder: Path | None = None) -> Data:
        """Return the words from `folder`, a folder or archive with the token files."""
        if folder is None:
            raise UserError(f"{self.name} is not on this machine; {HOW_TO_GET}")
        store, skipped = open_store(folder, (ARCHIVE,), hint=HOW_TO_GET), Skipped(self.on_damage)
        part = "train" if any(store.ending(name) for name in NAMES["train"]) else "valid"
        texts = [_words(store, which, skipped) for which in (part, "test")]
        known = vocabulary_of(texts[0])
        train, test = (ids_of(words, known) for words in texts)
        source = f"{store.place}, trained on the {'training' if part == 'train' else 'validation'} part"
        return self.cut(train, test, source, skipped.counts)

    def augment(self, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Some of the words read become the unknown one: a small text is soon known by heart."""
        return x * (torch.rand(x.shape, generator=generator) >= self.dropped), y


def vocabulary_of(words: Sequence[str]) -> dict[str, int]:
    """Return the id of every word of the vocabulary: 0 for the unknown one, the others by falling frequency.

    Equally frequent words come in alphabetical order.
    """
    counts = Counter(words)
    counts.pop(UNKNOWN, None)
    known = sorted((word for word, count in counts.items() if count >= LEAST), key=lambda word: (-counts[word], word))
    return {word: k for k, word in enumerate([UNKNOWN, *known[: WORDS - 1]])}


def ids_of(words: Sequence[str], known: Mapping[str, int]) -> Tensor:
    """Return the ids of words, int64; 0 for those that are not known."""
    return torch.tensor([known.get(word, 0) for word in words], dtype=torch.int64)


def words_of(content: bytes, where: str, skipped: Skipped) -> list[str]:
    """Return the words of a token file: those of each line between blanks, and the end of the line as one more.

    So the official files have 2,088,628, 217,646 and 245,569 words. A line that is not UTF-8 is refused, or left out
    and counted.
    """
    words: list[str] = []
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n"), 1):
        try:
            words += [*decoded(line).split(), END]
        except DamagedError as damage:
            skipped.found(f"{where}, line {number}", damage)
    return words


def _words(store: Store, part: str, skipped: Skipped) -> list[str]:
    where, content = content_of(store, NAMES[part], HOW_TO_GET)
    return words_of(content, where, skipped)
