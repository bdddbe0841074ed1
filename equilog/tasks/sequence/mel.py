"""Log-mel spectrograms of a fixed size: energies in bands that are equally wide to the ear, resampled in time.

The mel scale is Slaney's (Auditory Toolbox, Interval Research 1998-010), which librosa has as its default: linear up to
1 kHz at 3 mel in 200 Hz, logarithmic above with a factor of 6.4 in 27 mel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LINEAR_HERTZ, BREAK_HERTZ = 200.0 / 3, 1000.0
BREAK_MEL = BREAK_HERTZ / LINEAR_HERTZ
LOG_STEP = math.log(6.4) / 27
FLOOR = 1e-9
"""of a band's energy before the logarithm, against full scale and per hertz: below what a voice has in any band, and
above the rounding of 16 bits"""


def hertz_to_mel(hertz: Tensor) -> Tensor:
    """Return mels: ``3f/200`` below 1 kHz, ``15 + 27 ln(f/1000)/ln 6.4`` above."""
    above = BREAK_MEL + torch.log(hertz.clamp(min=BREAK_HERTZ) / BREAK_HERTZ) / LOG_STEP
    return torch.where(hertz < BREAK_HERTZ, hertz / LINEAR_HERTZ, above)


def mel_to_hertz(mel: Tensor) -> Tensor:
    """Return the frequency of mels, the inverse of :func:`hertz_to_mel`."""
    above = BREAK_HERTZ * torch.exp(LOG_STEP * (mel - BREAK_MEL).clamp(min=0))
    return torch.where(mel < BREAK_MEL, mel * LINEAR_HERTZ, above)


def mel_frequencies(count: int, low_hertz: float, high_hertz: float) -> Tensor:
    """Return `count` frequencies that are equally far apart in mel, the ends included, float64."""
    ends = hertz_to_mel(torch.tensor([low_hertz, high_hertz], dtype=torch.float64))
    return mel_to_hertz(torch.linspace(float(ends[0]), float(ends[1]), count, dtype=torch.float64))


def mel_filters(bands: int, window: int, rate_hertz: int) -> Tensor:
    """Return triangles of area 1 over frequency (Slaney), shape ``(bands, window//2 + 1)``, float64.

    Band k rises from edge k to 1·2/(edge k+2 − edge k) at edge k+1 and falls to edge k+2; edges lie equally far apart
    in mel from 0 to half the rate.

    Args:
        bands: how many.
        window: of the Fourier transform, samples.
        rate_hertz: of the sound.

    Raises:
        ValueError: for a band so narrow that no frequency of the transform lies in it.
    """
    edges = mel_frequencies(bands + 2, 0.0, rate_hertz / 2)
    at = torch.arange(window // 2 + 1, dtype=torch.float64) * rate_hertz / window
    below, peak, above = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (at - below) / (peak - below), (above - at) / (above - peak)
    found = torch.minimum(rising, falling).clamp(min=0) * 2 / (above - below)
    if not bool(found.any(1).all()):
        raise ValueError(f"{bands} bands from a window of {window} samples: one holds no frequency; take fewer bands")
    return found


class LogMel(nn.Module):
    """From one sound to its spectrogram, standardised: mean 0 and standard deviation 1 over the whole of it.

    ``log(M |STFT|² + floor)`` with Hann windows, each frame's spectrum as energy against full scale; then as many
    frames as are wanted, each the mean over an equal share of the sound, however long that is.

    Args:
        rate_hertz: of the sounds.
        bands: of the mel scale.
        frames: wanted.
        window_second, hop_second: of the short Fourier transform.
    """

    filters: Tensor
    window: Tensor

    def __init__(
        self, rate_hertz: int, bands: int, frames: int, *, window_second: float = 0.032, hop_second: float = 0.008
    ) -> None:
        super().__init__()
        self.frames = frames
        self.size, self.hop = round(window_second * rate_hertz), round(hop_second * rate_hertz)
        self.register_buffer("filters", mel_filters(bands, self.size, rate_hertz).float())
        self.register_buffer("window", torch.hann_window(self.size))

    def forward(self, sound: Tensor) -> Tensor:
        """Return shape ``(bands, frames)`` of a sound ``(samples,)``; all zero for silence.

        Raises:
            ValueError: for a sound without a sample.
        """
        if sound.ndim != 1 or not len(sound):
            raise ValueError(f"sound of shape {tuple(sound.shape)}: expected (samples,), at least one")
        spectrum = torch.stft(
            sound, self.size, self.hop, window=self.window, center=True, pad_mode="constant", return_complex=True
        )
        energy = spectrum.abs().square() / self.window.sum().square()
        level = (self.filters @ energy + FLOOR).log()
        level = _resampled(level, self.frames)
        level = level - level.mean()
        return level / level.std(correction=0).clamp(min=1e-3)


def _resampled(x: Tensor, frames: int) -> Tensor:
    """Return ``(bands, frames)``: means over shares of more frames than wanted, or values between those of less."""
    if x.shape[1] >= frames:
        return nn.functional.adaptive_avg_pool1d(x[None], frames)[0]
    return nn.functional.interpolate(x[None], frames, mode="linear", align_corners=True)[0]
