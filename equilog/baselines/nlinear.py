"""NLinear (Zeng et al., AAAI 2023): a linear map of a window relative to its last value, by least squares."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equilog.tasks.sequence.windows import FromLast

AT_ONCE = 4096
"""windows gathered at once: all of them together would be copies of the series by the thousand"""


class NLinear(nn.Module):
    """``ŷ = W (x − x_last)``, changes from the last known value; weights that all channels share.

    Args:
        look_back: length of windows.
        horizon: of forecasts.
    """

    def __init__(self, look_back: int, horizon: int) -> None:
        super().__init__()
        self.relative = FromLast()
        self.linear = nn.Linear(look_back, horizon, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return changes ``(batch, horizon)`` of windows ``(batch, look_back)``."""
        y: Tensor = self.linear(self.relative(x))
        return y

    @torch.no_grad()
    def solve_(self, x: Tensor, y: Tensor, ridge: float = 0.01) -> None:
        """Set W to the least mean squared error, ``W (XᵀX + ridge·N·I) = YᵀX``, in float64.

        Args:
            x: windows ``(samples, look_back)``.
            y: targets ``(samples, 1 + horizon)``, the last known value first, as
                :func:`~equilog.tasks.sequence.windows.windows` makes them.
            ridge: added to the diagonal for every window; above 0, for the last value itself is always 0.

        Raises:
            ValueError: for a ridge that is not above 0, or targets of another length.
        """
        known, after = self.linear.in_features, self.linear.out_features
        if not ridge > 0 or y.shape[1:] != (1 + after,):
            raise ValueError(
                f"ridge = {ridge:g}, targets {tuple(y.shape)}: expected above 0, and (samples, {1 + after})"
            )
        gram, mixed = x.new_zeros(known, known).double(), x.new_zeros(known, after).double()
        for part in torch.arange(len(x)).split(AT_ONCE):
            a, b = self.relative(x[part]).double(), (y[part, 1:] - y[part, :1]).double()
            gram, mixed = gram + a.T @ a, mixed + a.T @ b
        gram.diagonal().add_(ridge * len(x))
        self.linear.weight.copy_(torch.linalg.solve(gram, mixed).T)
