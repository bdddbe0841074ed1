"""The circuits on which twin and simulator must agree, as data; every comparison runs over this one list."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from builders import CONTINUOUS, NO_MISMATCH, drives, layer_of, spec_with
from torch import Tensor

from equilog.hardware import ProgrammedLayer


@dataclass(frozen=True)
class Case:
    """One circuit: size, technology (a preset with numbers replaced), weights, chip, and how closely to agree."""

    name: str
    n: int
    m: int
    preset: str = "rram"
    changes: dict[str, Any] = field(default_factory=dict)
    norm: float = 2.0
    seed: int = 1
    at_rest: float = 1e-6
    in_time: float = 1e-4

    def layer(self) -> ProgrammedLayer:
        return layer_of(spec_with(self.preset, self.changes), self.n, self.m, self.seed, self.norm)

    def played(self) -> Tensor:
        """Four samples: silence, both rails, and two at random."""
        ends = torch.stack([torch.zeros(self.m), torch.ones(self.m)]).double()
        return torch.cat([ends, drives(2, self.m, self.seed)])


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
]
