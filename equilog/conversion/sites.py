"""The layers of a network, and what each can become: judged by structure alone, before anything is run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import nn

from equilog.conversion.layers import DigitalEquilibrium, OnChip

Kind = Literal["equilibrium", "product", "digital"]

_ACTIVATIONS = (nn.Tanh, nn.Sigmoid)
_GATED = "gates multiply states with each other, a crossbar multiplies with what is programmed"
_REASONS: dict[type[nn.Module], str] = {
    nn.RNN: "it runs over a sequence and remembers; an equilibrium does not (an RNNCell iterated on one input is one)",
    nn.LSTM: _GATED,
    nn.GRU: _GATED,
    nn.LSTMCell: _GATED,
    nn.GRUCell: _GATED,
    nn.MultiheadAttention: "it multiplies activations with each other, a crossbar with what is programmed",
    nn.Embedding: "a table that is looked up; nothing is computed",
}
# PyTorch's fast paths compute with the weights of their children, and would pass a converted one by.
_BYPASSED = (nn.TransformerEncoderLayer, nn.MultiheadAttention)


@dataclass(frozen=True)
class Site:
    """A module where it stands.

    Attributes:
        name: dotted, in the whole network; empty for the network itself.
        module: what stands there.
        slots: where else it is held: parent and key, more than one if it is shared.
        then: the slot of the activation that follows it in an ``nn.Sequential``, or None.
    """

    name: str
    module: nn.Module
    slots: tuple[tuple[nn.Module, str], ...]
    then: tuple[nn.Module, str] | None

    @property
    def activation(self) -> nn.Module | None:
        """The module that follows, if it is one that a chip can make."""
        follows = None if self.then is None else self.then[0]._modules[self.then[1]]
        return follows if isinstance(follows, _ACTIVATIONS) else None

    @property
    def linear(self) -> bool:
        """Whether it is a plain linear layer or convolution, and nothing that only derives from one."""
        return type(self.module) in (nn.Linear, nn.Conv2d)

    def can(self) -> dict[Kind, str]:
        """Return for each analog kind why it cannot be that: an empty string if it can, as far as structure says."""
        return {"equilibrium": self._no_equilibrium(), "product": self._no_product()}

    def _no_product(self) -> str:
        if not self.linear:
            return self._not_plain() or f"{_kind(self.module)} is no matrix product"
        if isinstance(self.module, nn.Conv2d):
            of = self.module
            if of.groups != 1 or of.padding_mode != "zeros" or isinstance(of.padding, str):
                return "a convolution in groups, or padded with other than a number of zeros"
        return self._unfit()

    def _no_equilibrium(self) -> str:
        module = self.module
        if type(module) is nn.RNNCell and module.nonlinearity != "tanh":
            return f"its activation is {module.nonlinearity}; a chip has tanh"
        if type(module) is nn.RNNCell:
            return self._unfit()
        if type(module) is nn.Linear:
            return self._unfit() or self._alone()
        if type(module).__module__.startswith("torch.nn.") and not isinstance(module, nn.Sequential):
            return self._not_plain() or f"{_kind(module)} is no affine map with an activation behind it"
        return _hooked(module)

    def _alone(self) -> str:
        if self.activation is None:
            what = "no activation" if self.then is None else _kind(self.then[0]._modules[self.then[1]])
            return f"{what} follows it in an nn.Sequential; a neuron of a chip has tanh, or sigmoid by way of it"
        return f"it stands in {len(self.slots)} places, each with what follows it there" if len(self.slots) > 1 else ""

    def _not_plain(self) -> str:
        for kind, reason in _REASONS.items():
            if isinstance(self.module, kind):
                return reason
        for base in (nn.Linear, nn.Conv2d):
            if isinstance(self.module, base) and type(self.module) is not base:
                return f"{_kind(self.module)} is derived from {base.__name__}, and may compute something else"
        return ""

    def _unfit(self) -> str:
        if any(isinstance(parent, _BYPASSED) for parent, _ in self.slots):
            return "the layer around it reads its weights without calling it, on PyTorch's fast path"
        weight = getattr(self.module, "weight", None)
        if weight is not None and not bool(weight.any()):
            return "all its weights are zero, which no conductance can be chosen for; train it first"
        return _hooked(self.module)


def sites(model: nn.Module) -> dict[str, Site]:
    """Return all modules by name, but for those inside converted layers."""
    slots: dict[int, list[tuple[nn.Module, str]]] = {}
    found: dict[str, nn.Module] = {}
    for name, module in _walk(model, "", set()):
        found[name] = module
        for key, child in () if _closed(module) else module._modules.items():
            slots.setdefault(id(child), []).append((module, key))
    where = {name: tuple(slots.get(id(module), ())) for name, module in found.items()}
    return {name: Site(name, module, where[name], _next(where[name])) for name, module in found.items()}


def called(name: str) -> str:
    """Return a layer's name as messages give it."""
    return f"layer {name!r}" if name else "the model itself"


def _walk(module: nn.Module, name: str, seen: set[int]) -> Iterator[tuple[str, nn.Module]]:
    if id(module) in seen:
        return
    seen.add(id(module))
    yield name, module
    if not _closed(module):
        for key, child in module.named_children():
            yield from _walk(child, f"{name}.{key}" if name else key, seen)


def _closed(module: nn.Module) -> bool:
    """Whether what is inside is nobody's business: it is converted already."""
    return isinstance(module, (OnChip, DigitalEquilibrium))


def _next(where: tuple[tuple[nn.Module, str], ...]) -> tuple[nn.Module, str] | None:
    for parent, key in where:
        if type(parent) is nn.Sequential:
            keys = list(parent._modules)
            place = keys.index(key) + 1
            return (parent, keys[place]) if place < len(keys) else None
    return None


def _hooked(module: nn.Module) -> str:
    hooks = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks
    return "it has hooks, which would be lost" if any(hooks) else ""


def _kind(module: object) -> str:
    return type(module).__name__
