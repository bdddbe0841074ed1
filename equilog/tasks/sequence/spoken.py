"""Spoken words: spectrograms of sound files, and a recurrent equilibrium that hears all frames at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.tasks.damage import DamagedError, Skipped
from equilog.tasks.files.store import Store
from equilog.tasks.measures import Measure, Picture
from equilog.tasks.sequence.heard import confusions, heard_for
from equilog.tasks.sequence.mel import FLOOR, LogMel
from equilog.tasks.sequence.sound_augment import masked, noisy, shifted, stretched
from equilog.tasks.sequence.temporal_cell import TemporalCell
from equilog.tasks.sequence.wav import decode_wav
from equilog.tasks.task import Data, ModelConfig, Predict, Task

BANDS, FRAMES = 32, 32
"""of the spectrograms that models are given"""
KIND = f"log-mel {BANDS}×{FRAMES}, floor {FLOOR:g}"
"""what is kept of sounds: changes with the spectrograms"""
COARSE = 8
"""frames of the equilibrium, each of four frames of the spectrogram"""
CHANNELS = 16
"""of the first convolution; the others have twice as many"""


def spectrograms(
    store: Store,
    named: Iterable[tuple[str, int]],
    skipped: Skipped,
    rate_hertz: int,
    seconds: float | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return spectrograms ``(n, bands, frames)`` of sound files, and which of those named they are, ``(n,)``.

    Args:
        store: where the files are.
        named: names, and a number for each that is returned with its spectrogram.
        skipped: counts files that are no whole sound at that rate.
        rate_hertz: of all files.
        seconds: of all sounds: shorter ones are filled with silence, longer ones cut; as long as they are unless given.

    Raises:
        UserError: for such files, by name, where damage is refused.
    """
    transform = LogMel(rate_hertz, BANDS, FRAMES)
    found, numbers = [], []
    for name, number in named:
        try:
            sound = torch.from_numpy(decode_wav(store.read(name), rate_hertz))
        except DamagedError as damage:
            skipped.found(store.where(name), damage)
            continue
        if seconds is not None:
            length = round(seconds * rate_hertz)
            sound = nn.functional.pad(sound[:length], (0, max(0, length - len(sound))))
        found.append(transform(sound).numpy())
        numbers.append(number)
    shape = (len(found), BANDS, FRAMES)
    return np.array(found, np.float32).reshape(shape), np.array(numbers, np.int64)


class SpokenWords(Task):
    """A word a sound; a subclass says which sounds and words."""

    words: ClassVar[tuple[str, ...]]
    model_defaults = ModelConfig(states=16 * COARSE, drives=16 * COARSE, margin=0.3)
    verify_defaults: ClassVar[dict[str, Any]] = {
        "rest_samples": 30,
        "settle_samples": 0,
        "chain_samples": 0,
        "chips": 10,
    }

    def build(self, config: ModelConfig) -> HybridDEQ:
        """Return three convolutions to drives a coarse frame, the equilibrium, a linear readout of all its frames.

        Raises:
            UserError: unless states and drives are multiples of the number of coarse frames.
        """
        (width, rest), (inputs, left) = divmod(config.states, COARSE), divmod(config.drives, COARSE)
        if rest or left or not (width and inputs):
            raise UserError(
                f"{config.states} states and {config.drives} drives: expected multiples of {COARSE}, the frames of the "
                "equilibrium"
            )
        memory = (1 - config.margin) / 2
        if not memory > 0:
            raise UserError(f"margin = {config.margin}: expected less than 1, or nothing is kept from frame to frame")
        return HybridDEQ(
            frame_encoder(inputs),
            TemporalCell(COARSE, width, inputs, config.margin, memory),
            nn.Linear(config.states, len(self.words)),
        )

    def augment(self, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Begin and end elsewhere, in a higher or lower voice, with noise, and with parts that are not heard."""
        x = stretched(x, generator, share=0.1)
        x = shifted(x, generator, frames=1, bands=1)
        x = noisy(x, generator, deviation=0.25)
        return masked(x, generator, frames=4, bands=4), y

    @torch.no_grad()
    def measures(self, predict: Predict, data: Data, *, ideal: bool) -> list[Measure]:
        """Return how often the word that is heard worst is heard."""
        counts = confusions(predict, data, len(self.words)).double()
        said = counts.sum(1)
        share = {k: float(counts[k, k] / said[k]) for k in range(len(self.words)) if said[k]}
        worst = min(share, key=share.__getitem__)
        note = f"of all {len(share)} words, {self.words[worst]!r} is heard worst"
        return [Measure(name="accuracy of the worst word", value=share[worst], better="higher", note=note)]

    def pictures(self, ideal: Predict, twin: Predict, data: Data) -> list[Picture]:
        """Return which word is heard for which."""
        return [heard_for(ideal, twin, data, self.words)]


def frame_encoder(inputs: int) -> nn.Sequential:
    """Return convolutions in time and frequency, and a map of each coarse frame to its drives in (−1, 1).

    Two halve time and frequency, the third frequency alone: COARSE = FRAMES/4. Normalisation is over groups of channels
    of one sample.

    Args:
        inputs: drives of each coarse frame.
    """
    return nn.Sequential(
        nn.Unflatten(1, (1, BANDS)),
        *_convolution(1, CHANNELS, 2),
        *_convolution(CHANNELS, 2 * CHANNELS, 2),
        *_convolution(2 * CHANNELS, 2 * CHANNELS, (2, 1)),
        nn.Flatten(1, 2),
        nn.Conv1d(2 * CHANNELS * (BANDS // 8), inputs, 1),
        nn.Tanh(),
        FrameByFrame(),
    )


def _convolution(channels: int, width: int, pool: int | tuple[int, int]) -> tuple[nn.Module, ...]:
    convolved = nn.Conv2d(channels, width, 3, padding=1, bias=False)
    return convolved, nn.GroupNorm(4, width), nn.ReLU(), nn.MaxPool2d(pool)


class FrameByFrame(nn.Module):
    """``(batch, channels, frames)`` to ``(batch, frames·channels)``, all channels of a frame beside each other."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the flattened frames."""
        return x.transpose(1, 2).flatten(1)
