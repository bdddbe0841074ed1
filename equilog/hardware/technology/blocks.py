"""The parts of a technology as data: crossbar, fixed network, amplifier, activation, converters, detector.

Every number carries its unit in its name. A part that may be missing is an effect that the technology does not have:
left out, the twin and the netlist do without it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from equilog.hardware.technology.eseries import ESeries, values
from equilog.hardware.technology.figure import Figure
from equilog.names import Strict


def _above_zero(figure: Figure) -> Figure:
    if not min(figure.bounds()) > 0:
        raise ValueError("expected a number above 0, its low and high bound too")
    return figure


def _not_negative(figure: Figure) -> Figure:
    if min(figure.bounds()) < 0:
        raise ValueError("expected 0 or more, for its low and high bound too")
    return figure


def _fraction(figure: Figure) -> Figure:
    if not (min(figure.bounds()) >= 0 and max(figure.bounds()) <= 1):
        raise ValueError("expected a fraction from 0 to 1, for its low and high bound too")
    return figure


def _bits(figure: Figure) -> Figure:
    if not (figure == int(figure) and 2 <= figure <= 24):
        raise ValueError("expected a whole number of bits from 2 to 24")
    return figure


def _levels(figure: Figure) -> Figure:
    if not (figure == int(figure) and 2 <= figure <= 2**20):
        raise ValueError("expected a whole number of levels from 2 to 2^20 (leave it out for continuous)")
    return figure


Positive = Annotated[Figure, AfterValidator(_above_zero)]
NonNegative = Annotated[Figure, AfterValidator(_not_negative)]
Fraction = Annotated[Figure, AfterValidator(_fraction)]
Bits = Annotated[Figure, AfterValidator(_bits)]
Levels = Annotated[Figure, AfterValidator(_levels)]


class Polynomial(Strict):
    """``Σ cₖ xᵏ`` with x = G/G_max: an error that depends on the programmed state, in siemens."""

    coefficients_siemens: tuple[float, ...] = Field(min_length=1)
    source: str
    valid: str = ""


class ClampedLog(Strict):
    """``clamp(slope · ln x + intercept, low, high)`` with x = G/G_max; no unit."""

    slope: float
    intercept: float
    low: float
    high: float
    source: str
    valid: str = ""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low <= self.high:
            raise ValueError(f"low = {self.low} must not be above high = {self.high}")
        return self


class Relaxation(Strict):
    """The programming error grows after programming: its polynomials at a later age, linear in ln t in between."""

    at_second: Positive
    """age at which the polynomials below hold"""
    sigma: Polynomial
    """standard deviation of the conductance at that age"""
    shift: Polynomial | None = None
    """mean displacement of the conductance at that age; left out: none"""


class Drift(Strict):
    """Power law ``G(t) = G (t/t₀)^−ν``, the exponent drawn once for every device; t₀ is `programmed_second`."""

    exponent_mean: ClampedLog
    exponent_sigma: ClampedLog


class Flicker(Strict):
    """1/f noise of a read: ``σ/G = min(coefficient · x^−exponent, cap) · √ln((t + t_r)/(2 t_r))``, t the age."""

    coefficient: NonNegative
    exponent: NonNegative
    cap: NonNegative
    read_second: Positive
    """t_r, how long a read lasts"""


class ReadNoise(Strict):
    """What every read of a device adds anew, frozen while the circuit settles."""

    sigma: Polynomial | None = None
    """standard deviation, whatever the age"""
    flicker: Flicker | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.sigma is None and self.flicker is None:
            raise ValueError("expected sigma or flicker or both (leave read_noise out for none)")
        return self


class Temperature(Strict):
    """``G(T) = G (1 + a (T − T₀))``, never below zero."""

    per_kelvin: Figure
    """relative change a of the conductance per kelvin"""
    reference_kelvin: Positive
    """T₀, at which the other figures hold"""


class Stuck(Strict):
    """Devices that cannot be programmed, drawn once for a chip."""

    low_fraction: Fraction
    """probability that a device stays at `low_siemens`"""
    high_fraction: Fraction
    """probability that a device stays at `high_siemens`"""
    low_siemens: NonNegative
    high_siemens: Positive

    @model_validator(mode="after")
    def _at_most_all(self) -> Self:
        if self.low_fraction + self.high_fraction > 1:
            raise ValueError("low_fraction and high_fraction together are above 1")
        return self


class Wires(Strict):
    """Resistance of the lines, for every segment from one device to the next; see :mod:`equilog.hardware.wires`."""

    word_line_ohm: NonNegative
    """of the lines that the sources drive"""
    bit_line_ohm: NonNegative
    """of the lines that end in virtual grounds"""


class Crossbar(Strict):
    """The array of programmable conductances; a signed weight is a differential pair G⁺, G⁻."""

    g_min_siemens: Positive
    """lowest programmable conductance; both devices of every pair carry at least this"""
    g_max_siemens: Positive
    """highest programmable conductance"""
    levels: Levels | None = None
    """distinct programmable levels from g_min to g_max; left out: continuous"""
    e_series: ESeries | None = None
    """devices are resistors of this series of values, R_f too; left out: any value"""
    programming_sigma: Polynomial | None = None
    """standard deviation of the programmed conductance; left out: programmed exactly"""
    programmed_second: Positive | None = None
    """age at which `programming_sigma` was measured, t₀ of drift and relaxation; left out: 1 s"""
    relaxation: Relaxation | None = None
    drift: Drift | None = None
    temperature: Temperature | None = None
    stuck: Stuck | None = None
    read_noise: ReadNoise | None = None
    wires: Wires | None = None
    write_joule: Positive | None = None
    """energy of programming one device, all pulses and verifying reads; left out: not known, or not programmable"""
    write_second: Positive | None = None
    """time of programming one device, likewise"""

    @property
    def reference_second(self) -> float:
        """t₀: the age of a freshly programmed device."""
        return 1.0 if self.programmed_second is None else float(self.programmed_second)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.g_min_siemens < self.g_max_siemens:
            raise ValueError(
                f"g_min_siemens = {float(self.g_min_siemens)} must be below g_max_siemens = {float(self.g_max_siemens)}"
            )
        low, high = 1 / self.g_max_siemens, 1 / self.g_min_siemens
        if self.e_series is not None and len(values(self.e_series, low, high)) < 2:
            raise ValueError(
                f"{self.e_series} has fewer than two values from 1/g_max_siemens = {low:g} ohm to 1/g_min_siemens = "
                f"{high:g} ohm: widen the range, or leave e_series out"
            )
        if self.relaxation is not None and not self.relaxation.at_second > self.reference_second:
            raise ValueError(
                f"relaxation.at_second = {float(self.relaxation.at_second)} must be above programmed_second = "
                f"{self.reference_second}"
            )
        return self


class Amplifier(Strict):
    """The op-amp of the summing integrator: A(s) = A₀/(1 + s A₀/ω_t), ω_t = 2π GBW."""

    dc_gain: Positive
    """open-loop gain A₀ at zero frequency, V/V"""
    gbw_hertz: Positive
    """gain–bandwidth product"""
    offset_sigma_volt: NonNegative
    """standard deviation of the input offset from amplifier to amplifier"""
    noise_volt_per_rthz: NonNegative | None = None
    """white input voltage noise e_n in V/√Hz; left out: none"""
    input_bias_ampere: NonNegative | None = None
    """current into the inverting input; left out: none"""
    slew_volt_per_second: Positive | None = None
    """fastest the output moves, in either direction; left out: as fast as GBW lets it"""
    rail_volt: Positive | None = None
    """the output stays within ±this; left out: never reached"""
    c_feedback_farad: Positive
    """integrating capacitor C_f; the time constant is τ = R_f C_f"""
    supply_volt: Positive
    """supply, for power"""
    load_farad: Positive
    """capacitance the amplifier drives, for power"""
    gm_over_id: Positive
    """transconductance efficiency g_m/I_D in 1/V, for power: I = 2π GBW C_L/(g_m/I_D) a branch"""
    branches: Positive
    """current branches that draw that current (two: output stage and input pair)"""


class FixedNetwork(Strict):
    """Precision resistors for weights that never change: a law built in beside the crossbar."""

    tolerance: NonNegative
    """relative standard deviation of a resistor against its neighbours, R_f among them"""


class MeasuredCurve(Strict):
    """An activation as it was measured or simulated: output against input, rising, both in volts."""

    input_volt: tuple[float, ...] = Field(min_length=4, max_length=1000)
    output_volt: tuple[float, ...] = Field(min_length=4, max_length=1000)
    source: str
    valid: str = ""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if len(self.input_volt) != len(self.output_volt):
            raise ValueError(f"{len(self.input_volt)} inputs but {len(self.output_volt)} outputs")
        for name, points in (("input_volt", self.input_volt), ("output_volt", self.output_volt)):
            for k, (a, b) in enumerate(pairwise(points)):
                if not a < b:
                    raise ValueError(f"{name} must rise: point {k} is {a}, point {k + 1} is {b}")
        return self


class ActivationBlock(Strict):
    """The neuron's non-linearity: s = V_s φ(v/V_a), both polarities."""

    v_scale_volt: Positive
    """V_a, input voltage that is pre-activation 1"""
    v_out_volt: Positive
    """V_s, output voltage that is state 1; also the read voltage across the crossbar"""
    gain_sigma: NonNegative
    """relative standard deviation of the output amplitude"""
    offset_sigma_volt: NonNegative
    """standard deviation of the input offset"""
    bias_ampere: Positive
    """current drawn by the pair and its two output drivers, for power"""
    curve: MeasuredCurve | None = None
    """measured transfer curve; left out: V_s tanh(v/V_a)"""


class Converter(Strict):
    """What both kinds of converter have in common; the range is symmetric and clips."""

    bits: Bits
    full_scale_volt: Positive
    """voltage of the largest code, at the analog side"""
    inl_lsb: NonNegative | None = None
    """standard deviation of the integral non-linearity at its largest, from channel to channel; left out: none"""
    noise_volt: NonNegative | None = None
    """rms noise at the analog side, drawn anew for every sample; left out: none"""
    conversion_second: Positive
    """time of one conversion, settling included; all channels convert at once"""
    energy_joule: Positive
    """energy of one conversion"""


class Dac(Converter):
    """Digital to analog: plays the parameterization's drive into the crossbar; drive 1 is the largest code."""


class Adc(Converter):
    """Analog to digital: reads the resting activation outputs."""


class Detector(Strict):
    """The circuit that says when the network has come to rest; see :mod:`equilog.hardware.detector`."""

    threshold_volt: Positive
    """ε: an output counts as still while |v − v lagged| stays below this"""
    window_second: Positive
    """time constant of the lag"""
    offset_sigma_volt: NonNegative
    """standard deviation of the comparators' offsets"""
    hold_second: NonNegative
    """how long all outputs must be still before the detector reports"""
    timeout_second: Positive
    """after this it reports failure"""
