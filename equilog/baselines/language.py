"""A causal Transformer for tokens, built as GPT-2 (Radford et al. 2019): normalised before, GELU, no dropout."""

from __future__ import annotations

from torch import Tensor, nn

HEADS = 4


class CausalTransformer(nn.Module):
    """Tokens and places as vectors, blocks of attention over what came before and a feed-forward network, logits.

    Args:
        vocabulary: number of tokens.
        positions: of a window, at most.
        width: of the vectors, over :data:`HEADS`: a block has vectors of four times this.
        depth: blocks; the feed-forward network of each is four times as wide as the vectors.
    """

    def __init__(self, vocabulary: int, positions: int, width: int, *, depth: int = 2) -> None:
        super().__init__()
        wide = HEADS * width
        self.token = nn.Embedding(vocabulary, wide)
        self.place = nn.Embedding(positions, wide)
        for table in (self.token, self.place):
            nn.init.normal_(table.weight, std=0.02)
        layer = nn.TransformerEncoderLayer(
            wide, HEADS, 4 * wide, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, depth, nn.LayerNorm(wide), enable_nested_tensor=False)
        self.head = nn.Linear(wide, vocabulary, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, positions, vocabulary)`` for ids ``(batch, positions)``, integers or floats."""
        h = self.token(x.long()) + self.place.weight[: x.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=h.device, dtype=h.dtype)
        y: Tensor = self.head(self.blocks(h, mask=mask, is_causal=True))
        return y
