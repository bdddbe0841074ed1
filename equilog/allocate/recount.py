"""What a split took when it ran, counted from the running network alone: no graph, no programme.

Every layer on a chip is watched. Its DACs play once for all layers that are given the same numbers in memory in the
same format; its power and settling are measured again, on the chip it runs on. All else that PyTorch runs is counted as
it is dispatched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from equilog.allocate.candidates import inputs_met
from equilog.allocate.price import AnalogPrice, price, settling_work
from equilog.allocate.stages import Settling
from equilog.allocate.work import WorkCounter, counting
from equilog.conversion import set_chip
from equilog.conversion.layers import EquilibriumCell, OnChip
from equilog.cost.digital import DigitalTarget, Work
from equilog.cost.span import Span, total
from equilog.hardware import Spec


@dataclass(frozen=True)
class Recount:
    """One inference at batch 1.

    Attributes:
        energy_joule, latency_second: of all of it.
        dac_conversions, adc_conversions: numbers converted.
        macs, activations: computed digitally, equilibria included.
    """

    energy_joule: Span
    latency_second: Span
    dac_conversions: int
    adc_conversions: int
    macs: float
    activations: float


@torch.no_grad()
def recount(
    split: nn.Module,
    spec: Spec,
    target: DigitalTarget,
    sample: tuple[Any, ...],
    seed: int | None,
    inputs: Literal["chip", "ideal"] = "chip",
) -> Recount:
    """Run a split on a chip and count.

    Args:
        split: built by :func:`~equilog.allocate.split.build`; ideal again afterwards.
        spec: the technology.
        target: the digital computer.
        sample: inputs; powers are means over them, the counts are of the first.
        seed: the chip; None for a split that needs none.
        inputs: under which power and settling are measured: those that a layer gets on the chip, behind the errors of
            others, or those of the ideal network, as prices are.

    Raises:
        Unpriceable: if a layer does not come to rest on that chip.
    """
    watch = _Watch(split)
    ideal = inputs_met(split, watch.layers, sample)
    if seed is not None:
        set_chip(split, seed)
    try:
        met = inputs_met(split, watch.layers, sample) if inputs == "chip" else ideal
        prices = {
            name: price(layer, met[name], len(sample[0]), layer.chip, spec)
            for name, layer in watch.layers.items()
            if isinstance(layer, OnChip) and layer.chip is not None
        }
        solved = {
            name: settling_work(layer, met[name], spec)
            for name, layer in watch.layers.items()
            if isinstance(layer, Settling)
        }
        with watch, counting(split.parameters()) as counter:
            watch.counter = counter
            split(*(t[:1] for t in sample))
        return _added(watch, prices, solved, counter.works, spec, target)
    finally:
        if seed is not None:
            set_chip(split, None)


class _Watch:
    """Hooks that list calls of watched layers, and keep the counter from counting how they are simulated."""

    def __init__(self, split: nn.Module) -> None:
        self.layers: dict[str, nn.Module] = {}
        for name, module in split.named_modules():
            if isinstance(module, Settling) or (isinstance(module, OnChip) and isinstance(module, nn.Module)):
                self.layers[name] = module
        self.calls: list[tuple[str, Tensor]] = []
        self.counter: WorkCounter | None = None
        self._handles: list[Any] = []

    def __enter__(self) -> _Watch:
        for name, layer in self.layers.items():
            self._handles.append(layer.register_forward_pre_hook(self._before(name), with_kwargs=True))
            self._handles.append(layer.register_forward_hook(self._after))
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _before(self, name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = [*args, *kwargs.values()]
            # Kept, so that no later tensor comes to lie in the same memory.
            self.calls.append((name, given[-1 if isinstance(module, EquilibriumCell) else 0]))
            assert self.counter is not None
            self.counter.pause()

        return hook

    def _after(self, _module: nn.Module, _args: Any, _out: Any) -> None:
        assert self.counter is not None
        self.counter.go_on()


def _added(
    watch: _Watch,
    prices: dict[str, AnalogPrice],
    solved: dict[str, Work],
    computed: list[Work],
    spec: Spec,
    target: DigitalTarget,
) -> Recount:
    works = list(computed)
    energy = [prices[name].programming for name in dict.fromkeys(name for name, _ in watch.calls) if name in prices]
    chips: list[Span] = []
    dacs = adcs = 0
    played: set[object] = set()
    for name, given in watch.calls:
        if name in solved:
            works.append(solved[name])
            continue
        p, layer = prices[name], watch.layers[name]
        assert isinstance(layer, OnChip)
        on = Span.of(p.settle_second)
        if layer.spec.dac.bits == spec.dac.bits:
            on = on + spec.dac.conversion_second
            shape = tuple(given.shape) if p.listens.startswith("windows") else (given.numel(),)
            bank = (given.untyped_storage().data_ptr(), given.storage_offset(), shape, p.listens)
            if bank not in played:
                played.add(bank)
                dacs += p.columns * p.vectors
                energy.append(Span.of(spec.dac.energy_joule) * (p.columns * p.vectors))
                chips.append(Span.of(spec.dac.conversion_second) * p.vectors)
                works.append(Work(macs=0, fetched_numbers=p.columns * p.vectors, steps=0))
        chips.append(Span.of(p.settle_second) * p.vectors)
        if layer.spec.adc.bits == spec.adc.bits:
            on = on + spec.adc.conversion_second
            adcs += p.outputs * p.vectors
            energy.append(Span.of(spec.adc.energy_joule) * (p.outputs * p.vectors))
            chips.append(Span.of(spec.adc.conversion_second) * p.vectors)
            works.append(Work(macs=0, fetched_numbers=p.outputs * p.vectors, steps=0))
        energy.append(p.watt * on * p.vectors)
        works.append(p.digital)
    energy.append(total(chips) * target.standing_watt)  # the computer waits
    energy += [work.energy_joule(target) for work in works]
    latency = [*chips, *(work.latency_second(target) for work in works)]
    macs, activations = sum(w.macs for w in works), sum(w.activations for w in works)
    return Recount(total(energy), total(latency), dacs, adcs, macs, activations)
