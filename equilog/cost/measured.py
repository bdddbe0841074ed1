"""Energy as the machine itself counts it: RAPL counters of the processor, NVML's of a GPU, where there are any.

RAPL counts whole packages and NVML whole cards, everything on them included; from a virtual machine neither is usually
to be seen. :func:`meters` says what there is, and :func:`missing` why there is nothing.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

POWERCAP = Path("/sys/class/powercap")


class Meter(Protocol):
    """Something that counts joules."""

    @property
    def name(self) -> str:
        """What it counts."""
        ...

    def joule(self) -> float:
        """Return the count; it may wrap round at :attr:`wraps_joule`."""
        ...

    @property
    def wraps_joule(self) -> float:
        """Where the count begins again; inf if it does not."""
        ...


@dataclass(frozen=True)
class Rapl:
    """One package's counter in the kernel's powercap tree."""

    folder: Path
    name: str

    def joule(self) -> float:
        """Return the count, from microjoules."""
        return int((self.folder / "energy_uj").read_text()) * 1e-6

    @property
    def wraps_joule(self) -> float:
        """Return its range."""
        return int((self.folder / "max_energy_range_uj").read_text()) * 1e-6


@dataclass(frozen=True)
class Nvml:
    """One card's counter since its driver was loaded."""

    library: ctypes.CDLL
    handle: ctypes.c_void_p
    name: str

    def joule(self) -> float:
        """Return the count, from millijoules."""
        millijoule = ctypes.c_ulonglong()
        if self.library.nvmlDeviceGetTotalEnergyConsumption(self.handle, ctypes.byref(millijoule)):
            raise OSError(f"{self.name}: NVML no longer gives its energy")
        return millijoule.value * 1e-3

    @property
    def wraps_joule(self) -> float:
        """Return inf: 64 bits of millijoules."""
        return float("inf")


@dataclass(frozen=True)
class Measurement:
    """Energy of one call, mean over repetitions.

    Attributes:
        joule: by meter, everything on its package or card.
        idle_joule: what it counts in the same time without the work.
        second: of one call.
        calls: how many there were.
    """

    joule: dict[str, float]
    idle_joule: dict[str, float]
    second: float
    calls: int


def meters(powercap: Path = POWERCAP) -> list[Meter]:
    """Return what this machine offers: readable packages of RAPL, cards of NVML that count energy."""
    return [*_rapl(powercap), *_nvml()]


def missing(powercap: Path = POWERCAP) -> str:
    """Return why there is no meter; an empty string if there is one."""
    if meters(powercap):
        return ""
    zones = sorted(powercap.glob("intel-rapl:*")) if powercap.is_dir() else []
    if zones:
        rapl = f"RAPL is there, but {zones[0]}/energy_uj may only be read by root"
    else:
        rapl = f"no RAPL ({powercap} has no intel-rapl zone: usual in a virtual machine)"
    return f"energy cannot be measured here: {rapl}; no NVML (no NVIDIA driver, or a card without an energy counter)"


def measure_energy(call: Callable[[], object], second: float = 2.0, among: list[Meter] | None = None) -> Measurement:
    """Return what a call takes by every meter, repeated for about so many seconds, and as long without it.

    Args:
        call: what to measure.
        second: RAPL counts every millisecond: take many of them.
        among: the meters; all there are unless given.

    Raises:
        OSError: if there is none, with the reason.
    """
    found = meters() if among is None else among
    if not found:
        raise OSError(missing() or "no meters were given")
    call()
    before, begin, calls = [m.joule() for m in found], time.perf_counter(), 0
    while time.perf_counter() - begin < second:
        call()
        calls += 1
    elapsed = time.perf_counter() - begin
    busy = {m.name: _since(m, b) / calls for m, b in zip(found, before)}
    before = [m.joule() for m in found]
    time.sleep(elapsed)
    idle = {m.name: _since(m, b) / calls for m, b in zip(found, before)}
    return Measurement(busy, idle, elapsed / calls, calls)


def _since(meter: Meter, before: float) -> float:
    used = meter.joule() - before
    return used if used >= 0 else used + meter.wraps_joule


def _rapl(powercap: Path) -> list[Meter]:
    found: list[Meter] = []
    # Packages only: their cores and memories are within them and would count twice.
    for folder in sorted(powercap.glob("intel-rapl:*")) if powercap.is_dir() else []:
        if folder.name.count(":") != 1:
            continue
        try:
            meter = Rapl(folder, f"RAPL {(folder / 'name').read_text().strip()}")
            meter.joule()
        except (OSError, ValueError):
            continue
        found.append(meter)
    return found


def _nvml() -> list[Meter]:
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return []
    if library.nvmlInit_v2():
        return []
    count = ctypes.c_uint()
    found: list[Meter] = []
    library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    for k in range(count.value):
        handle = ctypes.c_void_p()
        if library.nvmlDeviceGetHandleByIndex_v2(k, ctypes.byref(handle)):
            continue
        meter = Nvml(library, handle, f"NVML card {k}")
        try:
            meter.joule()
        except OSError:
            continue
        found.append(meter)
    return found
