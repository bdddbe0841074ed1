"""What the transistor blocks are designed for, and whether measured figures meet it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Requirement:
    """Bounds of one measured figure.

    Attributes:
        figure: its name.
        what: in words, with the conditions.
        unit: of `scale` times the SI figure.
        scale: from SI to that unit.
        low, high: bounds in SI units; None where there is none.
    """

    figure: str
    what: str
    unit: str
    scale: float
    low: float | None = None
    high: float | None = None

    def met(self, figures: Mapping[str, float]) -> bool:
        """Return whether the figure is within the bounds."""
        value = figures[self.figure]
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


REQUIREMENTS = (
    Requirement("amplifier.dc_gain", "gain, 100 kΩ at the output", "V/V", 1, low=3000),
    Requirement("amplifier.dc_gain_into_5k", "gain as a driver, 5 kΩ at the output", "V/V", 1, low=400),
    Requirement("amplifier.gbw_hertz", "gain–bandwidth product, 100 kΩ and 1 pF", "MHz", 1e-6, low=20e6),
    Requirement("amplifier.phase_margin_degree", "phase margin as a follower, both loads", "°", 1, low=60),
    Requirement("amplifier.offset_volt", "systematic offset", "µV", 1e6, low=-100e-6, high=100e-6),
    Requirement("amplifier.offset_sigma_volt", "offset, σ of mismatch", "mV", 1e3, high=3e-3),
    Requirement("amplifier.noise_volt_per_rthz", "input noise at 1 MHz", "nV/√Hz", 1e9, high=30e-9),
    Requirement("amplifier.swing_low_volt", "output range, low end, 100 kΩ", "V", 1, high=-0.75),
    Requirement("amplifier.swing_high_volt", "output range, high end, 100 kΩ", "V", 1, low=0.75),
    Requirement("amplifier.slew_fall_volt_per_second", "slew falling, 2 pF", "V/µs", 1e-6, low=7e6),
    Requirement("amplifier.slew_rise_volt_per_second", "slew rising, 2 pF", "V/µs", 1e-6, low=7e6),
    Requirement("amplifier.supply_ampere", "supply current of the integrator", "µA", 1e6, high=70e-6),
    Requirement("activation.slope", "steepest slope", "V/V", 1, low=0.8, high=1.0),
    Requirement("activation.low_volt", "output at −0.9 V", "mV", 1e3, low=-0.22, high=-0.18),
    Requirement("activation.high_volt", "output at +0.9 V", "mV", 1e3, low=0.18, high=0.22),
    Requirement("activation.at_zero_volt", "output at 0 V", "mV", 1e3, low=-5e-3, high=5e-3),
    Requirement("activation.polarity_error_volt", "half of sp + sn, at worst", "mV", 1e3, high=0.5e-3),
    Requirement("activation.offset_sigma_volt", "input offset, σ of mismatch", "mV", 1e3, high=6e-3),
    Requirement("activation.gain_sigma", "amplitude, σ of mismatch", "%", 100, high=0.02),
    Requirement("activation.bandwidth_hertz", "bandwidth to the slower polarity, 20 kΩ and 1 pF", "MHz", 1e-6, low=8e6),
    Requirement("activation.peaking_db", "peaking of the response", "dB", 1, high=1.5),
    Requirement("activation.lag_positive_second", "lag of the positive output at 1 MHz", "ns", 1e9, high=30e-9),
    Requirement("activation.lag_negative_second", "lag of the negative output at 1 MHz", "ns", 1e9, high=60e-9),
    Requirement("activation.drive_siemens", "column that costs 1 % of full scale", "µS", 1e6, low=250e-6),
    Requirement("activation.supply_ampere", "supply current of the activation", "µA", 1e6, high=250e-6),
    Requirement("comparator.offset_volt", "systematic offset of the comparator", "µV", 1e6, low=-200e-6, high=200e-6),
    Requirement("comparator.offset_sigma_volt", "offset of the comparator, σ of mismatch", "mV", 1e3, high=5e-3),
    Requirement("comparator.delay_second", "delay of the comparator, 10 mV of overdrive", "ns", 1e9, high=100e-9),
    Requirement("comparator.supply_ampere", "supply current of the comparator, decided", "µA", 1e6, high=30e-6),
    Requirement("comparator.supply_halfway_ampere", "supply current of the comparator, halfway", "µA", 1e6, high=80e-6),
)
