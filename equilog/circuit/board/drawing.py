"""What the board's drawings share: a sheet of SVG, tinted rooms, text. Needs schemdraw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from equilog.names import UserError

try:
    import schemdraw
    import schemdraw.elements as e
except ModuleNotFoundError as missing:
    raise UserError("drawing the board needs schemdraw: pip install 'equilog[report]'") from missing

INK, MUTED, ACCENT, ROOM = "#1f2a37", "#66727f", "#0b7d77", "#eef2f7"
Align = Literal["left", "center", "right"]


def drawing(draw: Callable[[Any], None]) -> str:
    """Return what `draw` puts on a sheet as SVG whose text is text."""
    before = schemdraw.svgconfig.text
    schemdraw.svgconfig.text = "text"
    try:
        sheet = schemdraw.Drawing(canvas="svg", show=False)
        sheet.config(fontsize=10, color=INK, lw=1.2, unit=2.0, bgcolor="white", margin=0.3)
        draw(sheet)
        return str(sheet.get_imagedata("svg").decode())
    finally:
        schemdraw.svgconfig.text = before


def room(sheet: Any, left: float, right: float, bottom: float, top: float, name: str) -> None:
    """Draw a tinted room behind a block, its name in the corner."""
    sheet += (
        e.Rect(corner1=(left, bottom), corner2=(right, top), fill=ROOM, lw=0.1)
        .at((0, 0))
        .theta(0)
        .color(ROOM)
        .zorder(-1)
    )
    text(sheet, left + 0.2, top - 0.35, name, MUTED, 9.5, "left")


def text(sheet: Any, x: float, y: float, words: str, colour: str, size: float, align: Align) -> None:
    """Write one line; `x` is where `align` says."""
    sheet += (
        e.Label()
        .at((x, y))
        .theta(0)
        .label(words, fontsize=size, color=colour, halign=align, valign="center", loc="center", ofst=0)
    )
