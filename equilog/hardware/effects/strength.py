"""A technology with its effects turned down: what training can begin with, and grow into the real one."""

from __future__ import annotations

import math
from typing import Any

from equilog.hardware.technology.spec import Spec

PERFECT_GAIN = 1e15
MAX_BITS = 24
# The number of every block whose size is the size of an effect, by its dotted name.
_SIZES = (
    "crossbar.temperature.per_kelvin",
    "crossbar.stuck.low_fraction",
    "crossbar.stuck.high_fraction",
    "crossbar.read_noise.flicker.coefficient",
    "crossbar.read_noise.flicker.cap",
    "crossbar.wires.word_line_ohm",
    "crossbar.wires.bit_line_ohm",
    "fixed_network.tolerance",
    "amplifier.offset_sigma_volt",
    "amplifier.noise_volt_per_rthz",
    "amplifier.input_bias_ampere",
    "activation.gain_sigma",
    "activation.offset_sigma_volt",
    "dac.inl_lsb",
    "dac.noise_volt",
    "adc.inl_lsb",
    "adc.noise_volt",
)
_POLYNOMIALS = (
    "crossbar.programming_sigma",
    "crossbar.relaxation.sigma",
    "crossbar.relaxation.shift",
    "crossbar.read_noise.sigma",
)
_LAWS = ("crossbar.drift.exponent_mean", "crossbar.drift.exponent_sigma")


def at_strength(spec: Spec, strength: float) -> Spec:
    """Return the technology with every static effect `strength` times its size; chips keep their draws.

    Standard deviations, offsets, exponents of drift, wire resistances and fractions of stuck devices are multiplied by
    it, open-loop gains divided. Steps of levels and converters shrink in the same proportion, bits to the next whole
    number. Ranges, rails, the curve of the activation and series of resistor values stay.

    Args:
        spec: the technology.
        strength: from 0, where nothing of all this is left, to 1, the technology itself.

    Raises:
        ValueError: for a strength outside 0 to 1.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength = {strength}: expected 0 to 1")
    if strength == 1:
        return spec
    data = spec.model_dump(mode="json")
    for name in _SIZES:
        _change(data, name, lambda size: float(size) * strength)
    for name in _POLYNOMIALS:
        _change(data, f"{name}.coefficients_siemens", lambda all_: [c * strength for c in all_])
    for name in _LAWS:
        for part in ("slope", "intercept", "low", "high"):
            _change(data, f"{name}.{part}", lambda value: value * strength)
    _change(data, "amplifier.dc_gain", lambda gain: min(float(gain) / max(strength, 1e-9), PERFECT_GAIN))
    _change(data, "crossbar.levels", lambda levels: _levels(float(levels), strength))
    for converter in ("dac", "adc"):
        _change(data, f"{converter}.bits", lambda bits: _bits(float(bits), strength))
    return Spec.model_validate(data)


def _levels(levels: float, strength: float) -> int | None:
    finer = math.inf if strength == 0 else (levels - 1) / strength + 1
    return round(finer) if finer <= 2**20 else None


def _bits(bits: float, strength: float) -> int:
    return MAX_BITS if strength == 0 else min(MAX_BITS, round(bits - math.log2(strength)))


def _change(data: dict[str, Any], name: str, change: Any) -> None:
    """Change one number where the technology has it; its source no longer stands for it."""
    *blocks, key = name.split(".")
    for block in blocks:
        data = data.get(block) or {}
    value = data.get(key)
    if value is not None:
        data[key] = change(value["value"] if isinstance(value, dict) else value)
