"""What became of every layer of a network, or what could."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from equilog.conversion.layers import DigitalEquilibrium, Equilibrium, OnChip
from equilog.conversion.sites import Site, sites


@dataclass(frozen=True)
class Row:
    """One layer.

    Attributes:
        name: in the network; empty for the network itself.
        kind: "equilibrium", "product" or "digital".
        module: its class.
        shape: sizes and ranges, in words.
        compiles: whether its `cell` can be written as a circuit.
        note: what it guarantees, what it could become, or why it cannot.
    """

    name: str
    kind: str
    module: str
    shape: str
    compiles: bool
    note: str


@dataclass(frozen=True)
class Report:
    """All layers that have parameters, in the network's order; ``str`` makes a table."""

    rows: tuple[Row, ...]

    def __getitem__(self, name: str) -> Row:
        """Return the row of a layer; raises ``KeyError`` for a name that is not there."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def __str__(self) -> str:
        head = ("layer", "is", "class", "shape", "circuit", "note")
        body = [
            (r.name or "(all)", r.kind, r.module, r.shape, "yes" if r.compiles else "no", r.note) for r in self.rows
        ]
        widths = [max(len(row[k]) for row in [head, *body]) for k in range(len(head) - 1)]
        lines = ["  ".join([*(c.ljust(w) for c, w in zip(row, widths)), row[-1]]) for row in [head, *body]]
        return "\n".join(line.rstrip() for line in lines)


def report(model: nn.Module) -> Report:
    """Return what every layer of a network is, and why; of a network not yet converted, what it could become."""
    rows = []
    for site in sites(model).values():
        module = site.module
        if isinstance(module, Equilibrium):
            rows.append(_row(site, "equilibrium", module.describe(), _promise(module), compiles=True))
        elif isinstance(module, OnChip):
            rows.append(_row(site, "product", module.describe(), "bias added digitally; no circuit is written"))
        elif isinstance(module, DigitalEquilibrium):
            rows.append(_row(site, "digital", "", f"equilibrium, does not compile: {module.reason}"))
        elif module._parameters or _is_layer(module):
            rows.append(_row(site, "digital", _shape(module), _possible(site)))
    return Report(tuple(rows))


def _row(site: Site, kind: str, shape: str, note: str, *, compiles: bool = False) -> Row:
    return Row(site.name, kind, type(site.module).__name__, shape, compiles, note)


def _promise(module: Equilibrium) -> str:
    margin = float(module.cell.recurrent.margin)  # type: ignore[arg-type]  # a buffer of KeptMargin
    if margin > 0:
        return f"margin ≥ {margin:.2g}: one equilibrium"
    return f"margin {margin:.2g}: it may have several equilibria, or none that a chip comes to rest at"


def _possible(site: Site) -> str:
    can = site.can()
    if kinds := [kind for kind, reason in can.items() if not reason]:
        return "can become " + " or ".join(kinds)
    return can["product" if site.linear else "equilibrium"]


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, (nn.RNNBase, nn.RNNCellBase))


def _shape(module: nn.Module) -> str:
    weight = module._parameters.get("weight")
    return "" if weight is None else " × ".join(map(str, weight.shape))
