"""The recurrent weights as this chip holds them, and how far they are from what was asked for."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from equilog.drawing.style import Plate, canvas, drawing, to_svg
from equilog.drawing.units import percent
from equilog.report.findings import Findings

KEY = "fig-weights"
TITLE = "Recurrent weights on this chip"
# A larger matrix is averaged down to about this many pixels a side.
PIXELS = 256


def weights_plate(run: Findings) -> Plate:
    """Return heat maps of realised W and of its deviation from the target."""
    layer = run.layer
    n = layer.states
    realised = layer.effective.detach()[:, :n].numpy()
    asked = layer.asked.detach()[:, :n].numpy()
    deviation = realised - asked
    largest = float(np.abs(asked).max()) or 1.0
    drawings = [
        _draw(f"{KEY}-realised", realised, "W realised"),
        _draw(f"{KEY}-deviation", deviation, "W realised − W asked for"),
    ]
    rms = float(np.sqrt((deviation**2).mean()))
    return Plate(
        KEY,
        TITLE,
        drawings,
        f"Left: W out of the programmed conductances; largest weight asked for {largest:.2f}. Right, on "
        f"a scale of its own: what levels and programming error of chip {run.config.chip_seed} make of it, "
        f"{percent(rms / largest)} of the largest weight in root mean square. Structure on the "
        "right would mean a systematic error.",
    )


def _draw(key: str, values: NDArray[np.float64], title: str) -> Markup:
    n = len(values)
    bound = float(np.abs(values).max()) or 1.0
    with drawing(key):
        figure = canvas(4.9, 4.0)
        axes = figure.subplots()
        image = axes.imshow(
            _reduced(values), cmap="RdBu_r", vmin=-bound, vmax=bound, interpolation="none",
            extent=(-0.5, n - 0.5, n - 0.5, -0.5),
        )  # fmt: skip
        axes.set_title(title)
        axes.grid(visible=False)
        axes.set_xlabel("from state j")
        axes.set_ylabel("to neuron i")
        axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(7, integer=True))
        bar = figure.colorbar(image, ax=axes, shrink=0.9, pad=0.02)
        bar.outline.set_visible(False)
        return to_svg(figure, key, title)


def _reduced(values: NDArray[np.float64]) -> NDArray[np.float64]:
    step = -(-len(values) // PIXELS)
    if step == 1:
        return values
    edges = np.arange(0, len(values), step)
    counts = np.diff(np.append(edges, len(values)))
    sums = np.add.reduceat(np.add.reduceat(values, edges, 0), edges, 1)
    means: NDArray[np.float64] = sums / np.outer(counts, counts)
    return means
