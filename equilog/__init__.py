"""equilog: co-design deep equilibrium models with analog hardware, from a data set to a verified circuit.

What is listed in ``__all__`` is the public API; everything else may change.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from equilog.cells import (
        AffineSystem,
        CircuitCell,
        ContractiveWeight,
        LinearCell,
        MonotoneWeight,
        SymmetricWeight,
        certify,
    )
    from equilog.circuit import find_ngspice, write_circuit
    from equilog.conversion import convert
    from equilog.cost import estimate
    from equilog.devices import DigitalDevice, NgspiceDevice, TwinDevice, run_on, verify
    from equilog.equilibrium import EquilibriumLayer
    from equilog.hardware import Chip, Conditions, Population, Spec, load_spec, only, preset_names, without
    from equilog.hardware.curve import read_curve
    from equilog.hardware.noise import draw_noise, noise_at_rest
    from equilog.hardware.product import AnalogLinear
    from equilog.hardware.rest import at_rest
    from equilog.hardware.transient import Transient
    from equilog.hardware.wires import effective_conductance
    from equilog.model import HybridDEQ
    from equilog.objective import Classification, Regression
    from equilog.pipeline import run
    from equilog.runs import RunConfig, RunFolder
    from equilog.tasks import get_task, task_names
    from equilog.training import Stage, TrainConfig, curriculum, fit
    from equilog.yields import study_run

_HOME = {
    "AffineSystem": "cells",
    "AnalogLinear": "hardware.product",
    "Chip": "hardware",
    "CircuitCell": "cells",
    "Classification": "objective",
    "Conditions": "hardware",
    "ContractiveWeight": "cells",
    "DigitalDevice": "devices",
    "EquilibriumLayer": "equilibrium",
    "HybridDEQ": "model",
    "LinearCell": "cells",
    "MonotoneWeight": "cells",
    "NgspiceDevice": "devices",
    "Population": "hardware",
    "Regression": "objective",
    "RunConfig": "runs",
    "RunFolder": "runs",
    "Spec": "hardware",
    "Stage": "training",
    "SymmetricWeight": "cells",
    "TrainConfig": "training",
    "Transient": "hardware.transient",
    "TwinDevice": "devices",
    "at_rest": "hardware.rest",
    "certify": "cells",
    "convert": "conversion",
    "curriculum": "training",
    "draw_noise": "hardware.noise",
    "effective_conductance": "hardware.wires",
    "estimate": "cost",
    "find_ngspice": "circuit",
    "fit": "training",
    "get_task": "tasks",
    "load_spec": "hardware",
    "noise_at_rest": "hardware.noise",
    "only": "hardware",
    "preset_names": "hardware",
    "read_curve": "hardware.curve",
    "run": "pipeline",
    "run_on": "devices",
    "study_run": "yields",
    "task_names": "tasks",
    "verify": "devices",
    "without": "hardware",
    "write_circuit": "circuit",
}

__all__ = [
    "AffineSystem",
    "AnalogLinear",
    "Chip",
    "CircuitCell",
    "Classification",
    "Conditions",
    "ContractiveWeight",
    "DigitalDevice",
    "EquilibriumLayer",
    "HybridDEQ",
    "LinearCell",
    "MonotoneWeight",
    "NgspiceDevice",
    "Population",
    "Regression",
    "RunConfig",
    "RunFolder",
    "Spec",
    "Stage",
    "SymmetricWeight",
    "TrainConfig",
    "Transient",
    "TwinDevice",
    "at_rest",
    "certify",
    "convert",
    "curriculum",
    "draw_noise",
    "effective_conductance",
    "estimate",
    "find_ngspice",
    "fit",
    "get_task",
    "load_spec",
    "noise_at_rest",
    "only",
    "preset_names",
    "read_curve",
    "run",
    "run_on",
    "study_run",
    "task_names",
    "verify",
    "without",
    "write_circuit",
]


def __getattr__(name: str) -> Any:
    """Import on first use: ``equilog --help`` should not wait for PyTorch."""
    if name not in _HOME:
        raise AttributeError(f"module 'equilog' has no attribute {name!r}")
    return getattr(importlib.import_module(f"equilog.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
