"""The circuits on which twin and simulator must agree, as data; every comparison runs over this one list."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from builders import CONTINUOUS, NO_MISMATCH, chain_law, drives, layer_of, spec_with
from torch import Tensor

from equilog.hardware import Conditions, ProgrammedLayer


@dataclass(frozen=True)
class Case:
    """One circuit: size, technology (a preset with numbers replaced), weights, chip, and how closely to agree.

    `law`: how many leading states fixed resistors hold; `linear`: how many of them have no activation; `apart`: whether
    the crossbar has no devices there. The last two: whether any amplifier slews, or meets a rail, as its last sample
    settles.
    """

    name: str
    n: int
    m: int
    preset: str = "rram"
    changes: dict[str, Any] = field(default_factory=dict)
    norm: float = 2.0
    seed: int = 1
    at_rest: float = 1e-6
    in_time: float = 1e-4
    age_second: float | None = None
    kelvin: float = 300.0
    read_seed: int | None = None
    law: int = 0
    linear: int = 0
    apart: bool = False
    slews: bool = False
    at_rail: bool = False

    def layer(self) -> ProgrammedLayer:
        reads = None if self.read_seed is None else torch.Generator().manual_seed(self.read_seed)
        when = Conditions(self.age_second, self.kelvin, reads)
        spec = spec_with(self.preset, self.changes)
        fixed = chain_law(self.n, self.m, self.law, self.linear, self.seed) if self.law else None
        return layer_of(spec, self.n, self.m, self.seed, self.norm, when, fixed, self.apart)

    def played(self) -> Tensor:
        """Four samples: silence, both rails, and two at random."""
        ends = torch.stack([torch.zeros(self.m), torch.ones(self.m)]).double()
        return torch.cat([ends, drives(2, self.m, self.seed)])


PCM_DRIFT = {
    "exponent_mean": {"slope": -0.0155, "intercept": 0.0244, "low": 0.049, "high": 0.1, "source": "test"},
    "exponent_sigma": {"slope": -0.0125, "intercept": -0.0059, "low": 0.008, "high": 0.045, "source": "test"},
}
STUCK = {"low_fraction": 0.05, "high_fraction": 0.03, "low_siemens": 0.0, "high_siemens": 4e-5}
READ_NOISE = {
    "sigma": {"coefficients_siemens": [1e-7, 1e-6], "source": "test"},
    "flicker": {"coefficient": 0.0088, "exponent": 0.65, "cap": 0.2, "read_second": 2.5e-7},
}
RELAXATION = {
    "at_second": 86400.0,
    "sigma": {"coefficients_siemens": [1e-6, 5e-6], "source": "test"},
    "shift": {"coefficients_siemens": [0.0, -1e-6], "source": "test"},
}
MEASURED = {
    "input_volt": [round(0.05 * k - 0.6, 2) for k in range(25)],
    "output_volt": [0.16 * math.atan(12 * (0.05 * k - 0.6)) + 0.02 * (0.05 * k - 0.6) for k in range(25)],
    "source": "test",
}
"""a sigmoid that is no tanh, with slopes that do not end in zero"""
WIRES = {"word_line_ohm": 30.0, "bit_line_ohm": 20.0}
LARGE = {"dac.full_scale_volt": 0.5}
EVERY_STATIC_EFFECT = {
    "activation.curve": MEASURED,
    "crossbar.drift": PCM_DRIFT,
    "crossbar.stuck": STUCK,
    "crossbar.e_series": "E96",
    "crossbar.read_noise": READ_NOISE,
    "crossbar.relaxation": RELAXATION,
    "crossbar.temperature": {"per_kelvin": -1e-3, "reference_kelvin": 300.0},
    "crossbar.wires": WIRES,
    "amplifier.input_bias_ampere": 1e-8,
    "dac.inl_lsb": 0.5,
    "dac.noise_volt": 1e-3,
    "adc.inl_lsb": 0.5,
    "adc.noise_volt": 1e-3,
}

CASES = [
    Case("one neuron, RRAM", 1, 1),
    Case("one neuron, board", 1, 3, "board"),
    Case("RRAM", 6, 3),
    Case("RRAM, another chip", 6, 3, seed=2),
    Case("RRAM, twelve neurons", 12, 4),
    Case("RRAM, large weights", 8, 2, norm=4.0, seed=3),
    Case("board", 5, 3, "board"),
    Case("ideal", 4, 2, "ideal"),
    Case("no mismatch", 5, 2, changes=NO_MISMATCH),
    Case("continuous conductances", 5, 2, changes=CONTINUOUS),
    Case("gain of a thousand", 6, 2, changes={"amplifier.dc_gain": 1e3}),
    Case("gain of fifty", 4, 2, changes={"amplifier.dc_gain": 50.0}),
    Case(
        "large offsets",
        6,
        2,
        changes={"amplifier.offset_sigma_volt": 0.02, "activation.offset_sigma_volt": 0.05},
    ),
    Case("large activation mismatch", 6, 2, changes={"activation.gain_sigma": 0.2}),
    Case("slow amplifiers", 5, 2, changes={"amplifier.gbw_hertz": 1e7}, norm=1.0),
    Case("fast amplifiers", 4, 2, changes={"amplifier.gbw_hertz": 1e9}),
    Case("DAC range unlike the state's", 5, 3, changes={"dac.full_scale_volt": 0.35}),
    Case("output scale unlike the input's", 5, 3, changes={"activation.v_scale_volt": 0.052}),
    Case(
        "a day old", 6, 2, changes={"crossbar.drift": PCM_DRIFT, "crossbar.relaxation": RELAXATION}, age_second=86400.0
    ),
    Case("warm", 4, 2, changes={"crossbar.temperature": {"per_kelvin": 2e-3, "reference_kelvin": 300.0}}, kelvin=350.0),
    Case("stuck devices", 8, 3, changes={"crossbar.stuck": STUCK}),
    Case("one noisy read", 5, 2, changes={"crossbar.read_noise": READ_NOISE}, read_seed=3),
    Case("resistive wires", 5, 3, changes={"crossbar.wires": WIRES}),
    Case("resistive word lines only", 4, 2, changes={"crossbar.wires": WIRES | {"bit_line_ohm": 0.0}}),
    Case("resistive bit lines only", 4, 2, changes={"crossbar.wires": WIRES | {"word_line_ohm": 0.0}}),
    Case("wires and a gain of fifty", 4, 2, changes={"crossbar.wires": WIRES, "amplifier.dc_gain": 50.0}),
    Case("bias currents", 4, 2, changes={"amplifier.input_bias_ampere": 1e-7}),
    Case("measured activation", 6, 3, changes={"activation.curve": MEASURED}, norm=3.0),
    Case("rails in reach", 6, 3, changes={"amplifier.rail_volt": 0.12}, norm=3.0, at_rail=True),
    Case("rails that clip most of it", 8, 3, changes=LARGE | {"amplifier.rail_volt": 0.05}, norm=4.0, at_rail=True),
    Case(
        "rails and slow amplifiers",
        5,
        2,
        changes=LARGE | {"amplifier.rail_volt": 0.06, "amplifier.gbw_hertz": 1e7},
        at_rail=True,
    ),
    Case("slewing", 6, 3, changes=LARGE | {"amplifier.slew_volt_per_second": 1e6}, norm=4.0, slews=True),
    Case("slewing all the way", 6, 3, changes=LARGE | {"amplifier.slew_volt_per_second": 2e5}, slews=True),
    Case(
        "slewing with wires and bias currents",
        5,
        2,
        changes=LARGE
        | {
            "amplifier.slew_volt_per_second": 1.5e6,
            "amplifier.input_bias_ampere": 1e-7,
            "amplifier.gbw_hertz": 1e9,
            "crossbar.wires": WIRES,
        },
        slews=True,
    ),
    Case(
        "slewing into rails",
        8,
        3,
        changes=LARGE | {"amplifier.slew_volt_per_second": 1e6, "amplifier.rail_volt": 0.05},
        norm=4.0,
        slews=True,
        at_rail=True,
    ),
    Case(
        "slewing into rails, gain of a hundred and large offsets",
        6,
        3,
        changes=LARGE
        | {
            "amplifier.slew_volt_per_second": 3e6,
            "amplifier.rail_volt": 0.15,
            "amplifier.dc_gain": 100.0,
            "amplifier.offset_sigma_volt": 0.02,
        },
        norm=3.0,
        seed=2,
        slews=True,
        at_rail=True,
    ),
    Case(
        "a board that slews into its rails",
        6,
        3,
        "board",
        changes={"amplifier.slew_volt_per_second": 8e3, "amplifier.rail_volt": 0.06},
        norm=4.0,
        slews=True,
        at_rail=True,
    ),
    Case("a law beside the weights", 6, 3, law=4),
    Case("a law without activations", 6, 3, law=4, linear=4),
    Case("a law in all states", 4, 2, "board", law=4, linear=2),
    Case("a law, rails in reach", 6, 3, law=4, linear=3, changes={"amplifier.rail_volt": 0.12}, at_rail=True),
    Case(
        "a law, no limits, gain of fifty",
        5,
        2,
        law=3,
        linear=3,
        changes={
            "amplifier.dc_gain": 50.0,
            "amplifier.slew_volt_per_second": None,
            "amplifier.rail_volt": None,
            "fixed_network.tolerance": 0.1,
        },
    ),
    Case(
        "a law beside resistive wires",
        5,
        3,
        law=3,
        linear=2,
        changes={"crossbar.wires": WIRES, "amplifier.dc_gain": 50.0, "amplifier.input_bias_ampere": 1e-7},
    ),
    Case("a law alone", 5, 3, law=5, linear=5, apart=True),
    Case("a law alone, nothing ideal", 5, 3, changes=EVERY_STATIC_EFFECT, law=5, linear=4, apart=True, read_seed=1),
    Case("a law alone on a board", 4, 2, "board", law=4, apart=True),
    Case("a law apart with hidden neurons", 7, 3, law=4, linear=3, apart=True),
    Case(
        "a law apart, resistive wires",
        6,
        3,
        law=4,
        linear=4,
        apart=True,
        changes={"crossbar.wires": WIRES, "amplifier.dc_gain": 50.0, "amplifier.input_bias_ampere": 1e-7},
    ),
    Case(
        "a law apart, every static effect",
        7,
        3,
        law=4,
        linear=2,
        apart=True,
        changes=EVERY_STATIC_EFFECT,
        age_second=3600.0,
        kelvin=320.0,
        read_seed=1,
    ),
    Case(
        "a law, every static effect",
        6,
        3,
        law=3,
        linear=2,
        changes=EVERY_STATIC_EFFECT,
        age_second=3600.0,
        kelvin=320.0,
        read_seed=1,
    ),
    Case(
        "every static effect", 8, 3, changes=EVERY_STATIC_EFFECT, age_second=3600.0, kelvin=320.0, read_seed=1, norm=3.0
    ),
]
