"""A measured activation as a SPICE subcircuit: the twin's spline, piece by piece, digit for digit."""

from __future__ import annotations

import re

from equilog.cells import MonotoneSpline


def curve_subckt(spline: MonotoneSpline) -> str:
    """Return ``.subckt activation v sp sn va= vs= gain= vos=`` with the spline in place of the tanh.

    ``V(sp) = vs gain f((V(v) − vos)/va)``, ``V(sn) = −V(sp)``; held beyond the measured points, as the twin holds it.
    The piece is found by a balanced tree of comparisons: ngspice evaluates only the branch it takes, so an evaluation
    costs the logarithm of the number of points. Nothing but numbers reaches the deck.
    """
    knots, ends = spline.knots.tolist(), (spline.values[0], spline.values[-1])
    pieces = [_piece(knot, *row) for knot, row in zip(knots, spline.coefficients.tolist())]
    leaves = [_number(float(ends[0])), *pieces, _number(float(ends[1]))]
    return "\n".join(
        [
            "* Activation s = vs * gain * f((v - vos)/va), in both polarities so that a weight of either sign is one",
            "* resistor. f: a measured curve as a monotone cubic spline, held at its ends; x: input in units of va.",
            "* ngspice keeps 11 digits of a number in a B source: (a+b) adds the rest of a double.",
            ".subckt activation v sp sn va=0.2 vs=0.2 gain=1 vos=0",
            "Bin x 0 V=(V(v)-({vos}))/{va}",
            "Bact sp 0 V={vs*gain}*",
            f"+ {_tree(knots, leaves)}",
            "Einv sn 0 sp 0 -1",
            ".ends activation",
            "",
        ]
    )


def with_curve(blocks: str, spline: MonotoneSpline) -> str:
    """Return the text of ``blocks.lib`` with its activation, and the comment above it, replaced.

    Raises:
        ValueError: if it does not hold exactly one subcircuit of that name.
    """
    found = re.subn(
        r"(?:^\*[^\n]*\n)*^\.subckt activation .*?^\.ends activation\n",
        lambda _: curve_subckt(spline),
        blocks,
        flags=re.MULTILINE | re.DOTALL,
    )
    if found[1] != 1:
        raise ValueError(f"expected one subcircuit called activation, found {found[1]}")
    return found[0]


def _tree(knots: list[float], leaves: list[str]) -> str:
    """Return the expression that picks ``leaves[k]`` if k of the knots are at or below x."""
    if not knots:
        return leaves[0]
    middle = len(knots) // 2
    below = _tree(knots[:middle], leaves[: middle + 1])
    above = _tree(knots[middle + 1 :], leaves[middle + 1 :])
    return f"(V(x)<{_number(knots[middle])}?\n+ {below}:\n+ {above})"


def _piece(knot: float, c0: float, c1: float, c2: float, c3: float) -> str:
    t = f"(V(x)-{_number(knot)})"
    return f"({_number(c0)}+{t}*({_number(c1)}+{t}*({_number(c2)}+{t}*{_number(c3)})))"


def _number(value: float) -> str:
    """Return a constant that survives: ngspice writes those of a B source with 11 digits before it parses them."""
    head = float(f"{value:.10e}")
    rest = value - head  # exact: the two are within a factor of two of each other
    return f"({head!r}{rest:+.10e})" if rest else f"({head!r})"
