"""PatchTST (Nie et al., ICLR 2023) from the library transformers: a window's patches are tokens; no pre-training."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from equilog.names import UserError

HEADS, LAYERS, PATCH, STRIDE = 4, 3, 16, 8
DROPOUT = 0.3
"""the paper's for ETTh1, as its sizes are: 3 layers, width 16, 4 heads, feed-forward 128, patches of 16 every 8"""


class PatchTST(nn.Module):
    """The supervised PatchTST of one channel, weights shared by all channels; instance normalisation included.

    The library does not pad: 336 samples are 41 patches, where the authors' code has 42 with the last one repeated.

    Args:
        look_back: length of windows.
        horizon: of forecasts.
        width: of tokens; a multiple of 4, the number of heads. The feed-forward layers are 8 times as wide.
        dropout: of tokens, feed-forward layers and head.

    Raises:
        UserError: if transformers is not installed.
        ValueError: for another width.
    """

    def __init__(self, look_back: int, horizon: int, width: int = 16, *, dropout: float = DROPOUT) -> None:
        super().__init__()
        if width < HEADS or width % HEADS:
            raise ValueError(f"width = {width}: expected a multiple of {HEADS}, the number of heads")
        try:
            from transformers import PatchTSTConfig, PatchTSTForPrediction  # noqa: PLC0415  # an optional extra
        except ImportError:
            raise UserError("PatchTST needs transformers: pip install 'equilog[baselines]'") from None
        config: Any = PatchTSTConfig(
            num_input_channels=1,
            context_length=look_back,
            prediction_length=horizon,
            patch_length=PATCH,
            patch_stride=STRIDE,
            num_hidden_layers=LAYERS,
            d_model=width,
            num_attention_heads=HEADS,
            ffn_dim=8 * width,
            ff_dropout=dropout,
            positional_dropout=dropout,
            head_dropout=0.0,
            attention_dropout=0.0,
            path_dropout=0.0,
            pooling_type=None,  # the head sees all patches, as the paper's does
            scaling="std",
            loss="mse",
        )
        self.network = PatchTSTForPrediction(config)

    def forward(self, x: Tensor) -> Tensor:
        """Return forecasts ``(batch, horizon)`` of windows ``(batch, look_back)``."""
        y: Tensor = self.network(past_values=x[..., None]).prediction_outputs[..., 0]
        return y
