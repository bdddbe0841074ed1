"""``noise.cir``: the spectrum of the noise at rest of chosen amplifier outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.constants import Boltzmann, zero_Celsius
from torch import Tensor

from equilog.circuit.text import number
from equilog.hardware import ProgrammedLayer
from equilog.hardware.noise.model import noise_conditions

# Enough for a resonance of quality factor 10 to be integrated to a part in a thousand.
POINTS_PER_DECADE = 60


@dataclass(frozen=True)
class NoiseBench:
    """What ``noise.cir`` measures: the counterpart of :func:`equilog.hardware.noise.noise_at_rest`.

    Attributes:
        played: drives as played, shape ``(samples, m)``.
        nodes: neurons whose amplifier outputs are looked at; every one costs a sweep per sample.
        temperature_kelvin: of all resistors; the layer's conditions unless given.
        amplifier_noise: ``e_n`` in V/√Hz, white, in series with every amplifier's + input; the technology's unless
            given.
    """

    played: Tensor
    nodes: Sequence[int]
    temperature_kelvin: float | None = None
    amplifier_noise: float | None = None


def noise_deck(layer: ProgrammedLayer, bench: NoiseBench, options: str) -> str:
    """Return the test bench.

    Args:
        layer: the chip.
        bench: what to measure.
        options: tolerances of the operating point.

    Raises:
        ValueError: for a neuron that is not there, a temperature not above 0, or a noise below 0.
    """
    n = layer.states
    if missing := [i for i in bench.nodes if not 0 <= i < n]:
        raise ValueError(f"no neuron {missing[0]} in a layer of {n}")
    kelvin, e_n = noise_conditions(layer, bench.temperature_kelvin, bench.amplifier_noise)
    # White noise through first-order ends: a fraction 2f_low/(π f_pole) is lost below, 2f_pole/(π f_high) above.
    closed_loop = layer.noise_gain / (2 * math.pi * layer.gbw_hertz)
    slowest = layer.time_constant_second + float(closed_loop.detach().max())
    low = 1e-6 / (2 * math.pi * slowest)
    high = 1e4 * max(float(layer.gbw_hertz.max()), 1 / slowest)
    lines = [
        "* Thermal noise at rest, one spectrum for each sample and node in the order below; writes noise.raw",
        "* Resistors of array, wires and feedback make noise; controlled sources and op-amp models make none.",
        "* For ngspice's own integral print onoise_total in place of setplot and write (it can come out as nan).",
        ".include layer.cir",
        "* ngspice wants an input to refer the noise to; it drives nothing.",
        "Vprobe probe 0 dc 0 ac 1",
        f".options {options} temp={number(kelvin - zero_Celsius)}",
        ".control",
        "set filetype=binary",
        "set appendwrite",
        "unset sqrnoise",
    ]
    if e_n > 0:
        ohm = e_n**2 / (4 * Boltzmann * kelvin)
        lines.append(f"* amplifier noise {number(e_n)} V/sqrt(Hz): the resistor that makes as much")
        for i in range(n):
            device = f"@r.xn{i}.xint.rnoise"
            lines += [f"alter {device}[resistance] = {number(ohm)}", f"alter {device}[noisy] = 1"]
    for index, row in enumerate(bench.played * layer.spec.dac.full_scale_volt):
        lines.append(f"* sample {index}")
        lines += [f"alter Vd{k} dc = {number(value)}" for k, value in enumerate(row)]
        for i in bench.nodes:
            sweep = f"dec {POINTS_PER_DECADE} {number(low)} {number(high)}"
            lines += [
                f"noise v(v{i}) Vprobe {sweep}",
                "setplot previous",
                "write noise.raw onoise_spectrum",
                "destroy all",
            ]
    lines += ["quit 0", ".endc", ".end", ""]
    return "\n".join(lines)
