"""Which word is heard for which: a picture of all confusions, ideal and on the chip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from equilog.tasks.beside import IDEAL, TWIN
from equilog.tasks.measures import Picture
from equilog.tasks.task import Data, Predict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BATCH = 500
_FEW = 12
"""words up to which each is written at the axes, and counts are written into the squares"""


@torch.no_grad()
def confusions(predict: Predict, data: Data, words: int) -> Tensor:
    """Return how many test samples of each word are heard as each, shape ``(words, words)``, rows what was said."""
    heard = torch.cat([predict(part).argmax(1) for part in data.test_x.split(_BATCH)])
    return torch.bincount(data.test_y * words + heard, minlength=words**2).view(words, words)


def heard_for(ideal: Predict, twin: Predict, data: Data, words: Sequence[str]) -> Picture:
    """Return the confusions of both models beside each other; what is heard rightly is left white."""
    found = {name: confusions(p, data, len(words)) for name, p in {IDEAL: ideal, TWIN: twin}.items()}
    wrong = {name: counts - counts.diagonal().diag() for name, counts in found.items()}
    most = max(1, *(int(counts.max()) for counts in wrong.values()))

    def draw(figure: Figure) -> None:
        from equilog.drawing.style import INK  # noqa: PLC0415  # an optional extra

        for axes, (name, counts) in zip(figure.subplots(1, 2, sharey=True), wrong.items()):
            axes.imshow(counts.numpy(), cmap="Reds", vmin=0, vmax=1.5 * most)
            axes.set_title(f"{name}: {int(counts.sum())} of {len(data.test_y)} wrong")
            axes.set_xlabel("heard")
            axes.grid(visible=False)
            if len(words) > _FEW:
                continue
            axes.set_xticks(range(len(words)), words, rotation=90)
            axes.set_yticks(range(len(words)), words)
            for said, word in counts.nonzero().tolist():
                axes.text(word, said, int(counts[said, word]), ha="center", va="center", color=INK, fontsize=7)
        figure.axes[0].set_ylabel("said")

    return Picture(
        key="heard",
        title="What is heard for what",
        caption="Test samples that are heard wrongly, by the word that was said and the word that was heard.",
        size=(6.8, 3.9),
        draw=draw,
    )
