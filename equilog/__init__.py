"""equilog: co-design deep equilibrium models with analog hardware, from a data set to a verified circuit.

What is listed in ``__all__`` is the public API; everything else may change.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from equilog.cells import AffineSystem, CircuitCell, ContractiveWeight, MonotoneWeight, SymmetricWeight, certify
    from equilog.circuit import find_ngspice, write_circuit
    from equilog.cost import estimate
    from equilog.devices import DigitalDevice, NgspiceDevice, TwinDevice, run_on, verify
    from equilog.equilibrium import EquilibriumLayer
    from equilog.hardware import Chip, Spec, load_spec, preset_names
    from equilog.hardware.noise import noise_at_rest
    from equilog.hardware.wires import effective_conductance
    from equilog.model import HybridDEQ
    from equilog.pipeline import run
    from equilog.runs import RunConfig, RunFolder
    from equilog.tasks import get_task, task_names
    from equilog.training import TrainConfig, fit

_HOME = {
    "AffineSystem": "cells",
    "Chip": "hardware",
    "CircuitCell": "cells",
    "ContractiveWeight": "cells",
    "DigitalDevice": "devices",
    "EquilibriumLayer": "equilibrium",
    "HybridDEQ": "model",
    "MonotoneWeight": "cells",
    "NgspiceDevice": "devices",
    "RunConfig": "runs",
    "RunFolder": "runs",
    "Spec": "hardware",
    "SymmetricWeight": "cells",
    "TrainConfig": "training",
    "TwinDevice": "devices",
    "certify": "cells",
    "effective_conductance": "hardware.wires",
    "estimate": "cost",
    "find_ngspice": "circuit",
    "fit": "training",
    "get_task": "tasks",
    "load_spec": "hardware",
    "noise_at_rest": "hardware.noise",
    "preset_names": "hardware",
    "run": "pipeline",
    "run_on": "devices",
    "task_names": "tasks",
    "verify": "devices",
    "write_circuit": "circuit",
}

__all__ = [
    "AffineSystem",
    "Chip",
    "CircuitCell",
    "ContractiveWeight",
    "DigitalDevice",
    "EquilibriumLayer",
    "HybridDEQ",
    "MonotoneWeight",
    "NgspiceDevice",
    "RunConfig",
    "RunFolder",
    "Spec",
    "SymmetricWeight",
    "TrainConfig",
    "TwinDevice",
    "certify",
    "effective_conductance",
    "estimate",
    "find_ngspice",
    "fit",
    "get_task",
    "load_spec",
    "noise_at_rest",
    "preset_names",
    "run",
    "run_on",
    "task_names",
    "verify",
    "write_circuit",
]


def __getattr__(name: str) -> Any:
    """Import on first use: ``equilog --help`` should not wait for PyTorch."""
    if name not in _HOME:
        raise AttributeError(f"module 'equilog' has no attribute {name!r}")
    return getattr(importlib.import_module(f"equilog.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
