"""The convergence detector as a SPICE circuit beside ``layer.cir``, and when it reports.

Files, in a folder that :func:`equilog.circuit.write_circuit` has filled:

    detector.lib    a neuron's lag and comparators; the hold timer
    detector.cir    one pair of comparators per neuron, wired together, with this chip's offsets
    detect_K.cir    test bench: transient of sample K from discharged capacitors until the detector has reported

Nodes: ``lagI`` neuron I's lagged output, ``still`` the wired AND, ``settled`` the detector's output, 0 V or 1 V. What
the twin (:mod:`equilog.hardware.detector`) takes for steps takes time here, so that the simulator converges: a
comparator turns within a few :data:`WIDTH` of its threshold, the timer's reset and output take :data:`QUICK` of the
window.
"""

from __future__ import annotations

import math
from importlib import resources
from pathlib import Path
from threading import Event

import numpy as np
from torch import Tensor

from equilog.circuit.ngspice import Ngspice, NgspiceError
from equilog.circuit.rawfile import Plot
from equilog.circuit.text import number, write_files
from equilog.hardware.detector import comparator_limits, detector_of
from equilog.hardware.programming import ProgrammedLayer

# Looser than a plain transient's: the report is wanted to a part in a thousand, and steps that follow the first
# femtoamperes of every comparator's turn are too short for the simulator's own rounding.
OPTIONS = "reltol=1e-8 abstol=1e-13 vntol=1e-9 chgtol=1e-18 trtol=1 gmin=1e-15 method=trap"
WIDTH = 1e-3
"""What a comparator steps over, as a fraction of the threshold."""
LEAST_WIDTH_VOLT = 1e-6
"""The same at least: a narrower one turns the simulator's rounding of v into noise of the timer."""
QUICK = 1e-4
"""How long reset and output of the timer take, and the least it holds, as a fraction of the window."""


def write_detector(
    layer: ProgrammedLayer,
    folder: Path,
    *,
    settle: Tensor | None = None,
    duration_second: float | None = None,
    start_second: float = 0.0,
) -> list[Path]:
    """Write the detector into the folder of the layer's circuit, and a test bench for each sample.

    Args:
        layer: the chip; its technology has a detector.
        folder: where its circuit is. Files of the same names are replaced, benches of an earlier call removed.
        settle: drives as played, shape ``(samples, m)``, for ``detect_K.cir``.
        duration_second: length of the transients; until just past the timeout unless given.
        start_second: when the network is released from its reset, from which the detector's times count.

    Returns:
        the files written.

    Raises:
        ValueError: if the technology has no detector.
    """
    for stale in folder.glob("detect_*.cir"):
        stale.unlink()
    text = {
        "detector.lib": (resources.files("equilog.circuit") / "detector.lib").read_text(encoding="utf-8"),
        "detector.cir": "\n".join(detector_lines(layer, start_second)) + "\n",
    }
    if settle is not None:
        timeout = float(detector_of(layer).timeout_second)
        duration = 1.01 * timeout if duration_second is None else duration_second
        for k, played in enumerate(settle):
            text[f"detect_{k}.cir"] = _bench(layer, played, duration)
    return write_files(folder, text)


def detector_lines(layer: ProgrammedLayer, start_second: float = 0.0) -> list[str]:
    """Return the detector of a chip as deck lines, to stand after ``.include layer.cir``; arguments as above.

    Raises:
        ValueError: if the technology has no detector.
    """
    detector = detector_of(layer)
    window = float(detector.window_second)
    shared = f"window={number(window)} width={number(max(WIDTH * detector.threshold_volt, LEAST_WIDTH_VOLT))}"
    lines = [
        f"* Detector of {layer.states} neurons: threshold {float(detector.threshold_volt):.6g} V, "
        f"window {window:.6g} s, hold {float(detector.hold_second):.6g} s",
        ".include detector.lib",
        "",
        "* Comparators. high, low: threshold plus this chip's offset.",
    ]
    for i, (high, low) in enumerate(comparator_limits(layer).T.tolist()):
        lines += [f"Xd{i} v{i} lag{i} still comparator_pair {shared}", f"+ high={number(high)} low={number(low)}"]
    hold = max(float(detector.hold_second), QUICK * window)
    start = f" start={number(start_second)}" if start_second else ""
    lines += [
        "",
        "* Timer, armed after one window.",
        f"Xtimer still settled hold_timer window={number(window)} hold={number(hold)}",
        f"+ timeout={number(detector.timeout_second)} quick={number(QUICK * window)}{start}",
    ]
    return lines


def detect(simulator: Ngspice, folder: Path, sample: int, cancel: Event | None = None) -> float:
    """Run ``detect_K.cir`` of a circuit folder; return when the detector reports, in seconds, inf if it does not.

    `cancel` as in :meth:`Ngspice.run`; raises :class:`NgspiceError` if the simulator fails.
    """
    plot = simulator.run(folder, f"detect_{sample}.cir", "detect.raw", timeout_second=1800, cancel=cancel)[-1]
    return report_second(plot)


def report_second(plot: Plot) -> float:
    """Return when ``settled`` first passes 0.5 V in a transient that recorded it; inf if it does not.

    Raises:
        NgspiceError: if the transient did not record ``settled``.
    """
    try:
        return rise_second(plot, "v(settled)")
    except KeyError as missing:
        raise NgspiceError(f"the transient does not record the detector's output: {missing.args[0]}") from None


def rise_second(plot: Plot, name: str) -> float:
    """Return when a recorded voltage first passes 0.5 V, inf if it does not; ``KeyError`` if it was not recorded."""
    time, settled = plot["time"], plot[name]
    above = np.flatnonzero(settled >= 0.5)
    if not len(above):
        return math.inf
    k = int(above[0])
    if k == 0:
        return float(time[0])
    part = (0.5 - settled[k - 1]) / (settled[k] - settled[k - 1])
    return float(time[k - 1] + part * (time[k] - time[k - 1]))


def _bench(layer: ProgrammedLayer, played: Tensor, duration_second: float) -> str:
    volts = played * layer.spec.dac.full_scale_volt
    step = min(layer.time_constant_second, float(detector_of(layer).window_second)) / 50
    lines = [
        "* Transient from discharged capacitors (reset released at t = 0), watched by the detector; writes detect.raw",
        ".include layer.cir",
        ".include detector.cir",
        f".options {OPTIONS}",
        ".save v(settled) v(still)",
        *[f".save v(v{i}) v(sp{i})" for i in range(layer.states)],
        f".tran {number(step / 1000)} {number(duration_second)} 0 {number(step)} uic",
        ".control",
        "set filetype=binary",
    ]
    lines += [f"alter Vd{k} dc = {number(value)}" for k, value in enumerate(volts)]
    lines += ["run", "write detect.raw", "quit 0", ".endc", ".end", ""]
    return "\n".join(lines)
