"""How figures look, and how matplotlib's SVG becomes part of a page: themed, named apart, reproducible.

Colours are drawn as fixed hex values and replaced by CSS variables afterwards, so that one drawing serves the
light and the dark page.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from equilog.drawing.units import engineering, scientific

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, GRID, BAND = "#1f2a37", "#66727f", "#dfe4ea", "#eef2f7"
ANALOG, DIGITAL, SIMULATOR, GOOD, BAD = "#0b7d77", "#c2591c", "#3a57d6", "#1b7f4c", "#c5302f"
SERIES = ("#0b7d76", "#c2591b", "#3a57d5", "#a3357a", "#8a6d00", "#4f6d8f", "#5c8a1f", "#7a4fc0")

# hex as drawn: CSS variable, value on the dark page
_THEME = {
    INK: ("ink", "#e4e9ef"),
    MUTED: ("muted", "#9ba8b5"),
    GRID: ("grid", "#33404d"),
    BAND: ("band", "#27333f"),
    ANALOG: ("analog", "#43c9c0"),
    DIGITAL: ("digital", "#f39a62"),
    SIMULATOR: ("simulator", "#91a7ff"),
    GOOD: ("good", "#4cc88a"),
    BAD: ("bad", "#ff7f78"),
} | {
    colour: (f"series{k}", dark)
    for k, (colour, dark) in enumerate(
        zip(
            SERIES,
            ("#43c9bf", "#f39a61", "#91a7fe", "#ec86c3", "#dcb93a", "#9db9da", "#a5d364", "#bd9cf5"),
        )
    )
}

_RC: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.0,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    # Names out of a run are text, never formulas.
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.use_mathtext": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.visible": False,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "lines.linewidth": 1.4,
    "path.simplify": True,
}


@dataclass(frozen=True)
class Plate:
    """One ``<figure>`` of the page: drawings under a heading, over a caption that says what to see."""

    id: str
    title: str
    drawings: list[Markup]
    caption: str
    wide: bool = False
    """whether the drawing is too wide for a telephone and scrolls there"""


@contextmanager
def drawing(key: str) -> Iterator[None]:
    """Draw with the report's own settings, whatever the user's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        settings: Any = matplotlib.rcParams  # whose keys are typed by the version that is installed
        settings.update(_RC | {"svg.hashsalt": key})
        yield


def canvas(width: float, height: float) -> Figure:
    """Return an empty figure of that size in inches, laid out without overlaps."""
    return Figure(figsize=(width, height), layout="constrained")


def to_svg(figure: Figure, key: str, title: str) -> Markup:
    """Return a drawing to put into the page; its ids begin with `key`, which must be unique on the page."""
    return inline(_saved(figure), key, title)


def document(size: tuple[float, float], draw: Callable[[Figure], None]) -> str:
    """Return a drawing of that size in inches as an SVG document, for :func:`inline` later."""
    figure = canvas(*size)
    draw(figure)
    return _saved(figure)


def _saved(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def framed(svg: str, title: str) -> Markup:
    """Return an SVG document that came from a file as an image of the page, on white.

    As an image a drawing can neither fetch nor run anything, whatever came to lie in the folder.
    """
    data = base64.b64encode(svg.encode("utf-8")).decode("ascii")
    return Markup(
        f'<img alt="{escape(title)}" src="data:image/svg+xml;base64,{data}" '
        'style="display:block;max-width:100%;margin:0 auto;background:#fff;border-radius:8px">'
    )


def inline(svg: str, key: str, title: str) -> Markup:
    """Return a stand-alone SVG document as an element of the page, themed and with ids of its own."""
    start = re.search(r"<svg\b[^>]*>", svg)
    box = re.search(r'viewBox="([^"]+)"', start.group(0)) if start else None
    if start is None or box is None:
        raise ValueError("not an SVG document with a viewBox")
    body = svg[start.end() :]
    body = re.sub(r"<metadata>.*?</metadata>|<style\b.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    # The page's typeface, which is narrower than the one the layout was measured with.
    body = re.sub(r"font-family: [^;\"]+;? ?| font-family=\"[^\"]*\"", "", body)
    body = re.sub(r'\bid="', f'id="{key}-', body)
    body = re.sub(r'href="#', f'href="#{key}-', body)
    body = re.sub(r"url\(#", f"url(#{key}-", body)
    body = re.sub(r" transform=\"rotate\(-0 [^)]*\)\"", "", body)
    body = re.sub(r"\n(?=[LCQz\"])", " ", body)
    body = re.sub(r"<(?!image)[^>]+>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag.group(0)), body)
    body = re.sub(r"stroke-dasharray:-;", "", body)
    for colour, (name, _dark) in _THEME.items():
        body = body.replace(colour, f"var(--{name})")
    width = float(box.group(1).split()[2])
    # Both our own: the body comes from matplotlib or schemdraw, which escape what they are given.
    return Markup(
        f'<svg id="{key}" role="img" aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg" '
        f'xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{box.group(1)}" '
        f'style="max-width:{1.75 * width:.0f}px">{body.strip()}'
    )


def css_variables(dark: bool) -> Markup:
    """Return the drawing colours as CSS declarations."""
    return Markup("".join(f"--{name}:{night if dark else day};" for day, (name, night) in _THEME.items()))


def spread(values: list[float], gap: float) -> list[float]:
    """Return positions near `values`, in the same order, no two closer than `gap`: for labels at line ends."""
    order = sorted(range(len(values)), key=lambda k: values[k])
    clusters: list[tuple[list[int], float]] = []
    for k in order:
        members, centre = [k], values[k]
        # A cluster sits around the mean of what it labels; neighbours that would touch it join it.
        while clusters:
            before, at = clusters[-1]
            if centre - at >= gap * (len(before) + len(members)) / 2:
                break
            clusters.pop()
            members = before + members
            centre = sum(values[i] for i in members) / len(members)
        clusters.append((members, centre))
    placed = [0.0] * len(values)
    for members, centre in clusters:
        for rank, i in enumerate(members):
            placed[i] = centre + gap * (rank - (len(members) - 1) / 2)
    return placed


def log_ticks(axes: Axes, which: str, unit: str | None = None) -> None:
    """Label a logarithmic axis with powers of ten, or with prefixed units; whole decades only."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator  # noqa: PLC0415

    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(10, numticks=8))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(
        FuncFormatter(
            lambda value, _position: scientific(value, 1) if unit is None else engineering(value, unit, trim=True)
        )
    )
