"""What a layer takes on a chip, measured there: power, settling, parts; and what it takes digitally."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equilog.conversion.layers import Equilibrium, OnChip, Product, ProductConv2d
from equilog.cost.analog import activation_watt, amplifier_watt, array_watt, bias_watt, detector_watt
from equilog.cost.area import law_parts
from equilog.cost.digital import DigitalTarget, Work, equilibrium_work
from equilog.cost.inference import Use
from equilog.cost.process import Process, process_of
from equilog.cost.span import Span, total
from equilog.hardware import Chip, ProgrammedLayer, Spec, program, program_cell, without
from equilog.hardware.quantise import half_code
from equilog.hardware.rest import at_rest
from equilog.hardware.transient import Transient
from equilog.hardware.twin import dac
from equilog.names import UserError

SAMPLES = 32
"""inputs that a layer settles in time for"""
ROWS = 1024
"""vectors that a product's power is the mean over"""
LONGEST_TAU = 200


class Unpriceable(UserError):
    """A layer that this technology cannot be charged for; the message says why."""


@dataclass(frozen=True)
class AnalogPrice:
    """A layer on a chip, for one inference at batch 1.

    Attributes:
        vectors: products or equilibria, one after the other.
        columns: numbers that DACs play for each.
        outputs: numbers that ADCs report of each.
        listens: the format that the DACs play.
        watt: of everything that is on, converters apart, from the DACs' start to the ADCs' end.
        settle_second: between them, each; with the detector's hold.
        programming: of all its devices, the share of one inference.
        area_m2: of the layer without its converters.
        digital: what is computed beside it: a product's bias, a sigmoid's shift.
        analog_out: whether its outputs are voltages that another crossbar could read.
        crossbar: rows and columns of differential pairs.
        neurons: amplifiers with an activation.
    """

    vectors: int
    columns: int
    outputs: int
    listens: str
    watt: Span
    settle_second: float
    programming: Span
    area_m2: Span
    digital: Work
    analog_out: bool
    crossbar: tuple[int, int]
    neurons: int


@torch.no_grad()
def price(layer: OnChip, met: Tensor, batch: int, chip: Chip, spec: Spec) -> AnalogPrice:
    """Return what a converted layer takes.

    Args:
        layer: a product, a convolution or an equilibrium, its ranges set.
        met: what it is given for `batch` samples.
        batch: how many.
        chip: its part of the chip, where power and settling are measured; its technology may have links in the place
            of converters.
        spec: the technology, whose ADCs say how far a layer has to settle.

    Raises:
        Unpriceable: if it does not come to rest there.
    """
    if isinstance(layer, Equilibrium):
        return _equilibrium(layer, met, batch, chip, spec)
    assert isinstance(layer, Product)
    return _product(layer, met, batch, chip, spec)


def _equilibrium(layer: Equilibrium, met: Tensor, batch: int, chip: Chip, spec: Spec) -> AnalogPrice:
    drive = layer.parameterize(met.to(layer.cell.bias.dtype)).double()
    vectors = len(drive) // batch
    held = program_cell(layer.cell, chip, dtype=torch.float64)
    played = dac(held, drive[:: max(1, len(drive) // SAMPLES)][:SAMPLES])
    try:
        rest = at_rest(held, played)
    except (RuntimeError, ValueError) as error:
        raise Unpriceable(f"on chip {chip.seed} it does not come to rest: {error}") from None
    longest = _settled(held, played, rest.p * float(held.spec.activation.v_scale_volt), half_code(spec))
    if not math.isfinite(longest):
        raise Unpriceable(f"on chip {chip.seed} it does not settle within {LONGEST_TAU} time constants")
    array = Span.of(array_watt(held, rest.p, rest.z, played))
    process, n, m = process_of(spec), held.states, held.drives
    hold = 0.0 if held.spec.detector is None else float(held.spec.detector.hold_second)
    law = layer.cell.fixed is not None
    plain = layer.readout.gain == 1 and layer.readout.shift == 0
    return AnalogPrice(
        vectors=vectors,
        columns=m,
        outputs=n,
        # What a law is given is not to be rescaled, and its linear states exceed a link: it keeps its own converters.
        listens=f"drives of a law, {m}" if law else f"rows of {m}",
        watt=total([amplifier_watt(held), activation_watt(held), detector_watt(held), bias_watt(held), array]),
        settle_second=longest + hold,
        programming=_programming(spec, held.devices // 2),
        area_m2=_area(held, process, held.devices // 2, activations=True),
        digital=Work(macs=0 if plain else n * vectors, fetched_numbers=0, steps=0),
        # A state leaves as a voltage only if nothing is to be computed with it, and waits for nothing.
        analog_out=plain and vectors == 1 and not law,
        crossbar=(n, n + m + 1),
        neurons=n,
    )


def _settled(held: ProgrammedLayer, played: Tensor, rest_volt: Tensor, tolerance: float) -> float:
    """Return the slowest sample's settling time, inf if there is none; watched twice as long as it took."""
    moving, watched, longest = Transient(held, played), 12.5, math.inf
    while longest > watched / 2 * held.time_constant_second and watched < LONGEST_TAU:
        watched *= 2
        longest = float(moving.settle(rest_volt, tolerance, watched * held.time_constant_second)[0].max())
    return longest


def _product(layer: Product, met: Tensor, batch: int, chip: Chip, spec: Spec) -> AnalogPrice:
    if isinstance(layer, ProductConv2d):
        rows = nn.functional.unfold(met, layer.kernel_size, **layer.windows).mT
        listens = f"windows {layer.kernel_size} {sorted(layer.windows.items())}"
    else:
        rows, listens = met, f"rows of {layer.weight.shape[1]}"
    weight = layer.weight.double()
    outputs, columns = weight.shape
    flat = rows.reshape(-1, columns).double()
    vectors = len(flat) // batch
    played = (flat[:: max(1, len(flat) // ROWS)][:ROWS] / float(layer.input_scale)).clamp(-1, 1)
    # Its amplifiers bring the largest product to the ADCs' full scale.
    full = float(layer.output_scale) * float(weight.abs().max()) * float(spec.activation.v_scale_volt)
    scaled = weight * (float(spec.adc.full_scale_volt) / full)
    nothing = weight.new_zeros(outputs, outputs)
    # Wires are left out of its power as they are of what it computes.
    held = program((nothing, scaled, nothing[0]), Chip(without(chip.spec, "wires"), chip.seed))
    product = played @ scaled.T
    array = Span.of(array_watt(held, product, torch.zeros_like(product), played))
    devices = slice(outputs, outputs + columns)
    load = (held.g_plus_siemens[:, devices] + held.g_minus_siemens[:, devices]).sum(1)
    closed = float(((1 + held.r_feedback_ohm * load) / (2 * math.pi * held.gbw_hertz)).max())
    process = process_of(spec)
    bias = 0 if layer.bias is None else outputs * vectors
    return AnalogPrice(
        vectors=vectors,
        columns=columns,
        outputs=outputs,
        listens=listens,
        watt=total([amplifier_watt(held), bias_watt(held), array]),
        # A single pole comes within half a code of the ADC after ln 2^(b+1) of its time constants.
        settle_second=math.log(2 ** (int(spec.adc.bits) + 1)) * (held.time_constant_second + closed),
        programming=_programming(spec, outputs * columns),
        area_m2=_area(held, process, outputs * columns, activations=False),
        digital=Work(macs=bias, fetched_numbers=bias and outputs, weight_numbers=bias and outputs, steps=0),
        analog_out=False,
        crossbar=(outputs, columns),
        neurons=0,
    )


def _area(held: ProgrammedLayer, process: Process, pairs: int, *, activations: bool) -> Span:
    n = held.states
    passives = Span.of(process.resistor_m2_per_ohm) * float(held.r_feedback_ohm)
    passives = passives + Span.of(process.capacitor_m2_per_farad) * float(held.c_feedback_farad)
    parts = [
        Span.of(process.device_m2) * (2 * pairs),
        *law_parts(held, process).values(),
        (Span.of(process.amplifier_m2) + passives) * n,
        Span.of(process.sample_hold_m2) * held.drives,
        Span.of(process.reference_m2),
    ]
    if activations:
        parts.append(Span.of(process.activation_m2) * (n - held.linear))
        if held.spec.detector is not None:
            parts.append((Span.of(process.comparator_m2) * 2 + Span.of(process.sample_hold_m2)) * n)
    return total(parts)


def _programming(spec: Spec, pairs: int) -> Span:
    write = spec.crossbar.write_joule
    return Span.of(0.0 if write is None else write) * (2 * pairs) / Use().inferences_per_programming


def settling_work(settling: nn.Module, drive: Tensor, spec: Spec) -> Work:
    """Return the digital work of an equilibrium, solved to what the technology's converters resolve.

    Raises:
        ValueError: if no solver converges.
    """
    return equilibrium_work(settling.cell, drive[:256], half_code(spec))[0]  # type: ignore[arg-type]  # a Settling has one


def digital_joule(works: tuple[Work, ...], target: DigitalTarget) -> Span:
    """Return the energy of operations one after the other."""
    return total([work.energy_joule(target) for work in works])


def digital_second(works: tuple[Work, ...], target: DigitalTarget) -> Span:
    """Return their latency."""
    return total([work.latency_second(target) for work in works])


def moved(numbers: int) -> tuple[Work, ...]:
    """Return the work of bringing numbers to converters, or of writing what they report."""
    return (Work(macs=0, fetched_numbers=numbers, steps=0),)
