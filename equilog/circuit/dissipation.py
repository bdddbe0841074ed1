"""What the resistors of a written circuit dissipate at rest, from its own deck lines and the voltages of its sources.

Given are the voltages of all outputs: amplifiers, activations, DACs, reference. Everything between them is resistors,
so that virtual grounds and the nodes along wires follow from Kirchhoff's current law, one sparse factorisation for all
samples. The amplifiers' gain, offsets and rails are in the voltages given; no model of them is needed here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu

from equilog.circuit.elements import Element
from equilog.circuit.parts import block_of, is_physical

Array = NDArray[np.float64]


def block_watt(found: Iterable[Element], volt: Mapping[str, Array]) -> dict[str, float]:
    """Return what the resistors of each block dissipate, mean over samples.

    Args:
        found: the circuit, of :func:`equilog.circuit.elements.elements`.
        volt: of nodes, each of shape ``(samples,)``; at least every output that a resistor hangs on.

    Returns:
        watts by block, blocks without resistors left out.

    Raises:
        ValueError: if a node hangs on nothing whose voltage is given.
    """
    found = list(found)
    resistors = [e for e in found if e.name[0] == "r" and is_physical(e)]
    currents = [e for e in found if e.name[0] == "i" and e.value]
    node_volt = _with_inner_nodes(resistors, currents, volt)
    watts: dict[str, float] = defaultdict(float)
    for element in resistors:
        a, b = (node_volt[node] for node in element.nodes)
        watts[block_of(element)] += float(np.mean((a - b) ** 2)) / _ohm(element)
    return dict(watts)


def _with_inner_nodes(resistors: list[Element], currents: list[Element], volt: Mapping[str, Array]) -> dict[str, Array]:
    """Return the voltages of all nodes that a resistor touches: ``L v = injected − what comes from given nodes``."""
    samples = len(next(iter(volt.values())))
    known = {"0": np.zeros(samples), **{node: np.asarray(v, dtype=np.float64) for node, v in volt.items()}}
    inner = list(dict.fromkeys(node for e in resistors for node in e.nodes if node not in known))
    if not inner:
        return known
    index = {node: k for k, node in enumerate(inner)}
    rows: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    flows = np.zeros((len(inner), samples))
    for element in resistors:
        g = 1 / _ohm(element)
        for here, there in (element.nodes, element.nodes[::-1]):
            if here not in index:
                continue
            rows.append(index[here])
            columns.append(index[here])
            values.append(g)
            if there in index:
                rows.append(index[here])
                columns.append(index[there])
                values.append(-g)
            else:
                flows[index[here]] += g * known[there]
    for element in currents:
        # A source "Iname a b dc i" takes i out of a and puts it into b.
        for node, sign in zip(element.nodes, (-1.0, 1.0)):
            if node in index:
                flows[index[node]] += sign * (element.value or 0.0)
    matrix = csc_array((values, (rows, columns)), shape=(len(inner), len(inner)))
    try:
        solved = splu(matrix).solve(flows)
    except RuntimeError:
        raise ValueError(
            f"some of the nodes {', '.join(inner[:5])}, … hang on nothing whose voltage is given; expected those of "
            "all outputs"
        ) from None
    return known | dict(zip(inner, solved))


def _ohm(element: Element) -> float:
    if not element.value:
        raise ValueError(f"resistor {element.label} has no resistance, expected one above 0 ohm")
    return element.value
