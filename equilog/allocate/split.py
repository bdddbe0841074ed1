"""The split as a network that runs: chosen layers on their parts of a chip, everything else as it was."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from equilog.allocate.stages import Settling
from equilog.conversion import convert
from equilog.conversion.layers import Equilibrium, OnChip, Product, Reach
from equilog.hardware import Spec

TRANSPARENT = {"bits": 24, "inl_lsb": None, "noise_volt": None}
"""what a link has in the place of a converter"""


def build(
    model: nn.Module,
    spec: Spec,
    kinds: Mapping[str, str],
    sample: tuple[Any, ...],
    *,
    given: Iterable[str] = (),
    read: Iterable[str] = (),
    together: Iterable[Sequence[str]] = (),
) -> nn.Module:
    """Return a copy of a staged model with layers on the technology, ideal until :func:`~equilog.conversion.set_chip`.

    Args:
        model: see :func:`~equilog.allocate.stages.staged`.
        spec: the technology.
        kinds: "product" or "equilibrium" by dotted name; names left out stay digital.
        sample: what the converters' ranges are set by.
        given: layers whose voltages all readers take directly: no ADC stands behind them.
        read: layers that read voltages directly: no DAC stands before them.
        together: layers that listen to the same DACs, and so have one range.
    """
    settling = {name for name in kinds if isinstance(model.get_submodule(name), Settling)}
    rest = {name: kind for name, kind in kinds.items() if name not in settling}
    made = convert(model, spec, rest, sample=sample) if rest else copy.deepcopy(model)
    for name in settling:
        _replace(made, name, _on_chip(made.get_submodule(name), spec))
    layers: dict[str, OnChip] = {n: m for n, m in made.named_modules() if isinstance(m, OnChip)}
    for names in together:
        _one_range([layers[name] for name in names])
    for name in read:
        _reads_voltages(layers[name], spec)
    for name in given:
        layers[name].spec = layers[name].spec.changed(adc=TRANSPARENT)
    return made.eval()


def room(spec: Spec) -> float:
    """Return the largest state that a link carries, in units of V_s: what the ADCs' full scale leaves for mismatch."""
    return float(spec.adc.full_scale_volt) / float(spec.activation.v_out_volt)


def _on_chip(settling: nn.Module, spec: Spec) -> Equilibrium:
    assert isinstance(settling, Settling)
    cell = settling.cell
    shapes = torch.Size([cell.drives]), torch.Size([cell.states])
    return Equilibrium(cell, spec, *shapes, equilibrium=settling.equilibrium)


def _reads_voltages(layer: OnChip, spec: Spec) -> None:
    """States of another crossbar drive the columns: ±1 is V_s, and nothing rounds them."""
    most = room(spec)
    volt = most * float(spec.activation.v_out_volt)
    layer.spec = layer.spec.changed(dac=TRANSPARENT | {"full_scale_volt": volt})
    _set_range(layer, most)


def _one_range(layers: list[OnChip]) -> None:
    """Fit all layers at one bank of DACs to the widest range among them."""
    widest = max(_range(layer) for layer in layers)
    for layer in layers:
        if _range(layer) != widest:
            _set_range(layer, widest)


def _set_range(layer: OnChip, most: float) -> None:
    """Fit the DACs to inputs up to `most`; the ADCs' range, in units of the output, stays."""
    if isinstance(layer, Product):
        product = float(layer.output_scale) * float(layer.input_scale)
        layer.input_scale.fill_(most)
        layer.output_scale.fill_(product / most)
    else:
        layer.rescale(Reach(input=most), 1.0)


def _range(layer: OnChip) -> float:
    if isinstance(layer, Product):
        return float(layer.input_scale)
    assert isinstance(layer, Equilibrium)
    return float(layer.parameterize.scale)


def _replace(model: nn.Module, name: str, made: nn.Module) -> None:
    old = model.get_submodule(name)
    for parent in list(model.modules()):
        for key, child in parent._modules.items():
            if child is old:
                parent._modules[key] = made
