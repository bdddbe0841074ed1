"""Sentence polarity: 10,662 sentences of film reviews, positive or negative (Pang & Lee, ACL 2005)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from equilog.cells import CircuitCell
from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.tasks.damage import DUPLICATE, DamagedError, Skipped
from equilog.tasks.files.store import Store, open_store
from equilog.tasks.measures import Measure
from equilog.tasks.sequence.bag import Bag, features_of, weighed_apart, without_some
from equilog.tasks.sequence.text import CONTROL, EMPTY_LINE, content_of
from equilog.tasks.task import Data, ModelConfig, Predict, Task
from equilog.training.config import TrainConfig
from equilog.training.curriculum import ideal_then_twin

HOME = "https://www.cs.cornell.edu/people/pabo/movie-review-data/"
ARCHIVE = "rt-polaritydata.tar.gz"
ARCHIVES = (ARCHIVE, "sentence_polarity.zip")
FILES = ("rt-polarity.neg", "rt-polarity.pos")
"""of classes 0 and 1"""
HOW_TO_GET = f"get {HOME}{ARCHIVE} and name it, or a folder that holds it or {FILES[0]} and {FILES[1]}, with --data"
FOLDS = 10
_DROPPED = 0.3


class Polarity(Task):
    """Whether a sentence praises a film or not."""

    name = "polarity"
    summary = "sentence polarity, sentences of film reviews, 2 classes, from hashed words and word pairs"
    split = (
        "the first of ten folds tests, by the SHA-256 of the sentence: 9,610 train and 1,052 test; the authors' "
        "own folds are not published"
    )
    caveat = (
        "with 1,050 test sentences an accuracy has a standard error of 1.3 points; words are weighed by a logistic "
        "regression on the training sentences, which knows most of what the model knows"
    )
    model_defaults = ModelConfig(states=32, drives=8, margin=0.3)
    train_defaults = TrainConfig(
        stages=ideal_then_twin(8), batch_size=128, learning_rate=0.003, weight_decay=0.01, label_smoothing=0.1
    )

    def load(self, folder: Path | None = None) -> Data:
        """Return the sentences from `folder`: the official archive, a zip of its files, or what they unpack to."""
        if folder is None:
            raise UserError(f"{self.name} is not on this machine; {HOW_TO_GET}")
        store, skipped = open_store(folder, ARCHIVES, hint=HOW_TO_GET), Skipped(self.on_damage)
        sentences, classes = read_polarity(store, skipped)
        test = torch.tensor([fold_of(sentence) == 0 for sentence in sentences])
        if bool(test.all()) or not bool(test.any()):
            raise UserError(f"{store.place}: {len(sentences)} sentences are too few to train and test on")
        features = [features_of(sentence) for sentence in sentences]
        train, held = ([f for f, t in zip(features, test.tolist()) if t is part] for part in (False, True))
        train_y, test_y = classes[~test], classes[test]
        train_x, test_x = weighed_apart(train, train_y, held)
        return Data(train_x, train_y, test_x, test_y, str(store.place), skipped.counts)

    def build(self, config: ModelConfig) -> HybridDEQ:
        """Weighed vectors summed and mapped to the drives, the equilibrium, a linear readout."""
        return HybridDEQ(
            nn.Sequential(Bag(config.drives), nn.Linear(config.drives, config.drives), nn.Tanh()),
            CircuitCell(config.states, config.drives, margin=config.margin),
            nn.Linear(config.states, len(FILES)),
        )

    def augment(self, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Without three in ten of the features: no sentence is to hang on a single word."""
        return without_some(x, _DROPPED, generator), y

    def measures(self, predict: Predict, data: Data, *, ideal: bool) -> list[Measure]:
        """Return what the weights alone say, by the sign of their sum: TF-IDF and logistic regression."""
        if not ideal:
            return []
        right = ((data.test_x[:, 1].sum(1) > 0).long() == data.test_y).double().mean()
        return [
            Measure(
                name="accuracy of the logistic regression",
                value=100 * float(right),
                unit="%",
                better="higher",
                note="the sign of the sum of the weights that the model is given",
            )
        ]


def read_polarity(store: Store, skipped: Skipped) -> tuple[list[str], Tensor]:
    """Return the sentences and their classes, int64: 0 negative, 1 positive.

    Files are UTF-8 or, as the authors' are, Latin-1; a sentence a line. A sentence that is empty, holds a control
    character or was there before (in which class does not matter) is damaged.

    Raises:
        UserError: for a file that is missing, empty or without a sentence; for a damaged one where that is refused.
    """
    sentences: list[str] = []
    seen: set[str] = set()
    classes: list[int] = []
    for kind, name in enumerate(FILES):
        where, content = content_of(store, (name,), HOW_TO_GET)
        for number, line in enumerate(_lines(content), 1):
            try:
                sentence = _sentence(line)
                if sentence in seen:
                    raise DamagedError(DUPLICATE, sentence[:40])
            except DamagedError as damage:
                skipped.found(f"{where}, line {number}", damage)
                continue
            sentences.append(sentence)
            seen.add(sentence)
            classes.append(kind)
        if kind not in classes:
            raise UserError(f"{where}: no sentence can be used ({skipped})")
    return sentences, torch.tensor(classes, dtype=torch.int64)


def fold_of(sentence: str) -> int:
    """Return the fold of a sentence: it does not depend on any other, so equal sentences never part."""
    digest = hashlib.sha256(sentence.encode()).digest()
    return int.from_bytes(digest[:8], "big") % FOLDS


def _lines(content: bytes) -> list[bytes]:
    # By newline alone: Latin-1's next line, 0x85, stands within sentences of the authors' files.
    return content.removesuffix(b"\n").split(b"\n")


def _sentence(line: bytes) -> str:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        text = line.decode("latin-1")
    words = " ".join(text.split())
    if not words:
        raise DamagedError(EMPTY_LINE)
    if any(ord(character) < 32 for character in words):
        raise DamagedError(CONTROL, repr(words[:40]))
    return words
