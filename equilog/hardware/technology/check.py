"""Is a technology file right, and is it plausible? Mistakes make it unusable; doubts are for its author to weigh."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equilog.cells import MonotoneSpline
from equilog.hardware.curve import STEEPEST
from equilog.hardware.technology.blocks import ClampedLog, MeasuredCurve, Polynomial
from equilog.hardware.technology.spec import Spec, load_spec, preset_names
from equilog.names import Strict, UserError

FAN_IN = 32
"""inputs of the neuron that amplifiers are judged by; half of the conductance range each"""
LINES = 64
"""lines each way of the array that wires are judged by"""


@dataclass(frozen=True)
class Doubt:
    """Something implausible.

    Attributes:
        keys: dotted names of the numbers that do not go together.
        message: why, with the numbers.
    """

    keys: tuple[str, ...]
    message: str


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Attributes:
        where: the file, or the preset's name.
        spec: the technology; None if there are mistakes.
        mistakes: why it cannot be used.
        unsourced: names of the numbers and laws that state no source.
        doubts: what is implausible.
    """

    where: str
    spec: Spec | None
    mistakes: tuple[str, ...] = ()
    unsourced: tuple[str, ...] = ()
    doubts: tuple[Doubt, ...] = ()

    def to_data(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "where": self.where,
            "name": None if self.spec is None else self.spec.name,
            "usable": self.spec is not None,
            "mistakes": list(self.mistakes),
            "unsourced": list(self.unsourced),
            "doubts": [{"keys": list(doubt.keys), "message": doubt.message} for doubt in self.doubts],
        }


def check_technology(name_or_path: str | Path) -> Checked:
    """Check a technology file, or a preset by name.

    Raises:
        UserError: if there is no such file or preset, or it is a directory.
    """
    where = str(name_or_path)
    path = Path(name_or_path)
    if where not in preset_names():
        if path.is_dir():
            raise UserError(f"{where} is a directory; expected a YAML file with one technology")
        if not path.exists():
            raise UserError(
                f"{where}: No such file; expected a YAML file with one technology, or one of the presets "
                + ", ".join(preset_names())
            )
        # Told to be a file, whatever it is called.
        name_or_path = path if path.suffix in (".yaml", ".yml") else path.absolute()
    try:
        spec = load_spec(name_or_path)
    except UserError as error:
        return Checked(where, None, mistakes=error.mistakes)
    return Checked(where, spec, unsourced=(*spec.unsourced(), *_unsourced_laws(spec)), doubts=tuple(doubts(spec)))


def doubts(spec: Spec) -> list[Doubt]:
    """Return what is implausible in a valid technology."""
    typical = _Typical.of(spec)
    return [doubt for rule in _RULES for doubt in rule(spec, typical)]


@dataclass(frozen=True)
class _Typical:
    """A neuron whose largest weight is 1, with :data:`FAN_IN` inputs."""

    r_feedback_ohm: float
    tau_second: float
    noise_gain: float
    lag_second: float
    """time constant of the amplifier's closed loop, N/ω_t"""

    @classmethod
    def of(cls, spec: Spec) -> _Typical:
        bar, act, amp = spec.crossbar, spec.activation, spec.amplifier
        r = float(act.v_scale_volt / (act.v_out_volt * (bar.g_max_siemens - bar.g_min_siemens)))
        row = FAN_IN * ((bar.g_max_siemens + bar.g_min_siemens) / 2 + bar.g_min_siemens)
        gain = 1 + r * row
        return cls(r, r * float(amp.c_feedback_farad), gain, gain / (2 * math.pi * float(amp.gbw_hertz)))


Rule = Callable[[Spec, _Typical], Iterator[Doubt]]


def _rails(spec: Spec, typical: _Typical) -> Iterator[Doubt]:
    amp, act = spec.amplifier, spec.activation
    if (rail := amp.rail_volt) is None:
        return
    reach = 3 * float(act.v_scale_volt)
    said = "tanh reaches 0.995 at 3 v_scale_volt"
    if act.curve is not None:
        reach, said = max(-act.curve.input_volt[0], act.curve.input_volt[-1]), "the measured curve goes on to"
    if reach > rail:
        yield Doubt(
            ("activation.v_scale_volt" if act.curve is None else "activation.curve", "amplifier.rail_volt"),
            f"the activation's range lies beyond the rails: {said} = {reach:g} V, the output stops at ±{rail:g} V",
        )
    if rail > amp.supply_volt / 2 * (1 + 1e-9):
        yield Doubt(
            ("amplifier.rail_volt", "amplifier.supply_volt"),
            f"the output swings to ±{rail:g} V on a supply of {amp.supply_volt:g} V in all",
        )


def _curve(spec: Spec, typical: _Typical) -> Iterator[Doubt]:
    act = spec.activation
    if act.curve is None:
        return
    slope = MonotoneSpline(
        [v / act.v_scale_volt for v in act.curve.input_volt], [s / act.v_out_volt for s in act.curve.output_volt]
    ).max_slope
    if slope > STEEPEST:
        yield Doubt(
            ("activation.curve", "activation.v_scale_volt"),
            f"the curve rises by up to {slope:.3g} V_s/V_a; weights that settle by construction assume 1 at most: "
            f"v_scale_volt = {act.v_scale_volt / slope:.3g} or less",
        )


def _converters(spec: Spec, typical: _Typical) -> Iterator[Doubt]:
    state = float(spec.activation.v_out_volt)
    if spec.activation.curve is not None:
        outputs = spec.activation.curve.output_volt
        state = max(abs(outputs[0]), abs(outputs[-1]))
    if spec.adc.full_scale_volt < state:
        yield Doubt(
            ("adc.full_scale_volt", "activation.v_out_volt"),
            f"the ADC clips at {spec.adc.full_scale_volt:g} V, below a full state of {state:g} V",
        )
    elif spec.adc.full_scale_volt > 2 * state:
        yield Doubt(
            ("adc.full_scale_volt", "activation.v_out_volt"),
            f"the ADC's range of {spec.adc.full_scale_volt:g} V is more than twice a full state of {state:g} V: "
            "a bit or more is never used",
        )
    ratio = float(spec.dac.full_scale_volt / spec.activation.v_out_volt)
    if not 0.2 <= ratio <= 5:
        yield Doubt(
            ("dac.full_scale_volt", "activation.v_out_volt"),
            f"drives of up to {spec.dac.full_scale_volt:g} V beside states of {spec.activation.v_out_volt:g} V: equal "
            "weights need conductances that differ by more than 5, and the smaller ones lose levels",
        )
    for name, block in (("dac", spec.dac), ("adc", spec.adc)):
        if block.inl_lsb is not None and block.inl_lsb > 2 ** (block.bits - 4):
            yield Doubt(
                (f"{name}.inl_lsb", f"{name}.bits"), f"{block.inl_lsb:g} codes of {2**block.bits:g} leave three bits"
            )
        if block.noise_volt is not None and block.noise_volt > block.full_scale_volt / 8:
            yield Doubt(
                (f"{name}.noise_volt", f"{name}.full_scale_volt"),
                f"noise of {block.noise_volt:g} V in a range of {block.full_scale_volt:g} V",
            )


def _amplifier(spec: Spec, typical: _Typical) -> Iterator[Doubt]:
    amp, act = spec.amplifier, spec.activation
    neuron = f"a neuron with {FAN_IN} inputs has a noise gain of {typical.noise_gain:.3g}"
    if typical.lag_second > typical.tau_second:
        yield Doubt(
            ("amplifier.gbw_hertz", "amplifier.c_feedback_farad"),
            f"the amplifier is slower than its integrator: {neuron}, so it takes {typical.lag_second:.2g} s, and "
            f"R_f C_f is {typical.tau_second:.2g} s at a largest weight of 1",
        )
    if (error := typical.noise_gain / amp.dc_gain) > 0.25:
        yield Doubt(
            ("amplifier.dc_gain",), f"{neuron}, so that a gain of {amp.dc_gain:g} loses {error:.0%} of the signal"
        )
    if (shift := typical.noise_gain * amp.offset_sigma_volt) > act.v_scale_volt:
        yield Doubt(
            ("amplifier.offset_sigma_volt", "activation.v_scale_volt"),
            f"{neuron}, so that offsets move outputs by {shift:.2g} V, more than v_scale_volt = {act.v_scale_volt:g} V",
        )
    if (slew := amp.slew_volt_per_second) is not None and slew * typical.tau_second < act.v_scale_volt:
        yield Doubt(
            ("amplifier.slew_volt_per_second", "activation.v_scale_volt"),
            f"in R_f C_f = {typical.tau_second:.2g} s the output slews by {slew * typical.tau_second:.2g} V, less than "
            f"v_scale_volt = {act.v_scale_volt:g} V: it slews instead of settling",
        )
    bias = amp.input_bias_ampere
    if bias is not None and (shift := typical.r_feedback_ohm * bias) > act.v_scale_volt:
        yield Doubt(
            ("amplifier.input_bias_ampere", "activation.v_scale_volt"),
            f"the bias current through R_f = {typical.r_feedback_ohm:.2g} Ω is {shift:.2g} V, more than v_scale_volt",
        )


def _detector(spec: Spec, typical: _Typical) -> Iterator[Doubt]:
    if (found := spec.detector) is None:
        return
    first = found.window_second + found.hold_second
    if found.timeout_second <= first:
        yield Doubt(
            ("detector.timeout_second", "detector.window_second", "detector.hold_second"),
            f"the timeout of {found.timeout_second:g} s comes before the first possible report, after window and hold, "
            f"{first:g} s",
        )
    elif found.timeout_second < 10 * typical.tau_second:
        yield Doubt(
            ("detector.timeout_second", "amplifier.c_feedback_farad"),
            f"the timeout of {found.timeout_second:g} s is less than ten times R_f C_f = {typical.tau_second:.2g} s",
        )
    if found.threshold_volt < 3 * found.offset_sigma_volt:
        yield Doubt(
            ("detector.threshold_volt", "detector.offset_sigma_volt"),
            f"a threshold of {found.threshold_volt:g} V with comparator offsets of {found.offset_sigma_volt:g} V: a "
            "comparator beyond three standard deviations never says still, and then the detector never reports",
        )
    if found.threshold_volt > spec.activation.v_scale_volt:
        yield Doubt(
            ("detector.threshold_volt", "activation.v_scale_volt"),
            f"a threshold of {found.threshold_volt:g} V calls everything still: v_scale_volt is "
            f"{spec.activation.v_scale_volt:g} V",
        )
    if found.window_second < typical.tau_second / 10:
        yield Doubt(
            ("detector.window_second", "amplifier.c_feedback_farad"),
            f"a lag of {found.window_second:g} s hardly sees outputs move that settle in R_f C_f = "
            f"{typical.tau_second:.2g} s",
        )


def _crossbar(spec: Spec, typical: _Typical) -> Iterator[Doubt]:
    bar = spec.crossbar
    laws = {"programming_sigma": bar.programming_sigma}
    if bar.relaxation is not None:
        laws["relaxation.sigma"] = bar.relaxation.sigma
    if bar.read_noise is not None:
        laws["read_noise.sigma"] = bar.read_noise.sigma
    for name, law in laws.items():
        if law is None:
            continue
        values = _along(law, float(bar.g_min_siemens / bar.g_max_siemens))
        if min(values) < 0:
            yield Doubt(
                (f"crossbar.{name}",),
                f"the standard deviation falls to {min(values):.2g} S between g_min and g_max; below zero it counts "
                "as none",
            )
        if max(values) > bar.g_max_siemens / 2:
            yield Doubt(
                (f"crossbar.{name}", "crossbar.g_max_siemens"),
                f"the standard deviation reaches {max(values):.2g} S, more than half of g_max = "
                f"{bar.g_max_siemens:g} S; coefficients are siemens, not µS",
            )
    if (warm := bar.temperature) is not None and abs(warm.per_kelvin) * 50 > 1:
        yield Doubt(
            ("crossbar.temperature.per_kelvin",),
            f"{warm.per_kelvin:g} per kelvin: within 50 K the conductance doubles or vanishes; the number is a "
            "fraction, not per cent",
        )
    if (stuck := bar.stuck) is not None:
        if (lost := stuck.low_fraction + stuck.high_fraction) > 0.2:
            yield Doubt(
                ("crossbar.stuck.low_fraction", "crossbar.stuck.high_fraction"), f"{lost:.0%} of devices are stuck"
            )
        if stuck.high_siemens > 10 * bar.g_max_siemens:
            yield Doubt(
                ("crossbar.stuck.high_siemens", "crossbar.g_max_siemens"),
                f"devices stuck at {stuck.high_siemens:g} S drown those of g_max = {bar.g_max_siemens:g} S",
            )
    if bar.wires is not None:
        worst = max(bar.wires.word_line_ohm, bar.wires.bit_line_ohm)
        if (drop := float(worst * bar.g_max_siemens) * LINES**2 / 2) > 0.3:
            yield Doubt(
                ("crossbar.wires", "crossbar.g_max_siemens"),
                f"{worst:g} Ω a segment: along a line of {LINES} devices at g_max the drop is about {drop:.2g} of the "
                "voltage applied, r G N²/2",
            )


def _fixed_network(spec: Spec, typical: _Typical) -> Iterator[Doubt]:
    block = spec.fixed_network
    if block is not None and block.tolerance > 0.05:
        yield Doubt(
            ("fixed_network.tolerance",),
            f"fixed resistors that miss their ratio by {block.tolerance:.0%} are no precision resistors; the number is "
            "a fraction, not per cent",
        )


def _unsourced_laws(block: Strict, prefix: str = "") -> Iterator[str]:
    for key in type(block).model_fields:
        value = getattr(block, key)
        if isinstance(value, (Polynomial, ClampedLog, MeasuredCurve)):
            if not value.source.strip():
                yield prefix + key
        elif isinstance(value, Strict):
            yield from _unsourced_laws(value, f"{prefix}{key}.")


def _along(law: Polynomial, low: float, points: int = 101) -> list[float]:
    xs = [low + (1 - low) * k / (points - 1) for k in range(points)]
    return [sum(c * x**k for k, c in enumerate(law.coefficients_siemens)) for x in xs]


_RULES: tuple[Rule, ...] = (_crossbar, _fixed_network, _amplifier, _rails, _curve, _converters, _detector)
