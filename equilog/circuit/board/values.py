"""Which resistors the fixed parts of the board need, so that every one is a value that is sold.

tail current    I = (5 V − V_BE)/(R_ref + R_E), less what bases take
state           V_s = I R_L R_fd/(R_d + R_L), the difference amplifier loading both collectors alike
drive           −d F = −(R2/R1) V_dac + (R2/R3) F, F the full scale
detector        gain K = 1 + R_f/R_g; thresholds ±Kε from the reference
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

from equilog.hardware.technology.eseries import ESeries, nearest, values

RAIL_VOLT = 5.0
REFERENCE_VOLT = 2.5
BASE_EMITTER_VOLT = 0.65
"""of the mirror's transistors at 1 mA"""
CURRENT_GAIN = 290.0
"""h_FE of the pair, typical"""


@dataclass(frozen=True)
class ActivationValues:
    """Resistors of one activation block, in ohms, and what they give."""

    mirror: float
    """R_ref, from ground to the mirror"""
    degeneration: float
    """R_E, both sides of the mirror"""
    collector: float
    """R_L"""
    difference_in: float
    """R_d"""
    difference_out: float
    """R_fd"""
    tail_ampere: float
    amplitude_volt: float
    """V_s that results"""


@cache
def activation_values(v_out_volt: float, series: ESeries) -> ActivationValues:
    """Return the resistors of a pair at about 1 mA whose states reach ±`v_out_volt`.

    Raises:
        ValueError: for an amplitude that the collectors cannot swing.
    """
    if not 0.1 <= v_out_volt <= 2.0:
        raise ValueError(
            f"activation.v_out_volt = {v_out_volt:g} V: the board's pair swings states of 0.1 V to 2 V, so that its "
            "collectors stay in range on ±5 V"
        )
    mirror, degeneration, difference_in = nearest(3300.0, series), nearest(1000.0, series), nearest(10e3, series)
    through = (RAIL_VOLT - BASE_EMITTER_VOLT) / (mirror + degeneration)
    tail = through / (1 + 2 / CURRENT_GAIN)
    differential = tail * CURRENT_GAIN / (CURRENT_GAIN + 1)
    found = [
        ActivationValues(
            mirror, degeneration, load, difference_in, out, tail, differential * load * out / (difference_in + load)
        )
        for load in values(series, 800.0, 1300.0)
        for out in _around(v_out_volt * (difference_in + load) / (differential * load), series)
    ]
    return min(found, key=lambda v: (abs(v.amplitude_volt / v_out_volt - 1), v.collector))


@dataclass(frozen=True)
class DriveValues:
    """Resistors of one drive, in ohms: from DAC, from the reference, feedback."""

    dac: float
    reference: float
    feedback: float

    def dac_volt(self, drive: float, full_scale_volt: float) -> float:
        """Return what the DAC must play for a drive from −1 to 1."""
        return self.dac * full_scale_volt * (drive / self.feedback + 1 / self.reference)


@cache
def drive_values(full_scale_volt: float, series: ESeries) -> DriveValues:
    """Return resistors for which drives of ±1 stay a little above ground and within the DAC's reference.

    Raises:
        ValueError: for a full scale that the op-amps do not reach.
    """
    if not 0.1 <= full_scale_volt <= 4.0:
        raise ValueError(f"dac.full_scale_volt = {full_scale_volt:g} V: the board's drives reach 0.1 V to 4 V")
    feedback, reference = nearest(10e3, series), nearest(9.76e3, series)
    if reference >= feedback:  # a coarse series: one step below
        reference = values(series, feedback / 2, feedback * 0.99)[-1]
    largest = REFERENCE_VOLT / full_scale_volt / (1 / feedback + 1 / reference)
    return DriveValues(values(series, largest / 2, largest)[-1], reference, feedback)


@cache
def ratio(wanted: float, series: ESeries) -> tuple[float, float]:
    """Return two resistors from 10 kΩ on, input and feedback, whose ratio feedback/input is nearest to `wanted`."""
    low = 10e3 / min(wanted, 1.0)
    pairs = [(a, b) for a in values(series, low, low * 3) for b in _around(a * wanted, series)]
    return min(pairs, key=lambda pair: (abs(math.log(pair[1] / pair[0] / wanted)), pair[0]))


@dataclass(frozen=True)
class DetectorValues:
    """Parts of the convergence detector, in ohms and farads, and what they give."""

    lag: float
    lag_farad: float
    gain_feedback: float
    gain_ground: float
    divider_top: float
    divider_bottom: float
    gain: float
    threshold_volt: float
    """ε at the outputs that results"""


@cache
def detector_values(
    threshold_volt: float, window_second: float, reference_volt: float, series: ESeries
) -> DetectorValues:
    """Return the parts for a threshold ε and a window w, with a gain of about 20 before the comparators.

    Raises:
        ValueError: for a threshold or a window out of reach.
    """
    ground, feedback, bottom = nearest(1000.0, series), nearest(19.1e3, series), nearest(100.0, series)
    gain = 1 + feedback / ground
    level = gain * threshold_volt
    if not 2e-3 <= level <= reference_volt / 2:
        raise ValueError(
            f"detector.threshold_volt = {threshold_volt:g} V: with a gain of {gain:.3g} the board compares "
            f"{2e-3 / gain:.2g} V to {reference_volt / 2 / gain:.2g} V"
        )
    farad = next((c for c in (1e-9, 1e-8, 1e-7) if 100.0 <= window_second / c <= 1e6), None)
    if farad is None:
        raise ValueError(f"detector.window_second = {window_second:g} s: the board's lag reaches 1e-7 s to 0.1 s")
    top = nearest(bottom * (reference_volt / level - 1), series)
    return DetectorValues(
        nearest(window_second / farad, series), farad, feedback, ground, top, bottom, gain,
        reference_volt * bottom / (top + bottom) / gain,
    )  # fmt: skip


def _around(ohm: float, series: ESeries) -> tuple[float, ...]:
    return values(series, ohm * 0.85, ohm * 1.18)
