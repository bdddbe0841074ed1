"""A process as data: what blocks take in area, and in power where a technology does not say."""

from __future__ import annotations

from functools import cache
from importlib import resources

from equilog.hardware import Figure, Spec
from equilog.names import Strict, load_yaml, parse


class Process(Strict):
    """Area of one of each block in m², of passives for their value, and power in watts of what is always on."""

    name: str
    summary: str
    device_m2: Figure
    amplifier_m2: Figure
    activation_m2: Figure
    dac_m2: Figure
    adc_m2: Figure
    sample_hold_m2: Figure
    comparator_m2: Figure
    reference_m2: Figure
    resistor_m2_per_ohm: Figure
    capacitor_m2_per_farad: Figure
    layout_per_gate: Figure
    """area of a layout over the sum of W·L of its transistors"""
    sample_hold_watt: Figure
    comparator_watt: Figure
    reference_watt: Figure
    standby_fraction: Figure
    """what is left of the power of amplifiers and activations while a chip waits"""


@cache
def default_process() -> Process:
    """Return the process that ships with equilog."""
    return _load("process.yaml")


@cache
def board_process() -> Process:
    """Return the same of discrete parts on a board."""
    return _load("board.yaml")


def process_of(spec: Spec) -> Process:
    """Return the board's where a technology is made of parts in an E series, else the integrated one."""
    return default_process() if spec.crossbar.e_series is None else board_process()


def _load(name: str) -> Process:
    with resources.as_file(resources.files("equilog.cost") / name) as path:
        return parse(Process, load_yaml(path), f"equilog's {name}")
