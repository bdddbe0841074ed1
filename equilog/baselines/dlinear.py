"""DLinear (Zeng et al., AAAI 2023): a window is split into trend and rest, each mapped to the horizon linearly."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DLinear(nn.Module):
    """``ŷ = W_t T(x) + b_t + W_s (x − T(x)) + b_s``, T the moving average with the ends repeated.

    The authors' network with weights that all channels share. It begins, as theirs can, with both W the mean of the
    window.

    Args:
        look_back: length of windows.
        horizon: of forecasts.
        kernel: over how many samples T averages; odd.

    Raises:
        ValueError: for an even kernel.
    """

    def __init__(self, look_back: int, horizon: int, *, kernel: int = 25) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel = {kernel}: expected an odd number of samples")
        self.kernel = kernel
        self.trend, self.season = (nn.Linear(look_back, horizon) for _ in range(2))
        for part in (self.trend, self.season):
            nn.init.constant_(part.weight, 1 / look_back)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return trend and rest of windows ``(batch, look_back)``, each of that shape."""
        ends = self.kernel // 2
        long = nn.functional.pad(x[:, None], (ends, ends), mode="replicate")
        trend = nn.functional.avg_pool1d(long, self.kernel, stride=1)[:, 0]
        return trend, x - trend

    def forward(self, x: Tensor) -> Tensor:
        """Return forecasts ``(batch, horizon)`` of windows ``(batch, look_back)``."""
        trend, rest = self.split(x)
        y: Tensor = torch.add(self.trend(trend), self.season(rest))
        return y
