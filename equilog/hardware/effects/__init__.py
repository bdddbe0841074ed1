"""Everything by which hardware differs from mathematics, one effect a file, and the switch of each.

Devices of the crossbar pass the effects of :data:`DEVICE_EFFECTS` in that order, then the wires.
"""

from __future__ import annotations

from typing import Any

from equilog.hardware.effects.drift import PowerLawDrift
from equilog.hardware.effects.effect import DeviceEffect, Devices
from equilog.hardware.effects.fixed_network import FIXED_NETWORK
from equilog.hardware.effects.levels import Levels
from equilog.hardware.effects.neuron import ACTIVATION_GAIN, ACTIVATION_OFFSET, AMPLIFIER_OFFSET
from equilog.hardware.effects.programming_error import ProgrammingError
from equilog.hardware.effects.read_noise import DeviceReadNoise
from equilog.hardware.effects.rounding import ESeriesRounding
from equilog.hardware.effects.stuck import StuckDevices
from equilog.hardware.effects.temperature import TemperatureCoefficient
from equilog.hardware.technology.spec import Spec
from equilog.names import unknown

__all__ = [
    "ACTIVATION_GAIN",
    "ACTIVATION_OFFSET",
    "AMPLIFIER_OFFSET",
    "DEVICE_EFFECTS",
    "FIXED_NETWORK",
    "NEURON_EFFECTS",
    "SWITCHES",
    "DeviceEffect",
    "Devices",
    "only",
    "without",
]

DEVICE_EFFECTS: tuple[DeviceEffect, ...] = (
    Levels(),
    ESeriesRounding(),
    ProgrammingError(),
    PowerLawDrift(),
    TemperatureCoefficient(),
    StuckDevices(),
    DeviceReadNoise(),
)

NEURON_EFFECTS = (AMPLIFIER_OFFSET, ACTIVATION_GAIN, ACTIVATION_OFFSET)

SWITCHES: dict[str, dict[str, Any]] = {
    **{effect.name: effect.off() for effect in DEVICE_EFFECTS},
    "wires": {"crossbar": {"wires": None}},
    **{effect.name: effect.off() for effect in NEURON_EFFECTS},
    FIXED_NETWORK.name: FIXED_NETWORK.off(),
    "finite-gain": {"amplifier": {"dc_gain": 1e15}},
    "input-bias": {"amplifier": {"input_bias_ampere": None}},
    "amplifier-noise": {"amplifier": {"noise_volt_per_rthz": None}},
    "slew": {"amplifier": {"slew_volt_per_second": None}},
    "rails": {"amplifier": {"rail_volt": None}},
    "curve": {"activation": {"curve": None}},
    "dac-inl": {"dac": {"inl_lsb": None}},
    "dac-noise": {"dac": {"noise_volt": None}},
    "adc-inl": {"adc": {"inl_lsb": None}},
    "adc-noise": {"adc": {"noise_volt": None}},
}
"""what switches each effect off, by its name"""


def without(spec: Spec, *names: str) -> Spec:
    """Return the technology with some effects switched off.

    Raises:
        UserError: for an effect that there is not, naming the nearest.
    """
    for name in names:
        if name not in SWITCHES:
            raise unknown("effect", name, SWITCHES)
        spec = spec.changed(**SWITCHES[name])
    return spec


def only(spec: Spec, *names: str) -> Spec:
    """Return the technology with all effects switched off but these; raises ``UserError`` likewise."""
    if missing := [name for name in names if name not in SWITCHES]:
        raise unknown("effect", missing[0], SWITCHES)
    return without(spec, *(name for name in SWITCHES if name not in names))
