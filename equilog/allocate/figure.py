"""Pictures: the graph coloured by side, energies as bars, and the front.

Names come from the user's code and are written as text.
"""

from __future__ import annotations

import io
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from equilog.allocate.problem import UNUSED
from equilog.allocate.summary import REST, energy_parts, layers
from equilog.drawing.style import ANALOG, BAND, DIGITAL, GRID, INK, MUTED, SERIES, canvas, drawing, log_ticks
from equilog.drawing.units import engineering

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from equilog.allocate.allocation import Allocation, Outcome

WIDE, HIGH, ACROSS, DOWN, EDGE, OUT = 236, 46, 284, 92, 20, 28
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
    width, height = widest * ACROSS + 2 * EDGE, (max(rank) + 1) * DOWN + 2 * EDGE + OUT
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
    for k, (node, row) in enumerate(zip(nodes, rows)):
        if node.output:
            below = at[k][0], at[k][1] + HIGH + OUT
            parts.append(_edge(at[k], below, "ADC → out" if k in found.reported else "out"))
        parts.append(_box(at[k], row["name"], f"{row['what']}: {_said(row)}", row["kind"] != "digital"))
    return "\n".join([*parts, "</svg>"])


def _said(row: dict[str, object]) -> str:
    options = row["options"]
    assert isinstance(options, list)
    energy = next(o["energy_joule"] for o in options if o["kind"] == row["kind"])
    return f"{row['kind']}, {engineering(energy, 'J')}" if energy else str(row["kind"])


def _crossing(found: Allocation, w: int, slot: int) -> str:
    cross, source = found.crossings, found.situation.nodes[w].inputs[slot]
    if found.problem.vertices[w].options[found.optimum.choice[w]].reads[slot] == UNUSED:
        return ""
    if (w, slot) in cross.linked:
        return "voltages"
    words = ["ADC"] if source in found.reported else []
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
        figure = canvas(7.2, 3.8)
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
        axes.grid(True, color=GRID)
        _scale(axes, "x", [1e6 * p.cost.latency_second for p in found.front])
        _scale(axes, "y", [1e9 * p.cost.energy_joule for p in found.front])
        axes.set_xlabel("latency, µs")
        axes.set_ylabel("energy per inference, nJ (typical)")
        axes.set_title(f"{found.situation.spec.name} and {found.situation.target.name}")
        figure.legend(loc="outside right upper")
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def _scale(axes: Axes, which: str, values: list[float]) -> None:
    """Make an axis logarithmic where values differ by decades, else linear from zero."""
    if max(values) > 30 * min(values) > 0:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        log_ticks(axes, which)
    else:
        (axes.set_xlim if which == "x" else axes.set_ylim)(0)
        axes.margins(0.1)


def energy_svg(found: Allocation, outcome: Outcome | None = None) -> str:
    """Return what takes the energy as SVG: one bar all digital, one as chosen, parts on chips hatched."""
    bars = {
        "all digital": energy_parts(*found.all_digital),
        "as chosen": energy_parts(found.situation, found.optimum.choice),
    }
    sizes: dict[str, float] = {}
    for parts in bars.values():
        for part in parts:
            sizes[part.name] = max(sizes.get(part.name, 0.0), part.joule)
    largest = sorted(sizes, key=lambda name: -sizes[name])[: len(SERIES) - 1]
    names = [name for name in sizes if name in largest]  # in the graph's order
    colours = dict(zip(names, SERIES))
    with drawing("energy"):
        figure = canvas(6.4, 2.4 + 0.17 * len(names))
        axes = figure.subplots()
        for y, parts in enumerate(bars.values()):
            at = 0.0
            for part in sorted(parts, key=lambda part: part.name not in colours):
                axes.barh(
                    y, 1e9 * part.joule, left=at, height=0.6, color=colours.get(part.name, MUTED),
                    hatch="////" if part.analog else None, edgecolor="white", linewidth=0.3,
                )  # fmt: skip
                at += 1e9 * part.joule
            axes.annotate(
                engineering(1e-9 * at, "J"), (at, y), (5, 0), textcoords="offset points", va="center", fontsize=7.5
            )
        if outcome is not None:
            counted = 1e9 * outcome.unseen_chip.energy_joule.typical
            axes.plot(counted, 1, "x", color=INK, ms=7, zorder=4, label="recounted, unseen chip")
        for name in names:
            axes.barh(0, 0, color=colours[name], label=_short(name))
        if len(sizes) > len(names):
            axes.barh(0, 0, color=MUTED, label=REST)
        axes.barh(0, 0, color="white", edgecolor=INK, hatch="////", label="on chips")
        axes.set_yticks(range(len(bars)), list(bars))
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.12)
        axes.set_xlim(left=0)
        axes.set_xlabel("energy per inference, nJ (typical)")
        axes.set_title(f"{found.situation.spec.name} and {found.situation.target.name}")
        figure.legend(loc="outside lower left", ncols=2)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def write_pictures(found: Allocation, folder: Path, outcome: Outcome | None = None) -> list[Path]:
    """Write ``graph.svg``, ``energy.svg`` and, if there is a front, ``front.svg``; return their paths."""
    pictures = {"graph.svg": graph_svg(found), "energy.svg": energy_svg(found, outcome)}
    if found.front:
        pictures["front.svg"] = front_svg(found, outcome)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pictures.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in pictures]
