"""The graph of a model: its operations, and which result each of them reads.

Traced by ``torch.fx`` where that can see the model's structure, else by ``torch.export``. A module whose code neither
can follow is one operation, and stays digital; so is every module of PyTorch. Views, slices, dropout and identity
compute nothing: they are part of the wire between two operations.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from equilog.allocate.exported import exported
from equilog.allocate.stages import Settling
from equilog.allocate.work import counting
from equilog.cost.digital import Work
from equilog.names import UserError

INPUT = "input"


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        name: of the node, unique.
        module: dotted name of the module that computes it alone; None for a function, or an input of the model.
        what: what it is, in a word.
        inputs: operations whose results it reads.
        wires: for every input, the slices on its way, empty if all of it arrives; they tell two wires apart.
        shapes: of every input as read, at batch 1.
        works: digitally, at batch 1, of everything that PyTorch runs for it; None for an equilibrium, whose steps
            depend on the data.
        output: whether the model returns its result.
    """

    name: str
    module: str | None
    what: str
    inputs: tuple[int, ...]
    wires: tuple[tuple[str, ...], ...]
    shapes: tuple[torch.Size, ...]
    works: tuple[Work, ...] | None
    output: bool = False

    @property
    def label(self) -> str:
        """What people call it."""
        return self.module if self.module is not None else self.name


@torch.no_grad()
def trace(model: nn.Module, sample: tuple[Any, ...], whole: Collection[str] = ()) -> list[Operation]:
    """Return the operations of a model, every one after those it reads.

    Args:
        model: in evaluation mode; see :func:`~equilog.allocate.stages.staged`.
        sample: what to call it with, one sample in a batch of one.
        whole: dotted names of modules that are one operation each, for example cells.

    Raises:
        UserError: if neither tracer follows the model, with what each of them says.
    """
    try:
        model(*sample)
    except Exception as error:  # of a user's own code
        raise UserError(f"{type(model).__name__} cannot be called with the sample: {_short(error)}") from None
    try:
        seen = fx.GraphModule(model, _Tracer(whole).trace(model))
        seen.graph.eliminate_dead_code()
        modules: dict[str, str] = {}
    except Exception as by_fx:  # tracers fail with whatever the traced code makes of a proxy
        try:
            if any(isinstance(m, Settling) for m in model.modules()):
                raise TypeError("it does not follow the solver of an equilibrium")
            seen, modules = exported(model, sample)
        except Exception as by_export:  # as above
            raise UserError(
                f"the graph of {type(model).__name__} cannot be traced. torch.fx: {_short(by_fx)}; torch.export: "
                f"{_short(by_export)}. Move what decides on values of tensors into a module of its own: that becomes "
                "one digital operation"
            ) from None
    return _Walk(seen, modules).operations(sample)


class _Tracer(fx.Tracer):
    """fx, with equilibria and the modules named as leaves, and with what it cannot follow as one more."""

    def __init__(self, whole: Collection[str]) -> None:
        super().__init__()
        self.whole = set(whole)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if module_qualified_name in self.whole or isinstance(m, Settling):
            return True
        return super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        name = self.path_of_module(m)
        if not self.is_leaf_module(m, name):
            try:
                return super().call_module(m, forward, args, kwargs)
            except Exception:  # what a proxy does to a user's code is unforeseeable
                self.whole.add(name)  # what was traced of it so far is read by nobody, and goes
        return super().call_module(m, forward, args, kwargs)


class _Walk:
    """Runs a traced graph once, looking at every result."""

    def __init__(self, seen: fx.GraphModule, modules: dict[str, str]) -> None:
        self.seen, self.modules = seen, modules
        self.weights = list(seen.parameters())
        self.values: dict[fx.Node, Any] = {}
        self.found: list[Operation] = []
        self.wire: dict[fx.Node, tuple[int, tuple[str, ...]] | None] = {}
        """the operation that a node's value comes from, and by which slices; None for constants"""

    def operations(self, sample: tuple[Any, ...]) -> list[Operation]:
        given = iter(sample)
        for node in self.seen.graph.nodes:
            if node.op == "output":
                return self._ended(node)
            if node.op == "placeholder":
                self.values[node] = next(given, *node.args[:1])
                is_tensor = isinstance(self.values[node], Tensor)
                self.wire[node] = self._add(node, None, INPUT, ()) if is_tensor else None
            elif node.op == "get_attr":
                self.values[node], self.wire[node] = _attribute(self.seen, node.target), None
            else:
                self._call(node)
        raise AssertionError("a graph without an output")

    def _call(self, node: fx.Node) -> None:
        module = self.seen.get_submodule(str(node.target)) if node.op == "call_module" else None
        args: Any = map_arg(node.args, self.values.__getitem__)
        kwargs: Any = map_arg(node.kwargs, self.values.__getitem__)
        target: Any = node.target
        works: tuple[Work, ...] | None = None
        with counting(self.weights) as counter:
            if isinstance(module, Settling):
                counter.pause()
            if module is not None:
                value = module(*args, **kwargs)
            elif node.op == "call_method":
                value = getattr(args[0], target)(*args[1:], **kwargs)
            else:
                value = target(*args, **kwargs)
            if not isinstance(module, Settling):
                works = tuple(counter.works)
        self.values[node] = value
        sources = self._sources(node)
        name = str(node.target) if module is not None else self.modules.get(node.name)
        parameters = module is not None and any(True for _ in module.parameters())
        free = works is not None and not works and not parameters
        if not sources or not _has_tensor(value):
            self.wire[node] = None  # numbers and shapes; and constants, which are made once
        elif free and len(sources) == 1:
            source, slices = sources[0][1]
            cut = _size(value) != _size(self.values[sources[0][0]])
            self.wire[node] = source, (*slices, node.name) if cut else slices
        else:
            self.wire[node] = self._add(node, name, _what(node, module), works, sources)

    def _sources(self, node: fx.Node) -> list[tuple[fx.Node, tuple[int, tuple[str, ...]]]]:
        return [(n, wire) for n in node.all_input_nodes if (wire := self.wire[n]) is not None]

    def _add(
        self,
        node: fx.Node,
        module: str | None,
        what: str,
        works: tuple[Work, ...] | None,
        sources: list[tuple[fx.Node, tuple[int, tuple[str, ...]]]] | None = None,
    ) -> tuple[int, tuple[str, ...]]:
        sources = sources or []
        self.found.append(
            Operation(
                node.name,
                module,
                what,
                tuple(wire[0] for _, wire in sources),
                tuple(wire[1] for _, wire in sources),
                tuple(v.shape if isinstance(v := self.values[n], Tensor) else torch.Size() for n, _ in sources),
                works,
            )
        )
        return len(self.found) - 1, ()

    def _ended(self, node: fx.Node) -> list[Operation]:
        returned = {wire[0] for n in node.all_input_nodes if (wire := self.wire[n]) is not None}
        if not returned:
            raise UserError("the model returns nothing that depends on its input")
        return [
            Operation(**{**op.__dict__, "output": True}) if k in returned else op for k, op in enumerate(self.found)
        ]


def _attribute(root: nn.Module, target: Any) -> Any:
    value: Any = root
    for part in str(target).split("."):
        value = getattr(value, part)
    return value


def _what(node: fx.Node, module: nn.Module | None) -> str:
    if module is not None:
        return type(module).__name__
    target = node.target
    return str(target) if isinstance(target, str) else getattr(target, "__name__", str(target)).split(".")[0]


def _has_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, (tuple, list)) and any(map(_has_tensor, value)))


def _size(value: Any) -> int:
    return value.numel() if isinstance(value, Tensor) else sum(map(_size, value)) if _has_tensor(value) else 0


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
