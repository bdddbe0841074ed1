"""What decides the numbers of a study, its fingerprint, and the name of the folder that it gets."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

import equilog
from equilog.hardware import Spec
from equilog.hardware.conditions import ROOM_KELVIN
from equilog.model import HybridDEQ
from equilog.names import Strict
from equilog.objective import Objective
from equilog.pipeline import UNSEEN_CHIPS
from equilog.yields.quantities import time_text


class StudyConfig(Strict):
    """The circumstances of a study. Model, technology and samples come beside it."""

    without: tuple[str, ...] = ()
    """effects switched off, see :func:`equilog.hardware.without`"""
    age_second: float | None = Field(default=None, gt=0)
    """of the chips since programming; None for just programmed"""
    temperature_kelvin: float = Field(default=ROOM_KELVIN, gt=0)
    """of the chips"""
    read_seed: int | None = Field(default=None, ge=0)
    """where read and converter noise are drawn from, for every chip anew; None for noiseless reads"""
    settle_samples: int = Field(default=4, ge=0)
    """how many of the first samples every chip also settles in time; 0 leaves settling out"""
    first_seed: int = Field(default=UNSEEN_CHIPS, ge=0)
    """chips have this seed and those that follow"""


def identity(
    model: HybridDEQ, spec: Spec, x: Tensor, y: Tensor, objective: Objective, config: StudyConfig
) -> dict[str, Any]:
    """Return all that decides a chip's row, as plain data: a study goes on only where this is the same."""
    technology = json.dumps(spec.model_dump(mode="json", exclude_none=True), sort_keys=True)
    return {
        "equilog": equilog.__version__,
        "model": _digest(*(t for _name, t in sorted(model.state_dict().items()))),
        "hardware": spec.name,
        "technology": hashlib.sha256(technology.encode()).hexdigest()[:16],
        "samples": len(x),
        "data": _digest(x, y),
        "score": " in ".join(filter(None, (objective.score_name, objective.score_unit))),
        **config.model_dump(mode="json"),
    }


def fingerprint(identity: dict[str, Any]) -> str:
    """Return eight hexadecimal digits that are others for any other study."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]


def folder_name(identity: dict[str, Any], samples: int | None) -> str:
    """Return a name that says what is unusual about the study, and ends in its fingerprint.

    Args:
        identity: of the study.
        samples: how many test samples were asked for; None for all.
    """
    parts = [identity["hardware"], *(f"without-{name}" for name in identity["without"])]
    if identity["age_second"] is not None:
        parts.append(time_text(identity["age_second"]))
    if identity["temperature_kelvin"] != ROOM_KELVIN:
        parts.append(f"{identity['temperature_kelvin']:g}K")
    if identity["read_seed"] is not None:
        parts.append(f"read{identity['read_seed']}")
    if samples is not None:
        parts.append(f"{samples}samples")
    return "-".join([*parts, fingerprint(identity)])


def _digest(*tensors: Tensor) -> str:
    found = hashlib.sha256()
    for t in tensors:
        found.update(f"{tuple(t.shape)}{t.dtype}".encode())
        found.update(t.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]
