"""One inference on the chip: how long its parts take, and what every block takes meanwhile."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

from equilog.cost.analog import activation_watt, amplifier_watt, array_watt, bias_watt, detector_watt
from equilog.cost.converters import conversion_joule
from equilog.cost.process import Process
from equilog.cost.span import Span, total
from equilog.cost.writing import programming_joule
from equilog.hardware import ProgrammedLayer
from equilog.names import Strict

ARRAY = "crossbar and feedback"


class Use(Strict):
    """How a chip is used."""

    inferences_per_programming: float = Field(default=1e6, gt=0)
    """between one programming and the next, for its share of the energy of programming"""
    readings: int = Field(default=1, ge=1)
    """conversions of every state, averaged"""
    dac_enob: float | None = Field(default=None, gt=0)
    """effective bits that the drives need; those of the technology's DACs unless given"""
    adc_enob: float | None = Field(default=None, gt=0)
    """effective bits that each reading needs, likewise"""
    batch: int = Field(default=1, ge=1)
    """samples that the digital computer handles together; the chip settles one after the other"""


class ChipInference(Strict):
    """Energy and time of one inference on the chip alone, by part, and what the chip draws while it is on."""

    energy_joule: dict[str, Span]
    latency_second: dict[str, Span]
    watt: dict[str, Span]

    @property
    def energy(self) -> Span:
        """Sum of the parts, J."""
        return total(list(self.energy_joule.values()))

    @property
    def latency(self) -> Span:
        """Sum of the parts, s."""
        return total(list(self.latency_second.values()))


def chip_watt(
    layer: ProgrammedLayer, p: Tensor, z: Tensor, played: Tensor, process: Process | None = None
) -> dict[str, Span]:
    """Return the power of every block while the chip is on; arguments as :func:`equilog.cost.analog.array_watt`."""
    parts = {
        "amplifiers": amplifier_watt(layer),
        "activations": activation_watt(layer),
        ARRAY: Span.of(array_watt(layer, p, z, played)),
        "detector": detector_watt(layer, process),
        "bias and sample-and-holds": bias_watt(layer, process),
    }
    return {name: span for name, span in parts.items() if span.high > 0}


def chip_inference(
    layer: ProgrammedLayer,
    watt: Mapping[str, Span],
    settling_second: Span | float,
    use: Use | None = None,
    detecting_second: Span | float | None = None,
    rows: int = 1,
) -> ChipInference:
    """Return what one inference takes on the chip.

    Every block is on from the DACs' conversion to the last reading: ``P (t_DAC + t_settle + t_detect + k t_ADC)``. On
    top of that come m conversions of DACs, k n of ADCs, and the share of programming. A sample of several rows takes
    all but the last so many times, one row after the other.

    Args:
        layer: the chip.
        watt: of :func:`chip_watt`.
        settling_second: of the slowest sample.
        use: how the chip is used.
        detecting_second: from settling to the detector's report, as measured; `hold_second` of the technology unless
            given, nothing without a detector.
        rows: that a sample has, see :class:`~equilog.model.HybridDEQ`.
    """
    spec, use = layer.spec, use or Use()
    if detecting_second is None:
        detecting_second = 0.0 if spec.detector is None else float(spec.detector.hold_second)
    latency = {
        "DAC": Span.of(spec.dac.conversion_second),
        "settling": Span.of(settling_second),
        "detecting": Span.of(detecting_second),
        "ADC": Span.of(spec.adc.conversion_second) * use.readings,
    }
    latency = {name: span * rows for name, span in latency.items() if span.high > 0}
    on = total(list(latency.values()))
    energy = {name: span * on for name, span in watt.items()}
    energy["DAC"] = conversion_joule(spec.dac, use.dac_enob) * (layer.drives * rows)
    energy["ADC"] = conversion_joule(spec.adc, use.adc_enob) * (layer.states * use.readings * rows)
    if (programming := programming_joule(layer)) is not None:
        energy["programming, its share"] = programming / use.inferences_per_programming
    return ChipInference(energy_joule=energy, latency_second=latency, watt=dict(watt))
