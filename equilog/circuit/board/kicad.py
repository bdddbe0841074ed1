"""The board as a netlist that KiCad's board editor imports: ``(export (version "E") …)``, as eeschema writes it."""

from __future__ import annotations

import uuid

from equilog.circuit.board.design import Board, Component

_NAMESPACE = uuid.UUID("6b0e3a6e-7f0e-5d0c-9b0e-2f1f5c1d8a11")


def netlist(board: Board) -> str:
    """Return the netlist; the same board gives the same text."""
    layer = board.nominal
    lines = [
        '(export (version "E")',
        "  (design",
        f"    (source {_quoted(f'equilog: {layer.states} neurons, {layer.drives} drives')})",
        '    (tool "equilog"))',
        "  (components",
    ]
    for component in board.components:
        lines += _component(component)
    lines[-1] += ")"
    lines.append("  (nets")
    types = {(c.ref, number): _pin_type(c, number) for c in board.components for number in c.nets}
    functions = {(c.ref, number): name for c in board.components for number, name in c.part.pins.items()}
    for code, (net, nodes) in enumerate(board.nets().items(), start=1):
        lines.append(f"    (net (code {_quoted(str(code))}) (name {_quoted(net)})")
        for ref, number in nodes:
            name = functions[ref, number]
            function = "" if name == "~" else f" (pinfunction {_quoted(name)})"
            lines.append(
                f"      (node (ref {_quoted(ref)}) (pin {_quoted(number)}){function} "
                f"(pintype {_quoted(types[ref, number])}))"
            )
        lines[-1] += ")"
    lines[-1] += "))"
    return "\n".join(lines) + "\n"


def _component(component: Component) -> list[str]:
    part = component.part
    fields = {"Manufacturer": part.maker, "MPN": part.code, "Block": component.block, "Role": component.role}
    given = [(name, value) for name, value in fields.items() if value]
    stamp = uuid.uuid5(_NAMESPACE, component.ref)
    return [
        f"    (comp (ref {_quoted(component.ref)})",
        f"      (value {_quoted(part.value)})",
        f"      (footprint {_quoted(part.footprint)})",
        "      (fields " + " ".join(f"(field (name {_quoted(k)}) {_quoted(v)})" for k, v in given) + ")",
        f"      (libsource (lib {_quoted(part.library)}) (part {_quoted(part.name)}) "
        f"(description {_quoted(part.description)}))",
        '      (sheetpath (names "/") (tstamps "/"))',
        f"      (tstamps {_quoted(str(stamp))}))",
    ]


def _pin_type(component: Component, number: str) -> str:
    name, net = component.part.pins[number], component.nets[number]
    if net.startswith("unconnected-"):
        return "no_connect"
    if component.part.letter != "U":
        return "passive"
    if name in ("V+", "V-", "GND", "AVDD", "AVCC", "AGND", "VDRIVE", "REFGND"):
        return "power_in"
    if name.startswith("OUT"):
        return "open_collector" if component.part.value == "LM311" else "output"
    return "output" if name.startswith(("VOUT", "DOUT", "BUSY")) else "passive" if name in ("K", "A", "NC") else "input"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
