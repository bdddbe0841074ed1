"""Pictures of outputs beside the trusted answer: fields as maps on one scale, curves on one pair of axes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from equilog.tasks.measures import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRUSTED, IDEAL, TWIN = "trusted", "ideal", "on the chip"


def fields_beside(
    key: str,
    title: str,
    caption: str,
    trusted: Tensor,
    ideal: Tensor,
    twin: Tensor,
    *,
    unit: str = "",
    extent: tuple[float, float, float, float] | None = None,
    coarse: bool = False,
) -> Picture:
    """Return maps of one field, trusted, ideal and on the chip, on one scale of colours.

    Args:
        key, title, caption: of the picture.
        trusted, ideal, twin: shape ``(rows, columns)`` each, row 0 at the bottom.
        unit: of the values.
        extent: left, right, bottom, top in metres; numbers of rows and columns unless given.
        coarse: show every value as a square rather than a smooth map.
    """

    def draw(figure: Figure) -> None:
        low, high = float(trusted.min()), float(trusted.max())
        if not high > low:
            low, high = low - 0.5, high + 0.5
        panels = figure.subplots(1, 3, sharex=True, sharey=True)
        for axes, (name, field) in zip(panels, {TRUSTED: trusted, IDEAL: ideal, TWIN: twin}.items()):
            shown = axes.imshow(
                field.detach().double().numpy(), origin="lower", extent=extent, vmin=low, vmax=high, cmap="viridis",
                interpolation="nearest" if coarse else "bilinear", aspect="equal",
            )  # fmt: skip
            axes.set_title(name)
            axes.grid(visible=False)
            if extent is not None:
                axes.set_xlabel("metre")
        figure.colorbar(shown, ax=list(panels), shrink=0.8, label=unit)

    return Picture(key=key, title=title, caption=caption, size=(7.2, 2.6), draw=draw)


def curves_beside(
    key: str,
    title: str,
    caption: str,
    at: Tensor,
    trusted: Mapping[str, Tensor],
    ideal: Mapping[str, Tensor],
    twin: Mapping[str, Tensor],
    *,
    across: str,
    up: str = "",
    dots: bool = False,
) -> Picture:
    """Return one panel a named quantity, in each the trusted curve, the ideal model's and the chip's.

    Args:
        key, title, caption: of the picture.
        at: where along the horizontal axis, shape ``(points,)``.
        trusted, ideal, twin: the same names in each, values of shape ``(points,)``. A curve that leaves what is
            trusted by far is cut at the panel's edge.
        across: what the horizontal axis is, with its unit.
        up: unit of the values.
        dots: draw trusted values as dots: those of a table.
    """

    def draw(figure: Figure) -> None:
        from equilog.drawing.style import ANALOG, INK, SIMULATOR  # noqa: PLC0415  # an optional extra

        panels = figure.subplots(len(trusted), 1, sharex=True, squeeze=False)[:, 0]
        for axes, name in zip(panels, trusted):
            values = trusted[name].detach().double()
            axes.plot(at, values, "o" if dots else "-", color=INK, label=TRUSTED, markersize=3.5)
            axes.plot(at, ideal[name].detach().double(), "--", color=SIMULATOR, label=IDEAL)
            axes.plot(at, twin[name].detach().double(), "-", color=ANALOG, label=TWIN, linewidth=1.0)
            axes.set_ylabel(f"{name}, {up}" if up else name)
            low, high = float(values.min()), float(values.max())
            room = 0.25 * (high - low) if high > low else 0.5
            if math.isfinite(room):
                axes.set_ylim(low - room, high + room)
        panels[-1].set_xlabel(across)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=3)

    return Picture(key=key, title=title, caption=caption, size=(6.4, 0.9 + 1.3 * len(trusted)), draw=draw)
