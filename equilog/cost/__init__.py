"""Energy, latency and parts: what the chip costs, and what a digital computer would, each figure a range."""

from equilog.cost.digital import Work, equilibrium_work, module_work
from equilog.cost.estimate import CostReport, estimate
from equilog.cost.inference import Use, chip_inference, chip_watt
from equilog.cost.span import Span
from equilog.cost.target import DigitalTarget, default_target, load_target, target_names

__all__ = [
    "CostReport",
    "DigitalTarget",
    "Span",
    "Use",
    "Work",
    "chip_inference",
    "chip_watt",
    "default_target",
    "equilibrium_work",
    "estimate",
    "load_target",
    "module_work",
    "target_names",
]
