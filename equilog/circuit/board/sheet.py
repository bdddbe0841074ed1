"""The whole board drawn: every block with how many parts it has, and the buses between them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import schemdraw.elements as e

from equilog.circuit.board.design import Board
from equilog.circuit.board.drawing import ACCENT, INK, MUTED, ROOM, drawing, text


def sheet_svg(board: Board) -> str:
    """Return the whole board: every block with how many parts it has, and the buses between them."""
    return drawing(lambda sheet: _sheet(sheet, board))


def _sheet(sheet: Any, board: Board) -> None:
    layer = board.nominal
    n, m = layer.states, layer.drives
    detector = layer.spec.detector is not None
    count = {block: sum(c.block.startswith(block) for c in board.components) for block in _BLOCKS}
    value = {
        v: sum(c.part.value == v for c in board.components)
        for v in ("OPA4192", "OPA2192", "LM311", "DAC7578", "AD7606")
    }
    _box(sheet, 0.0, 3.6, -2.0, 2.0, "host", ["5 V logic", "SPI and I²C"], count["host"])
    _box(sheet, 5.2, 8.8, -2.0, 2.0, "DAC", [f"{value['DAC7578']} × DAC7578", f"{m} channels"], count["DAC"])
    _box(sheet, 10.4, 14.0, -2.0, 2.0, "drives", [f"{m} × OPA2192", "both polarities"], count["drive"])
    rows = count["crossbar row"]
    _box(sheet, 16.4, 21.4, -2.0, 2.0, "crossbar", [f"{n} rows × {n + m + 1} pairs", f"E96, {rows} resistors"], rows)
    _box(
        sheet,
        23.8,
        28.8,
        -2.0,
        2.0,
        "neurons",
        [f"{value['OPA4192']} × OPA4192, {2 * n} pairs", "integrator, tanh, inverter"],
        count["neuron"],
    )
    _box(sheet, 16.4, 21.4, 4.6, 7.2, "reference", ["LM4040, OPA2192"], count["reference"])
    _box(sheet, 0.0, 3.6, 4.6, 7.2, "supply", ["+5V, GND, −5V"], count["supply"])
    _box(
        sheet,
        10.4,
        14.0,
        -9.4,
        -6.0,
        "ADC",
        [f"{value['AD7606']} × AD7606", f"{n} of {8 * value['AD7606']} inputs"],
        count["ADC"],
    )
    if detector:
        _box(
            sheet,
            23.8,
            28.8,
            -9.4,
            -6.0,
            "detector",
            [f"{value['LM311']} × LM311", "one wire for all"],
            count["detector"],
        )
    _bus(sheet, [(3.6, 0), (5.2, 0)], "I²C", "")
    _bus(sheet, [(8.8, 0), (10.4, 0)], f"dac0…{m - 1}", f"{m}")
    _bus(sheet, [(14.0, 0), (16.4, 0)], f"dp, dn 0…{m - 1}", f"{2 * m}")
    _bus(sheet, [(21.4, 0), (23.8, 0)], f"x0…{n - 1}", f"{n}")
    _bus(sheet, [(18.9, 4.6), (18.9, 2.0)], "refp, refn", "2")
    _bus(
        sheet,
        [(28.8, 0), (30.2, 0), (30.2, -3.9), (18.9, -3.9), (18.9, -2.0)],
        f"sp, sn 0…{n - 1}",
        f"{2 * n}",
        label=(24.6, -3.55),
    )
    _bus(sheet, [(18.9, -3.9), (12.2, -3.9), (12.2, -6.0)], f"sp0…{n - 1}", f"{n}", label=(15.4, -3.55))
    _bus(sheet, [(10.4, -7.7), (1.8, -7.7), (1.8, -2.0)], "SPI, CONVST, BUSY", "", label=(6.0, -7.35))
    _bus(sheet, [(16.4, 5.9), (7.0, 5.9), (7.0, 2.0)], "VREF", "", label=(11.6, 6.25))
    if detector:
        _bus(sheet, [(26.3, -2.0), (26.3, -6.0)], f"v0…{n - 1}", f"{n}", label=(27.3, -5.0))
        _bus(
            sheet,
            [(23.8, -8.6), (21.0, -8.6), (21.0, -10.6), (0.9, -10.6), (0.9, -2.0)],
            "STILL",
            "1",
            label=(6.0, -10.25),
        )
    total = len(board.components)
    text(sheet, 0.0, 8.6, f"{n} neurons, {m} drives: {total} parts", INK, 13, "left")
    text(sheet, 0.0, 7.85, f"technology {layer.spec.name}; +5V, −5V and GND reach every block", MUTED, 10, "left")


_BLOCKS = ("host", "DAC", "drive", "crossbar row", "neuron", "reference", "supply", "ADC", "detector")


def _box(
    sheet: Any, left: float, right: float, bottom: float, top: float, name: str, lines: list[str], parts: int
) -> None:
    sheet += e.Rect(corner1=(left, bottom), corner2=(right, top), fill=ROOM, lw=1.3).at((0, 0)).theta(0).zorder(-1)
    middle = (left + right) / 2
    text(sheet, middle, top - 0.5, name, INK, 12, "center")
    for k, line in enumerate(lines):
        text(sheet, middle, top - 1.2 - 0.6 * k, line, ACCENT, 9.5, "center")
    text(sheet, middle, bottom + 0.4, f"{parts} part{'s' * (parts != 1)}", MUTED, 9, "center")


def _bus(
    sheet: Any, points: list[tuple[float, float]], name: str, wires: str, label: tuple[float, float] | None = None
) -> None:
    for k, (a, b) in enumerate(pairwise(points)):
        last = k == len(points) - 2
        sheet += e.Line(arrow="->" if last else None).at(a).to(b).linewidth(2.6)
    (ax, ay), (bx, by) = points[0], points[1]
    across = ay == by
    x, y = label or (
        (ax + bx) / 2 + (0 if across else 1.1),
        (ay + by) / 2 + (0.85 if across and wires else 0.4 if across else 0),
    )
    text(sheet, x, y, name, INK, 8.5, "center")
    if wires:
        text(sheet, x, y - (0.42 if label is None else 0.75), f"/{wires}", MUTED, 8.5, "center")
