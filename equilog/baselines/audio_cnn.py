"""The convolutional network that a recurrent equilibrium on spectrograms is compared with: in time and frequency."""

from __future__ import annotations

import math

from torch import Tensor, nn


class AudioCnn(nn.Module):
    """Three 3×3 convolutions of widths w, 2w and 2w, each normalised, rectified and halved; a linear map of the means.

    The map sees the mean of each quarter of the time, over all frequencies.

    Args:
        classes: number of logits.
        width: w, channels of the first convolution.
    """

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for channels in (width, 2 * width, 2 * width):
            layers += [
                nn.Conv2d(before, channels, 3, padding=1, bias=False),
                nn.GroupNorm(math.gcd(channels, 4), channels),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            before = channels
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(4 * before, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, classes)`` of spectrograms ``(batch, bands, frames)``."""
        found = nn.functional.adaptive_avg_pool2d(self.features(x[:, None]), (1, 4))
        y: Tensor = self.head(found.flatten(1))
        return y
