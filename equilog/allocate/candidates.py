"""What each operation could become on a chip, made once as a layer: to be priced, and to be tried alone.

A product of a linear layer or a convolution; an equilibrium of a linear layer with tanh or sigmoid behind it, which
takes both operations, of a cell that the caller names, and of the equilibrium of a ``HybridDEQ``.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from equilog.allocate.graph import Operation
from equilog.allocate.price import AnalogPrice, price
from equilog.allocate.split import build
from equilog.allocate.stages import Settling
from equilog.conversion import ConversionWarning
from equilog.conversion.chips import part_seed
from equilog.conversion.layers import EquilibriumCell, OnChip
from equilog.conversion.sites import Site, sites
from equilog.hardware import Chip, Spec
from equilog.names import Strict, UserError

CHIP = 2_000_000
"""seed of the first chip that is measured on"""


class Capacity(Strict):
    """What there is of a chip; None is no limit.

    A crossbar reads all its inputs at once: a layer needs a tile that has as many, rows of outputs may be on several.
    """

    tile_outputs: int | None = Field(default=None, ge=1)
    tile_inputs: int | None = Field(default=None, ge=1)
    tiles: int | None = Field(default=None, ge=0)
    neurons: int | None = Field(default=None, ge=0)


@dataclass(frozen=True)
class Candidate:
    """One layer as one analog kind.

    Attributes:
        module: dotted name.
        kind: "product" or "equilibrium".
        absorbs: the activation module that it computes too, or None.
        price: what it takes.
        model: the network with this layer alone on the technology.
        heard: which of the layer's tensor inputs DACs play; -1 is the last.
        tiles: crossbars it needs.
    """

    module: str
    kind: str
    absorbs: str | None
    price: AnalogPrice
    model: nn.Module
    heard: int
    tiles: int


@dataclass(frozen=True)
class Refused:
    """A layer that cannot be of a kind, and why."""

    module: str
    kind: str
    reason: str


def candidates(
    model: nn.Module,
    graph: list[Operation],
    spec: Spec,
    sample: tuple[Any, ...],
    capacity: Capacity,
    cells: Collection[str] = (),
) -> tuple[list[Candidate], list[Refused]]:
    """Return all candidates, and why others are none.

    Args:
        model: staged.
        graph: of it.
        spec: the technology.
        sample: inputs that ranges are set and powers are measured with.
        capacity: of the chip.
        cells: modules that may become equilibria besides linear layers.
    """
    found, refused = [], []
    known = sites(model)
    called = dict.fromkeys(op.module for op in graph if op.module is not None)
    for name in called:
        module = model.get_submodule(name)
        follows = _follows(graph, model, name)
        for kind, reason in _reasons(known.get(name), module, follows, name in cells).items():
            if reason:
                refused.append(Refused(name, kind, reason))
                continue
            try:
                found.append(_candidate(model, spec, sample, capacity, name, kind, follows))
            except UserError as error:
                refused.append(Refused(name, kind, str(error)))
    return found, refused


def as_linked(candidate: Candidate, model: nn.Module, spec: Spec, sample: tuple[Any, ...]) -> AnalogPrice | None:
    """Return what a candidate takes where it reads voltages of another crossbar; None if it comes to no rest then."""
    made = build(model, spec, {candidate.module: candidate.kind}, sample, read=[candidate.module])
    try:
        return _priced(made, candidate.module, spec, sample)
    except UserError:
        return None


def _priced(made: nn.Module, name: str, spec: Spec, sample: tuple[Any, ...]) -> AnalogPrice:
    layer = made.get_submodule(name)
    if not isinstance(layer, OnChip):
        raise UserError("it does not become a layer on a chip")
    (met,) = inputs_met(made, {name: layer}, sample).values()
    return price(layer, met, len(sample[0]), Chip(layer.spec, part_seed(CHIP, name)), spec)


def _reasons(site: Site | None, module: nn.Module, follows: str | None, named: bool) -> Mapping[str, str]:
    """Return, for each kind worth a word, why not; an empty string if it can be tried."""
    if isinstance(module, Settling):
        return {"equilibrium": ""}
    if site is None or not (named or site.linear):
        return {}
    can = site.can()
    if named:
        return {"equilibrium": can["equilibrium"]}
    reasons: dict[str, str] = {"product": can["product"]}
    if not can["equilibrium"] and follows is not None:
        reasons["equilibrium"] = ""
    return reasons


def _follows(graph: list[Operation], model: nn.Module, name: str) -> str | None:
    """Return the module that alone reads a layer's result, if conversion takes it for the layer's activation."""
    at = [k for k, op in enumerate(graph) if op.module == name]
    readers = [op for op in graph if set(op.inputs) & set(at)]
    names = {op.module for op in readers}
    if len(readers) != len(at) or len(names) != 1 or any(graph[k].output for k in at):
        return None
    (reader,) = names
    if reader is None or any(any(wire) for op in readers for wire in op.wires):
        return None
    return reader if isinstance(model.get_submodule(reader), (nn.Tanh, nn.Sigmoid)) else None


def _candidate(
    model: nn.Module,
    spec: Spec,
    sample: tuple[Any, ...],
    capacity: Capacity,
    name: str,
    kind: str,
    follows: str | None,
) -> Candidate:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConversionWarning)  # what does not compile is no candidate
        try:
            made = build(model, spec, {name: kind}, sample)
        except ConversionWarning as reason:
            raise UserError(str(reason)) from None
    priced, layer = _priced(made, name, spec, sample), made.get_submodule(name)
    rows, columns = priced.crossbar
    if capacity.tile_inputs is not None and columns > capacity.tile_inputs:
        raise UserError(f"it has {columns} inputs, a tile has {capacity.tile_inputs}")
    tiles = 1 if capacity.tile_outputs is None else -(-rows // capacity.tile_outputs)
    absorbs = follows if kind == "equilibrium" and type(model.get_submodule(name)) is nn.Linear else None
    return Candidate(name, kind, absorbs, priced, made, -1 if isinstance(layer, EquilibriumCell) else 0, tiles)


@torch.no_grad()
def inputs_met(model: nn.Module, layers: Mapping[str, nn.Module], sample: tuple[Any, ...]) -> dict[str, Tensor]:
    """Return what each layer is given first when the model runs; of a cell ``f(z, u)``, u."""
    met: dict[str, Tensor] = {}

    def watch(name: str, layer: nn.Module) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = [*args, *kwargs.values()]
            met.setdefault(name, given[-1 if isinstance(layer, EquilibriumCell) else 0].detach())

        return hook

    handles = [m.register_forward_pre_hook(watch(n, m), with_kwargs=True) for n, m in layers.items()]
    try:
        model(*sample)
    finally:
        for handle in handles:
            handle.remove()
    return met
