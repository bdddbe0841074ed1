"""Pictures: the graph coloured by side, and the front. Names come from the user's code and are written as text."""

from __future__ import annotations

import io
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from equilog.allocate.summary import layers
from equilog.report.style import ANALOG, BAND, DIGITAL, GRID, INK, MUTED, SERIES, canvas, drawing
from equilog.report.units import engineering

if TYPE_CHECKING:
    from equilog.allocate.allocation import Allocation, Outcome

WIDE, HIGH, ACROSS, DOWN, EDGE = 236, 46, 284, 92, 20
LONGEST = 34
"""letters of a name that fit its box"""


def graph_svg(found: Allocation) -> str:
    """Return the graph as a stand-alone SVG: analog and digital operations, and what converts between them."""
    nodes, rows = found.situation.nodes, layers(found)
    rank: list[int] = []
    for node in nodes:
        rank.append(1 + max((rank[i] for i in node.inputs), default=-1))
    members: dict[int, list[int]] = {}
    for k, r in enumerate(rank):
        members.setdefault(r, []).append(k)
    widest = max(len(row) for row in members.values())
    width, height = widest * ACROSS + 2 * EDGE, (max(rank) + 1) * DOWN + 2 * EDGE
    at = {
        k: (width / 2 + (j - (len(row) - 1) / 2) * ACROSS, EDGE + r * DOWN + HIGH / 2)
        for r, row in members.items()
        for j, k in enumerate(row)
    }
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="DejaVu Sans, Verdana, sans-serif" font-size="11" role="img">',
        "<title>Which operation is computed where</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{MUTED}"/></marker></defs>',
    ]
    for w, node in enumerate(nodes):
        for slot, i in enumerate(node.inputs):
            parts.append(_edge(at[i], at[w], _crossing(found, w, slot)))
    for k, row in enumerate(rows):
        parts.append(_box(at[k], row["name"], f"{row['what']}: {_said(row)}", row["kind"] != "digital"))
    return "\n".join([*parts, "</svg>"])


def _said(row: dict[str, object]) -> str:
    options = row["options"]
    assert isinstance(options, list)
    energy = next(o["energy_joule"] for o in options if o["kind"] == row["kind"])
    return f"{row['kind']}, {engineering(energy, 'J')}" if energy else str(row["kind"])


def _crossing(found: Allocation, w: int, slot: int) -> str:
    cross, source = found.crossings, found.situation.nodes[w].inputs[slot]
    if (w, slot) in cross.linked:
        return "voltages"
    words = ["ADC"] if source in cross.to_digital else []
    return " → ".join([*words, *(["DAC"] if (w, slot) in cross.entered else [])])


def _edge(start: tuple[float, float], end: tuple[float, float], crossing: str) -> str:
    (x0, y0), (x1, y1) = (start[0], start[1] + HIGH / 2), (end[0], end[1] - HIGH / 2)
    if y1 - y0 > DOWN:  # past the rows between: beside their boxes
        aside = max(x0, x1) + WIDE / 2 + 14
        way = f"M{x0:.1f} {y0:.1f}C{aside:.1f} {y0 + 40:.1f} {aside:.1f} {y1 - 40:.1f} {x1:.1f} {y1:.1f}"
    else:
        way = f"M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}"
    colour = ANALOG if crossing == "voltages" else MUTED
    line = f'<path d="{way}" fill="none" stroke="{colour}" stroke-width="1.4" marker-end="url(#head)"/>'
    x, y = (x0 + x1) / 2 + 8, (y0 + y1) / 2 + 4
    return line + (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="10">{crossing}</text>' if crossing else ""
    )


def _box(centre: tuple[float, float], name: str, words: str, analog: bool) -> str:
    x, y = centre[0] - WIDE / 2, centre[1] - HIGH / 2
    fill, edge = (ANALOG, ANALOG) if analog else (BAND, DIGITAL)
    ink, pale = ("#ffffff", "#ffffff") if analog else (INK, MUTED)
    return (
        f'<g><title>{escape(name)}</title><rect x="{x:.1f}" y="{y:.1f}" width="{WIDE}" height="{HIGH}" rx="5" '
        f'fill="{fill}" stroke="{edge}"/><text x="{centre[0]:.1f}" y="{y + 19:.1f}" text-anchor="middle" '
        f'fill="{ink}" font-weight="bold">{escape(_short(name))}</text><text x="{centre[0]:.1f}" y="{y + 35:.1f}" '
        f'text-anchor="middle" fill="{pale}" font-size="10">{escape(_short(words, LONGEST + 6))}</text></g>'
    )


def _short(text: str, longest: int = LONGEST) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def front_svg(found: Allocation, outcome: Outcome | None = None) -> str:
    """Return the front as SVG: energy and latency of its points, coloured by what accuracy they lose."""
    with drawing("front"):
        figure = canvas(6.4, 3.8)
        axes = figure.subplots()
        losses = sorted({round(100 * p.cost.loss, 3) for p in found.front})
        for p in found.front:
            loss = round(100 * p.cost.loss, 3)
            colour = SERIES[losses.index(loss) % len(SERIES)]
            axes.plot(1e6 * p.cost.latency_second, 1e9 * p.cost.energy_joule, "o", color=colour, ms=5, zorder=3)
        for k, loss in enumerate(losses[: len(SERIES)]):
            axes.plot([], [], "o", color=SERIES[k], label=f"loss {loss:g} %")
        cost, digital = found.optimum.cost, found.digital
        axes.plot(1e6 * cost.latency_second, 1e9 * cost.energy_joule, "o", ms=11, mfc="none", color=INK, label="chosen")
        axes.plot(
            1e6 * digital.latency_second, 1e9 * digital.energy_joule, "s", color=DIGITAL, label="all digital", zorder=2
        )
        if outcome is not None:
            counted = outcome.unseen_chip
            at = 1e6 * counted.latency_second.typical, 1e9 * counted.energy_joule.typical
            axes.plot(*at, "x", color=INK, ms=7, label="recounted, unseen chip", zorder=4)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.grid(True, which="both", color=GRID)
        axes.set_xlabel("latency, µs")
        axes.set_ylabel("energy per inference, nJ (typical)")
        axes.set_title(f"{found.situation.spec.name} and {found.situation.target.name}")
        axes.legend(loc="best")
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def write_pictures(found: Allocation, folder: Path, outcome: Outcome | None = None) -> list[Path]:
    """Write ``graph.svg`` and, if there is a front, ``front.svg``; return their paths."""
    pictures = {"graph.svg": graph_svg(found)}
    if found.front:
        pictures["front.svg"] = front_svg(found, outcome)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pictures.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in pictures]
