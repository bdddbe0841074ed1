"""Layers of a PyTorch network made analog: products on crossbars, and equilibria on chips."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from equilog.cells import CircuitCell
from equilog.cells.monotone import check_margin
from equilog.conversion.calibrate import ConversionWarning, calibrate, evaluating
from equilog.conversion.choose import Layers, choose
from equilog.conversion.layers import (
    DigitalEquilibrium,
    Equilibrium,
    EquilibriumCell,
    EquilibriumRNNCell,
    OnChip,
    Product,
    ProductConv2d,
)
from equilog.conversion.recognise import Affine, NotAffine, recognise
from equilog.conversion.sites import Kind, Site, called, sites
from equilog.conversion.weight import KeptMargin
from equilog.equilibrium import EquilibriumLayer
from equilog.hardware import Spec, load_spec
from equilog.names import UserError


def convert(
    model: nn.Module,
    hardware: str | Path | Spec = "rram",
    layers: Layers = None,
    *,
    sample: Any = None,
    margin: float = 0.3,
    equilibrium: EquilibriumLayer | None = None,
) -> nn.Module:
    """Return a copy of a network with layers on analog hardware; it computes what the original does, until trained on.

    What a layer can become:

    - **product**, of an ``nn.Linear`` or ``nn.Conv2d``: the matrix product on a crossbar.
    - **equilibrium**, of an ``nn.Linear`` that Tanh or Sigmoid follows in an ``nn.Sequential``, or of any module that
      computes such a thing: ``p = W z + U x + b`` with W = 0, which training may then use.
    - **equilibrium**, of an ``nn.RNNCell`` or a cell ``f(z, u)``: its fixed point under u, whatever z it is given.
      A cell that is not tanh or sigmoid of an affine map is settled digitally, with a warning that says why.

    The copy is ideal at first: :func:`~equilog.conversion.set_chip` puts it on chips,
    :func:`~equilog.conversion.report` says what became of each layer.

    Args:
        model: any network, or a single layer or cell; stays as it is.
        hardware: preset, path of a technology file, or technology.
        layers: which, by dotted name (``""`` is the model itself) or pattern (``"encoder.*"``, among linear layers and
            convolutions): a mapping from these to "equilibrium", "product" or "digital"; or a list, each becoming an
            equilibrium if it can and else a product; or a function ``(name, module) ->`` kind or bool. All linear
            layers and convolutions unless given. Names win over patterns, and earlier patterns over later ones.
        sample: an input, or a tuple of them, to call the model with: sets the converters' ranges (see
            :func:`~equilog.conversion.calibrate`) and shows the shapes that a cell is called with. Without it inputs
            are taken to lie within ±1.
        margin: of the equilibria, see :class:`~equilog.conversion.KeptMargin`; a given recurrent weight with less
            keeps its own.
        equilibrium: how they settle; each layer gets a copy.

    Warns:
        ConversionWarning: naming a cell that does not compile, with the reason.

    Raises:
        UserError: for unknown names, kinds or presets; a layer that cannot become what was asked, with the reason; a
            cell without a sample that reaches it.
        ValueError: for a margin that is not in (0, 1].
    """
    spec = hardware if isinstance(hardware, Spec) else load_spec(hardware)
    check_margin(margin)
    inputs = sample if isinstance(sample, tuple) else () if sample is None else (sample,)
    made = copy.deepcopy(model)
    found = sites(made)
    chosen = choose(found, layers)
    cells = [name for name, kind in chosen.items() if kind == "equilibrium" and not _built_in(found[name].module)]
    met = _arguments(made, {name: found[name].module for name in cells}, inputs) if cells else {}
    with torch.random.fork_rng(devices=[]):  # no draw is used: the caller's stay as they were
        for name, kind in chosen.items():
            site = found[name]
            settle = copy.deepcopy(equilibrium)
            made = _put(made, site, _converted(site, kind, met.get(name), spec, margin, settle))
    if inputs and any(isinstance(module, OnChip) for module in made.modules()):
        calibrate(made, *inputs)
    return made


def _built_in(module: nn.Module) -> bool:
    return type(module) in (nn.Linear, nn.RNNCell)


def _converted(
    site: Site,
    kind: Kind,
    args: tuple[Tensor, ...] | None,
    spec: Spec,
    margin: float,
    settle: EquilibriumLayer | None,
) -> nn.Module:
    module = site.module
    if kind == "product":
        if isinstance(module, nn.Conv2d):
            return _like(module, ProductConv2d(module, spec))
        weight, bias = module._parameters["weight"], module._parameters["bias"]
        assert weight is not None
        return _like(module, Product(weight, bias, spec))
    if isinstance(module, nn.RNNCell):
        affine = _of_rnn_cell(module)
        return _like(module, _equilibrium(EquilibriumRNNCell, affine, module, spec, margin, settle))
    if isinstance(module, nn.Linear):
        affine = _of_linear(module, site.activation)
        return _like(module, _equilibrium(Equilibrium, affine, module, spec, margin, settle))
    assert args is not None
    try:
        affine = recognise(module, args)
    except NotAffine as reason:
        if len(args) != 2:
            raise UserError(f"{called(site.name)} cannot become an equilibrium: {reason}") from None
        warnings.warn(
            f"{called(site.name)} ({type(module).__name__}) does not compile and is settled digitally: {reason}",
            ConversionWarning,
            stacklevel=3,
        )
        return _like(module, DigitalEquilibrium(module, str(reason), settle))
    kind_of_layer = EquilibriumCell if len(args) == 2 else Equilibrium
    return _like(module, _equilibrium(kind_of_layer, affine, _first(module, args), spec, margin, settle))


def _of_linear(module: nn.Linear, activation: nn.Module | None) -> Affine:
    u = module.weight.detach().double()
    b = u.new_zeros(len(u)) if module.bias is None else module.bias.detach().double()
    w, inputs, states = u.new_zeros(len(u), len(u)), torch.Size([u.shape[1]]), torch.Size([len(u)])
    if isinstance(activation, nn.Sigmoid):  # σ(p) = ½ + ½ tanh(p/2)
        return Affine(w, u / 2, b / 2, 0.5, 0.5, inputs, states)
    return Affine(w, u, b, 1.0, 0.0, inputs, states)


def _of_rnn_cell(module: nn.RNNCell) -> Affine:
    w, u = module.weight_hh.detach().double(), module.weight_ih.detach().double()
    b = module.bias_ih.detach().double() + module.bias_hh.detach().double() if module.bias else u.new_zeros(len(u))
    return Affine(w, u, b, 1.0, 0.0, torch.Size([u.shape[1]]), torch.Size([len(u)]))


def _equilibrium(
    kind: type[Equilibrium],
    affine: Affine,
    of: nn.Module | Tensor,
    spec: Spec,
    margin: float,
    settle: EquilibriumLayer | None,
) -> Equilibrium:
    like = of if isinstance(of, Tensor) else next(of.parameters())
    n, m = affine.input_weight.shape
    weight, u, b = (t.to(like.device, like.dtype) for t in (affine.weight, affine.input_weight, affine.bias))
    cell = CircuitCell(n, m, recurrent=KeptMargin(weight, margin))
    cell.input_weight, cell.bias = nn.Parameter(u.clone()), nn.Parameter(b.clone())
    trains = [p.requires_grad for p in of.parameters()] if isinstance(of, nn.Module) else [True]
    cell.requires_grad_(any(trains))
    return kind(cell, spec, affine.inputs, affine.states, gain=affine.gain, shift=affine.shift, equilibrium=settle)


def _first(module: nn.Module, args: tuple[Tensor, ...]) -> nn.Module | Tensor:
    """What a cell's precision is taken from: its parameters, or its input if it has none."""
    return module if next(module.parameters(), None) is not None else args[-1]


def _like(module: nn.Module, made: nn.Module) -> nn.Module:
    for part in made.modules():
        if part is module:
            break  # a cell that stays what it is, its parts in modes of their own
        part.training = module.training
    return made


def _put(model: nn.Module, site: Site, made: nn.Module) -> nn.Module:
    """Return the model with a layer replaced wherever it stands, and the activation that it took over gone."""
    if isinstance(made, Equilibrium) and type(site.module) is nn.Linear and site.then is not None:
        parent, key = site.then
        parent._modules[key] = nn.Identity()
    for parent, key in site.slots:
        parent._modules[key] = made
    return made if site.module is model else model


def _arguments(model: nn.Module, cells: dict[str, nn.Module], inputs: Iterable[Any]) -> dict[str, tuple[Tensor, ...]]:
    """Return what each cell is called with first when the model runs."""
    inputs = tuple(inputs)
    if not inputs:
        raise UserError(
            f"{called(next(iter(cells)))} is a module of your own: give sample=…, an input of the model, so that the "
            "shapes it is called with are known"
        )
    met: dict[str, tuple[Tensor, ...]] = {}

    def watch(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            met.setdefault(name, _checked(name, args, kwargs))

        return hook

    handles = [cell.register_forward_pre_hook(watch(name), with_kwargs=True) for name, cell in cells.items()]
    try:
        with torch.no_grad(), evaluating(model):
            model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    for name in cells:
        if name not in met:
            raise UserError(f"the sample never reaches {called(name)}: what it is called with is not known")
    return met


def _checked(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, ...]:
    tensors = all(isinstance(a, Tensor) and a.is_floating_point() and a.ndim >= 2 for a in args)
    if kwargs or len(args) not in (1, 2) or not tensors or len({len(a) for a in args}) > 1:
        what = [tuple(a.shape) if isinstance(a, Tensor) else type(a).__name__ for a in args]
        raise UserError(
            f"{called(name)} is called with {what}{f' and {sorted(kwargs)} by name' if kwargs else ''}: expected "
            "f(z, u) or f(x) on tensors with the batch first, without keywords"
        )
    return tuple(a.detach() for a in args)
