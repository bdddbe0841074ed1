"""Tiny Shakespeare: 40,000 lines of his plays in one file, character by character (Karpathy 2015)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from equilog.names import UserError
from equilog.tasks.damage import DamagedError, Skipped
from equilog.tasks.files.download import download
from equilog.tasks.files.store import open_store
from equilog.tasks.sequence.language import POSITIONS, STRIDE, Language
from equilog.tasks.sequence.text import content_of, decoded
from equilog.tasks.task import Data, ModelConfig
from equilog.training.config import TrainConfig
from equilog.training.curriculum import ideal_then_twin

DOWNLOAD = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/"
FILES = {"input.txt": "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"}
NAMES = ("input.txt", "tinyshakespeare.txt")
HOW_TO_GET = f"put {DOWNLOAD}input.txt into a folder and name it with --data"
ALPHABET = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""the file's 65 characters"""
UNKNOWN = "character outside the alphabet"
TRAIN_SHARE = 0.9


class Shakespeare(Language):
    """What comes next in 1,115,394 characters."""

    name = "shakespeare"
    summary = f"tiny Shakespeare, the next of {len(ALPHABET)} characters at each of {POSITIONS} positions"
    split = (
        f"the usual one: the first 90 % of the characters train, the last 10 % test; every test character is predicted "
        f"once, from {POSITIONS - STRIDE + 1} to {POSITIONS} before it (at most {STRIDE - 1} at the end are left out)"
    )
    caveat = "one small text; the test part is of other plays than most of the training part"
    token = "character"
    vocabulary = len(ALPHABET)
    width, blocks = 92, 2
    model_defaults = ModelConfig(states=64, drives=48, margin=0.3)
    train_defaults = TrainConfig(
        stages=ideal_then_twin(8), batch_size=32, learning_rate=0.004, weight_decay=0.01, label_smoothing=0.0
    )

    def load(self, folder: Path | None = None) -> Data:
        """Return the text, input.txt or tinyshakespeare.txt, or from a folder with it, or by a checksummed download."""
        place = folder or download(self.name, DOWNLOAD, FILES, HOW_TO_GET)
        store = open_store(place, files=NAMES, hint=HOW_TO_GET)
        where, content = content_of(store, NAMES, HOW_TO_GET)
        skipped = Skipped(self.on_damage)
        ids = ids_of(content, where, skipped)
        cut = int(TRAIN_SHARE * len(ids))
        return self.cut(ids[:cut], ids[cut:], where, skipped.counts)


def ids_of(content: bytes, where: str, skipped: Skipped) -> Tensor:
    """Return the place in :data:`ALPHABET` of every character, int64; others are refused, or left out and counted.

    Raises:
        UserError: for a file that is not UTF-8; for another character where damage is refused.
    """
    try:
        text = decoded(content)
    except DamagedError as damage:  # there is no telling where the next character begins
        raise UserError(f"{where}: {damage}") from None
    places = {character: k for k, character in enumerate(ALPHABET)}
    found = [places.get(character, -1) for character in text]
    for k, place in enumerate(found):
        if place < 0:
            skipped.found(f"{where}, character {k}", DamagedError(UNKNOWN, repr(text[k])))
    ids = torch.tensor(found, dtype=torch.int64)
    return ids[ids >= 0]
