"""Speech Commands, version 0.02 (Warden, arXiv:1804.03209): 35 words of one second at 16 kHz, in folders of words."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
import torch

from equilog.names import UserError, nearest
from equilog.tasks.damage import UNKNOWN_CLASS, DamagedError, Skipped
from equilog.tasks.files.cache import Arrays, cached
from equilog.tasks.files.download import download
from equilog.tasks.files.store import Store, open_store
from equilog.tasks.sequence.spoken import KIND, SpokenWords, spectrograms
from equilog.tasks.task import Data
from equilog.training.config import TrainConfig
from equilog.training.curriculum import ideal_then_twin

HOME = "http://download.tensorflow.org/data/"
ARCHIVE = "speech_commands_v0.02.tar.gz"
SHA256 = "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
HOW_TO_GET = f"get {HOME}{ARCHIVE} and name it, or a folder that holds it or its folders of words, with --data"
RATE_HERTZ, SECONDS = 16_000, 1.0
VALIDATION, TESTING = "validation_list.txt", "testing_list.txt"
NOISE = "_background_noise_"
TRAIN, TEST, UNUSED = 0, 1, 2


class SpeechCommands(SpokenWords):
    """All 35 words, the official lists of files."""

    name = "speech-commands"
    summary = "Speech Commands 0.02, all 35 words, 16 kHz, as 32×32 log-mel spectrograms"
    split = "official: testing_list.txt tests, files in neither list train; those of validation_list.txt are unused"
    caveat = (
        "the 35 words as classes, not the paper's ten with unknown words and silence beside them: accuracies of the "
        "two are not comparable"
    )
    words = (
        *("backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go"),
        *("happy", "house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven"),
        *("sheila", "six", "stop", "three", "tree", "two", "up", "visual", "wow", "yes", "zero"),
    )
    train_defaults = TrainConfig(stages=ideal_then_twin(8), batch_size=256, learning_rate=0.004, weight_decay=0.02)

    def load(self, folder: Path | None = None) -> Data:
        """Return the set from a folder or archive, or by a checksummed download into a cache."""
        if folder is None:
            folder = download(self.name, HOME, {ARCHIVE: f"sha256:{SHA256}"}, HOW_TO_GET)
        store = open_store(folder, (ARCHIVE,), hint=HOW_TO_GET)
        skipped = Skipped(self.on_damage)
        arrays = cached(
            store.identity(), f"speech commands, {KIND}", skipped, lambda count: _read(store, self.words, count)
        )
        x, y, part = (torch.from_numpy(arrays[name]) for name in ("spectrograms", "words", "parts"))
        for number, purpose in ((TRAIN, "train"), (TEST, "test")):
            if not bool((part == number).any()):
                raise UserError(f"{store.place}: no recording to {purpose} with; {HOW_TO_GET}")
        train, test = part == TRAIN, part == TEST
        return Data(x[train], y[train], x[test], y[test], str(store.place), skipped.counts)


def _read(store: Store, words: tuple[str, ...], skipped: Skipped) -> Arrays:
    """Return spectrograms, words and parts, without validation, by file names: those are of speakers, not of words."""
    lists = {part: _listed(store, name) for part, name in ((UNUSED, VALIDATION), (TEST, TESTING))}
    files = {}
    for name in store.in_order():
        path = PurePosixPath(name)
        if path.suffix.lower() != ".wav" or len(path.parts) < 2 or path.name.startswith("."):
            continue
        word = path.parts[-2]
        if word == NOISE:
            continue
        if word not in words:
            skipped.found(store.where(name), DamagedError(UNKNOWN_CLASS, f"{word!r}{nearest(word, words)}"))
            continue
        part = next((part for part, listed in lists.items() if f"{word}/{path.name}" in listed), TRAIN)
        if part != UNUSED:
            files[name] = path.name, words.index(word), part
    about = list(files.values())
    x, kept = spectrograms(store, ((name, k) for k, name in enumerate(files)), skipped, RATE_HERTZ, SECONDS)
    order = sorted(range(len(kept)), key=lambda k: about[kept[k]])
    return {
        "spectrograms": x[order],
        "words": np.array([about[kept[k]][1] for k in order], np.int64),
        "parts": np.array([about[kept[k]][2] for k in order], np.int64),
    }


def _listed(store: Store, name: str) -> frozenset[str]:
    where, content = store.content_of((name,), HOW_TO_GET)
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{where} is not text") from None
    return frozenset(line.strip() for line in lines if line.strip())
