"""Decode sound files, whole or not at all: RIFF WAVE of linear PCM, one channel, at the rate that is expected."""

from __future__ import annotations

import io
import wave

import numpy as np
from numpy.typing import NDArray

from equilog.tasks.damage import DamagedError

UNREADABLE, CUT, EMPTY = "unreadable sound", "truncated sound", "empty sound"
OTHER_RATE, CHANNELS, DEPTH = "sound of another rate", "sound of several channels", "sound of another depth"


def decode_wav(content: bytes, rate_hertz: int) -> NDArray[np.float32]:
    """Return the samples of a file, float32 in [−1, 1), shape ``(samples,)``.

    Args:
        content: of the file; 16 bits a sample.
        rate_hertz: that it must have: nothing is resampled.

    Raises:
        DamagedError: if it is no such file, ends before its header says, or holds no sample.
    """
    try:
        with wave.open(io.BytesIO(content)) as sound:
            about = sound.getparams()
            held = sound.readframes(about.nframes)
    # A chunk whose length is nonsense makes the reader seek beyond the file.
    except (wave.Error, EOFError, ValueError, RuntimeError, OverflowError) as error:
        raise DamagedError(UNREADABLE, str(error) or type(error).__name__) from None
    if about.nchannels != 1:
        raise DamagedError(CHANNELS, f"{about.nchannels}, expected 1")
    if about.sampwidth != 2:
        raise DamagedError(DEPTH, f"{8 * about.sampwidth} bits, expected 16")
    if about.framerate != rate_hertz:
        raise DamagedError(OTHER_RATE, f"{about.framerate} Hz, expected {rate_hertz}")
    if not about.nframes:
        raise DamagedError(EMPTY)
    if len(held) != 2 * about.nframes:
        raise DamagedError(CUT, f"{len(held) // 2} of {about.nframes} samples")
    return (np.frombuffer(held, "<i2") / 2.0**15).astype(np.float32)
