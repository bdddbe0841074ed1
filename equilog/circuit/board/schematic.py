"""One neuron of the board drawn, every part of it with designator and value."""

from __future__ import annotations

from typing import Any

import schemdraw.elements as e

from equilog.circuit.board.design import Board, Component
from equilog.circuit.board.drawing import ACCENT, INK, MUTED, drawing, room, text


def neuron_svg(board: Board, i: int = 0) -> str:
    """Return neuron `i` with the designators and values of its parts; its crossbar row as three resistors of many."""

    find = _Finder(board, i)

    def draw(sheet: Any) -> None:
        _row(sheet, board, i, find)
        _integrator(sheet, i, find)
        _pair(sheet, i, find)
        _outputs(sheet, i, find)
        if board.nominal.spec.detector is not None:
            _detector(sheet, i, find)

    return drawing(draw)


class _Finder:
    """Parts of one neuron by what they do."""

    def __init__(self, board: Board, i: int) -> None:
        blocks = {f"neuron {i}", f"detector {i}", f"crossbar row {i}", "detector"}
        self.parts = [c for c in board.components if c.block in blocks]

    def __call__(self, role: str, net: str = "") -> Component:
        return next(c for c in self.parts if c.role.startswith(role) and (not net or net in c.nets.values()))


def _named(component: Component) -> str:
    return f"{component.ref} {component.part.value}"


def _row(sheet: Any, board: Board, i: int, find: _Finder) -> None:
    """Draw the virtual ground's bus with one resistor of every kind of source."""
    layer = board.nominal
    m = layer.drives
    room(sheet, -5.4, 0.1, -5.6, 4.6, f"crossbar row {i}")
    kinds = [(2.9, "sn", "sp", f"states 0 … {layer.states - 1}", "W["), (0.2, "dn", "dp", f"drives 0 … {m - 1}", "U[")]
    kinds.append((-2.5, "refn", "refp", "reference", "b["))
    for y, negative, positive, caption, label in kinds:
        text(sheet, -5.2, y + 0.62, caption, MUTED, 9, "left")
        for at, net, sign in ((y, negative, "G+"), (y - 1.15, positive, "G-")):
            found = [c for c in find.parts if c.role.startswith(label) and c.role.endswith(sign)]
            name = net if net.startswith("ref") else f"{net}j" if net[0] == "s" else f"{net}k"
            sheet += e.Dot(open=True).at((-4.0, at))
            text(sheet, -4.2, at, name, INK, 9.5, "right")
            sheet += e.Resistor().at((-3.9, at)).to((-0.9, at))
            sheet += e.Line().at((-0.9, at)).to((-0.4, at))
            many = f"{found[0].ref}, … {found[-1].ref}" if len(found) > 1 else _named(found[0]) if found else "none"
            text(sheet, -2.4, at + 0.4, many, ACCENT, 8.5, "center")
    sheet += e.Line().at((-0.4, 2.9)).to((-0.4, -3.65)).linewidth(2.2)
    total = sum(c.block == f"crossbar row {i}" for c in board.components)
    text(sheet, -2.6, -4.7, f"{total} resistors in this row", MUTED, 9, "center")


def _integrator(sheet: Any, i: int, find: _Finder) -> None:
    room(sheet, 0.3, 5.0, -5.6, 4.6, "summing integrator")
    quad = find("integrator")
    sheet += e.Line().at((-0.4, 0.2)).to((1.6, 0.2))
    sheet += (op := e.Opamp().right().at((1.6, 0.2)).anchor("in1"))
    sheet += e.Line().at(op.in2).toy(-1.7)
    sheet += e.Ground().at((1.6, -1.7))
    sheet += e.Line().at(op.out).to((4.6, float(op.out[1])))
    y = float(op.out[1])
    for at, part, name in ((1.6, e.Resistor, find("R_f")), (2.9, e.Capacitor, find("C_f"))):
        sheet += e.Line().at((1.0, at)).to((1.3, at))
        sheet += part().at((1.3, at)).to((4.0, at))
        sheet += e.Line().at((4.0, at)).to((4.3, at))
        text(sheet, 2.65, at + 0.5, _named(name), ACCENT, 9, "center")
    sheet += e.Line().at((1.0, 0.2)).to((1.0, 2.9))
    sheet += e.Line().at((4.3, y)).to((4.3, 2.9))
    for corner in ((1.0, 0.2), (1.0, 1.6), (4.3, 1.6), (4.3, y)):
        sheet += e.Dot().at(corner)
    text(sheet, 0.62, 0.5, f"x{i}", INK, 9.5, "center")
    text(sheet, 4.7, y + 0.3, f"v{i}", INK, 9.5, "center")
    text(sheet, 2.75, -1.5, f"{quad.ref}A {quad.part.value}", ACCENT, 9, "left")
    text(sheet, 2.65, -4.7, "V+ +5V, V− −5V, 100n each", MUTED, 8.5, "center")


def _pair(sheet: Any, i: int, find: _Finder) -> None:
    """Draw the bipolar pair, its loads and the mirror below it."""
    room(sheet, 5.2, 11.0, -5.6, 4.6, "tanh pair")
    pair, mirror = find("tanh pair"), find("mirror of")
    base = -0.425
    sheet += e.Line().at((4.6, base)).to((5.9, base))
    sheet += (left := e.BjtNpn(circle=True).at((5.9, base)).anchor("base").right())
    sheet += (right := e.BjtNpn(circle=True).at((9.6, base)).anchor("base").left().flip())
    sheet += e.Line().at((9.6, base)).to((9.9, base))
    sheet += e.Ground().at((9.9, base))
    for transistor, side in ((left, "m"), (right, "p")):
        x, top = float(transistor.collector[0]), float(transistor.collector[1])
        load = find("collector load", f"coll_{side}{i}")
        sheet += e.Line().at((x, top)).to((x, 1.7))
        sheet += e.Resistor().at((x, 1.7)).to((x, 3.3))
        sheet += e.Vdd().at((x, 3.3)).label("+5V", fontsize=8.5, color=MUTED)
        sheet += e.Dot().at((x, 1.3))
        text(sheet, x + 0.42, 2.5, _named(load), ACCENT, 9, "left")
    bottom = float(left.emitter[1])
    middle = 7.75
    sheet += e.Line().at(left.emitter).to((float(left.emitter[0]), bottom - 0.2))
    sheet += e.Line().at(right.emitter).to((float(right.emitter[0]), bottom - 0.2))
    sheet += e.Line().at((float(left.emitter[0]), bottom - 0.2)).to((float(right.emitter[0]), bottom - 0.2))
    sheet += e.Dot().at((middle, bottom - 0.2))
    sheet += e.Line().at((middle, bottom - 0.2)).to((middle, -2.2))
    text(sheet, 7.75, base + 1.1, _named(pair), ACCENT, 9, "center")
    sheet += e.SourceI().down().at((middle, -2.2)).length(1.7)
    text(sheet, middle, -4.15, "−5V", MUTED, 8.5, "center")
    reference, degeneration = find("tail current"), [c for c in find.parts if c.role.startswith("degeneration")]
    text(sheet, middle + 0.6, -2.5, f"mirror {mirror.ref}", ACCENT, 9, "left")
    text(sheet, middle + 0.6, -3.0, _named(reference), ACCENT, 9, "left")
    text(
        sheet,
        middle + 0.6,
        -3.5,
        f"{degeneration[0].ref}, {degeneration[1].ref} {degeneration[0].part.value}",
        ACCENT,
        9,
        "left",
    )


def _outputs(sheet: Any, i: int, find: _Finder) -> None:
    """Draw difference amplifier and inverter."""
    room(sheet, 11.2, 20.9, -5.6, 4.6, "difference amplifier and inverter")
    quad = find("integrator")
    sheet += (op := e.Opamp().right().at((14.6, 0.9)).anchor("in1"))
    minus_y, plus_y = 0.9, float(op.in2[1])
    for side, y in (("m", minus_y), ("p", plus_y)):
        into, out = (
            find("difference amplifier, input", f"diff_{side}{i}"),
            find("difference amplifier, output", f"diff_{side}{i}"),
        )
        name = f"coll_{side}{i}"
        sheet += e.Dot(open=True).at((11.6, y))
        text(sheet, 11.5, y + 0.3, name, INK, 8.5, "left")
        sheet += e.Line().at((11.7, y)).to((12.1, y))
        sheet += e.Resistor().at((12.1, y)).to((14.1, y))
        sheet += e.Line().at((14.1, y)).to((14.6, y))
        sheet += e.Dot().at((14.2, y))
        text(sheet, 13.1, y - 0.47, _named(into), ACCENT, 9, "center")
        if side == "m":
            sheet += e.Line().at((14.2, y)).to((14.2, 2.6))
            sheet += e.Resistor().at((14.2, 2.6)).to((16.6, 2.6))
            sheet += e.Line().at((16.6, 2.6)).to((16.6, float(op.out[1])))
            text(sheet, 15.4, 3.1, _named(out), ACCENT, 9, "center")
        else:
            sheet += e.Resistor().at((14.2, y)).to((14.2, y - 2.0))
            sheet += e.Ground().at((14.2, y - 2.0))
            text(sheet, 13.72, y - 1.0, _named(out), ACCENT, 9, "right")
    end = float(op.out[1])
    sheet += e.Line().at(op.out).to((20.1, end))
    sheet += e.Dot().at((16.6, end))
    sheet += e.Dot(open=True).at((20.2, end))
    text(sheet, 20.2, end + 0.35, f"sp{i}", INK, 9.5, "center")
    text(sheet, 15.0, 1.75, f"{quad.ref}B", ACCENT, 9, "left")
    into, out = find("inverter, input"), find("inverter, feedback")
    low = -2.0
    sheet += e.Line().at((16.6, end)).to((16.6, low))
    sheet += e.Resistor().at((16.6, low)).to((16.6, low - 1.6))
    text(sheet, 16.12, low - 0.8, _named(into), ACCENT, 9, "right")
    sheet += e.Line().at((16.6, low - 1.6)).to((17.4, low - 1.6))
    sheet += (inverter := e.Opamp().right().scale(0.75).at((17.4, low - 1.6)).anchor("in1"))
    sheet += e.Line().at(inverter.in2).toy(-4.8)
    sheet += e.Ground().at((17.4, -4.8)).scale(0.8)
    out_y = float(inverter.out[1])
    sheet += e.Dot().at((17.1, low - 1.6))
    sheet += e.Line().at((17.1, low - 1.6)).to((17.1, low))
    sheet += e.Resistor().at((17.1, low)).to((19.5, low))
    sheet += e.Line().at((19.5, low)).to((19.5, out_y))
    sheet += e.Line().at(inverter.out).to((20.1, out_y))
    sheet += e.Dot().at((19.5, out_y))
    sheet += e.Dot(open=True).at((20.2, out_y))
    text(sheet, 20.2, out_y + 0.35, f"sn{i}", INK, 9.5, "center")
    text(sheet, 18.3, low + 0.45, _named(out), ACCENT, 9, "center")
    text(sheet, 18.3, low - 0.85, f"{quad.ref}C", ACCENT, 9, "center")


def _detector(sheet: Any, i: int, find: _Finder) -> None:
    """Draw what watches v: high pass, amplifier, two comparators on one wire."""
    top = -7.4
    room(sheet, 0.3, 20.9, -12.9, -5.9, "convergence detector")
    quad = find("integrator")
    sheet += e.Dot(open=True).at((1.0, top))
    text(sheet, 1.0, top + 0.35, f"v{i}", INK, 9.5, "center")
    sheet += e.Capacitor().at((1.1, top)).to((3.5, top))
    text(sheet, 2.3, top + 0.55, _named(find("lag", f"v{i}")), ACCENT, 9, "center")
    sheet += e.Line().at((3.5, top)).to((6.0, top))
    sheet += e.Dot().at((4.2, top))
    sheet += e.Resistor().at((4.2, top)).to((4.2, top - 2.2))
    sheet += e.Ground().at((4.2, top - 2.2))
    lag = next(c for c in find.parts if c.role == "lag" and c.part.letter == "R")
    text(sheet, 3.72, top - 1.1, _named(lag), ACCENT, 9, "right")
    sheet += (op := e.Opamp().right().flip().at((6.0, top)).anchor("in2"))
    low = float(op.in1[1])
    sheet += e.Line().at(op.in1).to((5.6, low))
    sheet += e.Line().at((5.6, low)).to((5.6, low - 1.4))
    sheet += e.Resistor().at((5.6, low - 1.4)).to((8.0, low - 1.4))
    sheet += e.Line().at((8.0, low - 1.4)).to((8.0, float(op.out[1])))
    sheet += e.Resistor().at((5.6, low - 1.4)).to((5.6, low - 3.0))
    sheet += e.Ground().at((5.6, low - 3.0)).scale(0.8)
    sheet += e.Dot().at((5.6, low - 1.4))
    text(sheet, 6.8, low - 0.9, _named(find("gain, feedback")), ACCENT, 9, "center")
    text(sheet, 5.9, low - 2.3, _named(find("gain, to ground")), ACCENT, 9, "left")
    text(sheet, 6.6, top + 0.6, f"{quad.ref}D", ACCENT, 9, "left")
    end = float(op.out[1])
    sheet += e.Line().at(op.out).to((10.0, end))
    sheet += e.Dot().at((8.0, end))
    sheet += e.Dot().at((10.0, end))
    text(sheet, 9.0, end + 0.3, f"moved{i}", INK, 9, "center")
    sheet += e.Line().at((10.0, end)).to((10.0, -7.6))
    sheet += e.Line().at((10.0, end)).to((10.0, -11.2))
    _comparators(sheet, i, find)


def _comparators(sheet: Any, i: int, find: _Finder) -> None:
    ends = []
    for at, part, level, above in (
        (-7.6, find(f"pulls STILL down while v{i} moves, above"), "level_p", True),
        (-11.2, find(f"pulls STILL down while v{i} moves, below"), "level_m", False),
    ):
        comparator = e.Opamp().right().scale(0.85)
        if above:
            sheet += (placed := comparator.at((11.6, at)).anchor("in1"))
            other = float(placed.in2[1])
        else:
            sheet += (placed := comparator.at((11.6, at)).anchor("in2"))
            other = float(placed.in1[1])
        sheet += e.Line().at((10.0, at)).to((11.6, at))
        sheet += e.Line().at((11.6, other)).to((11.2, other))
        sheet += e.Dot(open=True).at((11.1, other))
        text(sheet, 10.75, other + (-0.35 if above else 0.35), level, INK, 8.5, "center")
        text(sheet, 12.2, at + (0.5 if above else -0.55), _named(part), ACCENT, 9, "left")
        sheet += e.Line().at(placed.out).to((15.2, float(placed.out[1])))
        ends.append(float(placed.out[1]))
    sheet += e.Line().at((15.2, ends[0])).to((15.2, ends[1]))
    sheet += e.Dot().at((15.2, ends[0]))
    sheet += e.Line().at((15.2, ends[0])).to((20.1, ends[0]))
    sheet += e.Dot(open=True).at((20.2, ends[0]))
    text(sheet, 20.2, ends[0] + 0.35, "STILL", INK, 9.5, "center")
    pull = find("pull-up of the wired")
    text(sheet, 17.9, ends[0] - 0.45, f"wired AND of all neurons, {_named(pull)} to +5V", MUTED, 9, "center")
