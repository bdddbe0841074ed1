"""The state of an unfinished transfer: one file of tensors and plain data, replaced whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from equilog.devices import Calibration
from equilog.names import UserError

FILE = "adapt.pt"


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write the state beside the old one and rename it, so that a kill never leaves a torn file under the name."""
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / f"{FILE}.part"
    torch.save(state, scratch)
    os.replace(scratch, folder / FILE)


def load(folder: Path, belongs_to: dict[str, Any]) -> dict[str, Any] | None:
    """Return the state, None if there is none; nothing in it is unpickled but tensors and plain data.

    Raises:
        UserError: if it cannot be read, or belongs to another transfer.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
        owner = state["belongs_to"]
    except Exception as error:  # whatever is wrong with the file, the remedy is the same
        raise UserError(f"{path} is no state of a transfer ({type(error).__name__}); remove it to begin anew") from None
    if owner != belongs_to:
        different = sorted(key for key in owner.keys() | belongs_to.keys() if owner.get(key) != belongs_to.get(key))
        raise UserError(
            f"{path} belongs to a transfer with other {', '.join(different)}; continue that one, or use another folder"
        )
    return state


def of_calibration(calibration: Calibration | None) -> dict[str, torch.Tensor] | None:
    """Return a calibration as plain data."""
    return None if calibration is None else dict(vars(calibration))


def to_calibration(data: dict[str, torch.Tensor] | None) -> Calibration | None:
    """Return it from plain data."""
    return None if data is None else Calibration(**data)
