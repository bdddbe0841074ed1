"""Technology nodes: what an energy at one node is at another, by a law whose exponents are data with sources."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Literal

from equilog.cost.span import Span
from equilog.hardware.technology.figure import Figure
from equilog.names import Strict, load_yaml, parse

Kind = Literal["logic", "sram", "dram"]
"""what an energy is spent in: gates and registers, memory on the chip, the interface to memory beside it"""


class Nodes(Strict):
    """Exponents k of ``E(n) = E(n₀) (n/n₀)^k``, below and above the node where the two ranges meet."""

    break_nanometre: Figure
    logic_below: Figure
    logic_above: Figure
    sram_below: Figure
    sram_above: Figure
    dram: Figure
    speed: Figure
    """of rates: ``rate(n) = rate(n₀) (n₀/n)^k``"""


@cache
def nodes() -> Nodes:
    """Return the law that ships with equilog."""
    with resources.as_file(resources.files("equilog.cost") / "nodes.yaml") as path:
        return parse(Nodes, load_yaml(path), "equilog's technology nodes")


def energy_factor(kind: Kind, from_nanometre: float, to_nanometre: float) -> Span:
    """Return what an energy per operation is multiplied with on the way from one node to another.

    Raises:
        ValueError: for a node that is not above 0.
    """
    _check(from_nanometre, to_nanometre)
    law = nodes()
    if kind == "dram":
        return _power(to_nanometre / from_nanometre, law.dram)
    below, above = (law.logic_below, law.logic_above) if kind == "logic" else (law.sram_below, law.sram_above)
    corner = float(law.break_nanometre)
    # The law is continuous: each part of the way has the exponent of its range.
    lower = min(to_nanometre, corner) / min(from_nanometre, corner)
    upper = max(to_nanometre, corner) / max(from_nanometre, corner)
    return _power(lower, below) * _power(upper, above)


def rate_factor(from_nanometre: float, to_nanometre: float) -> Span:
    """Return what a rate is multiplied with likewise; raises ``ValueError`` as :func:`energy_factor`."""
    _check(from_nanometre, to_nanometre)
    return _power(from_nanometre / to_nanometre, nodes().speed)


def _power(ratio: float, exponent: Figure) -> Span:
    low, typical, high = (ratio**k for k in exponent.bounds())
    return Span(low=min(low, high), typical=typical, high=max(low, high))


def _check(*nanometres: float) -> None:
    for nanometre in nanometres:
        if not 0 < nanometre < float("inf"):
            raise ValueError(f"node = {nanometre} nm: expected a length above 0, such as 7 or 130")
