"""The Free Spoken Digit Dataset (Jackson et al. 2018): zero to nine in English, by six speakers, at 8 kHz."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from equilog.names import UserError, nearest
from equilog.tasks.damage import DamagedError, Skipped
from equilog.tasks.files.cache import Arrays, cached
from equilog.tasks.files.download import download
from equilog.tasks.files.store import Store, open_store
from equilog.tasks.sequence.spoken import KIND, SpokenWords, spectrograms
from equilog.tasks.task import Data
from equilog.training.config import TrainConfig
from equilog.training.curriculum import ideal_then_twin

HOME = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/"
ARCHIVE = "v1.0.10.zip"
SHA256 = "c680098f5d2355ba7cc4bd8b0ca9e0a24c00ebe3b4c552208889a4d28d4fbc2b"
HOW_TO_GET = f"get {HOME}{ARCHIVE} and name it, or a folder that holds its recordings, with --data"
RATE_HERTZ = 8000
NAME = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")
OTHER_NAME = "file name that is not digit_speaker_number.wav"
TEST_NUMBERS = 5


class SpokenDigits(SpokenWords):
    """3,000 recordings, 50 of each digit by each speaker.

    Args:
        held_out: a speaker all of whose recordings test, while those of the others train; the official split, which
            shares its speakers, unless given.
    """

    name = "spoken-digits"
    summary = "Free Spoken Digit Dataset, zero to nine by six speakers, 8 kHz, as 32×32 log-mel spectrograms"
    split = "official: recordings 0 to 4 of each digit and speaker test, 5 to 49 train"
    caveat = (
        "the official split shares its six speakers: see leave-one-speaker-out as well, "
        "SpokenDigits(held_out=…) and benchmarks/tasks.py"
    )
    words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    train_defaults = TrainConfig(stages=ideal_then_twin(24), batch_size=64, learning_rate=0.004, weight_decay=0.02)

    def __init__(self, held_out: str | None = None) -> None:
        self.held_out = held_out

    def load(self, folder: Path | None = None) -> Data:
        """Return the set from a folder or archive, or by a checksummed download into a cache."""
        if folder is None:
            folder = download(self.name, HOME, {ARCHIVE: f"sha256:{SHA256}"}, HOW_TO_GET)
        store = open_store(folder, (ARCHIVE,), hint=HOW_TO_GET)
        skipped = Skipped(self.on_damage)
        arrays = cached(store.identity(), f"spoken digits, {KIND}", skipped, lambda count: _read(store, count))
        x, y, number = (torch.from_numpy(arrays[name]) for name in ("spectrograms", "digits", "numbers"))
        speakers = [str(speaker) for speaker in arrays["speakers"]]
        if self.held_out is None:
            tested = number < TEST_NUMBERS
        else:
            known = sorted(set(speakers))
            if self.held_out not in known:
                raise UserError(
                    f"no speaker {self.held_out!r}{nearest(self.held_out, known)}; expected of {', '.join(known)}"
                )
            tested = torch.tensor([speaker == self.held_out for speaker in speakers])
        if not (bool(tested.any()) and bool((~tested).any())):
            missing = "train" if bool(tested.any()) else "test"
            raise UserError(f"{store.place}: no recording to {missing} with; {HOW_TO_GET}")
        return Data(x[~tested], y[~tested], x[tested], y[tested], str(store.place), skipped.counts)


def _read(store: Store, skipped: Skipped) -> Arrays:
    """Return spectrograms and what the names say, in the order of numbers, then digits, then speakers."""
    files = []
    for name in store.names:
        file = PurePosixPath(name)
        if file.suffix.lower() != ".wav" or file.name.startswith("."):
            continue
        parts = NAME.fullmatch(file.name)
        if parts is None:
            skipped.found(store.where(name), DamagedError(OTHER_NAME))
            continue
        files.append((int(parts[3]), int(parts[1]), parts[2], name))
    if not files:
        raise UserError(f"{store.place} holds no recording as 7_theo_12.wav; {HOW_TO_GET}")
    files.sort()
    x, kept = spectrograms(store, ((name, k) for k, (*_, name) in enumerate(files)), skipped, RATE_HERTZ)
    if not len(kept):
        raise UserError(f"{store.place}: no recording can be used ({skipped})")
    about = [files[k] for k in kept]
    return {
        "spectrograms": x,
        "digits": np.array([digit for _, digit, _, _ in about], np.int64),
        "numbers": np.array([number for number, _, _, _ in about], np.int64),
        "speakers": np.array([speaker for _, _, speaker, _ in about]),
    }
