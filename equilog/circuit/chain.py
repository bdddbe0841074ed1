"""The whole chain as one SPICE circuit: drive, DACs, network, detector, sample-and-hold, ADCs, codes.

Folder layout, complete in itself:

    blocks.lib, crossbar.inc    as :func:`equilog.circuit.write_circuit` writes them
    layer.cir                   the same without test sources: DACs drive ``dpK``
    detector.lib, detector.cir  as :func:`equilog.circuit.detector.write_detector` writes them
    converters.lib              DAC, reset switch, sample-and-hold, ADC
    chain.cir                   everything above, wired together
    chain_K.cir                 test bench: sample K from code to code

Nodes: ``inK`` drive K in DAC codes, 1 V each, before rounding; ``dpK`` what its DAC puts out; ``run`` rises when the
network's reset is released; ``spI`` activation output; ``settled`` the detector's output; ``heldI`` what is kept of
``spI`` once ``settled`` has risen; ``done`` the ADCs' clock; ``yI`` the code of neuron I, 1 V each.

Codes arrive at t = 0, while all capacitors are shorted. The DACs settle with the time constant
``conversion_second/(bits ln 2)``, from zero to full scale within half a code in their conversion time; then the reset
is released, of the detector's lags too. The twin in time, whose DACs have settled, begins there, and so do the
detector's window and timeout. Converter noise is in neither.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from threading import Event

import torch
from torch import Tensor

from equilog.cells.circuit_cell import check_drive
from equilog.circuit.detector import OPTIONS, QUICK, report_second, rise_second, write_detector
from equilog.circuit.netlist import write_circuit
from equilog.circuit.ngspice import Ngspice, NgspiceError
from equilog.circuit.text import number, write_files
from equilog.hardware.detector import DetectorWatch, comparator_limits, detector_of
from equilog.hardware.programming import ProgrammedLayer
from equilog.hardware.technology.blocks import Adc, Dac
from equilog.hardware.transient import Transient
from equilog.hardware.twin import adc, dac

MARGIN = 1.1
"""A bench goes on for this much longer than the twin takes to report."""
RESET = 1e-5
"""On-resistance of a reset switch, as a fraction of the resistance beside it: what starts from that much of V_a."""
LAG_FARAD = 1e-9
"""The lags' capacitors in ``detector.lib``."""


@dataclass(frozen=True)
class ChainRun:
    """One sample through the chain in ngspice.

    Attributes:
        codes: the ADCs' codes, shape ``(n,)``, int64; None without a report.
        report_second: when the detector reported rest, from the release of the reset; inf if it did not.
        timed_out: whether the detector's timeout passed without a report.
        held_volt: what the sample-and-holds kept, shape ``(n,)``, float64; where they were at the end without a report.
        played_volt: what the DACs put out at the end, shape ``(m,)``, float64.
    """

    codes: Tensor | None
    report_second: float
    timed_out: bool
    held_volt: Tensor
    played_volt: Tensor


@dataclass(frozen=True)
class TwinChain:
    """Samples through the chain in the twin in time.

    Attributes:
        codes: of the state at the report, shape ``(batch, n)``, int64; meaningless without a report.
        report_second: shape ``(batch,)``; inf where the detector did not report before its timeout.
        held: states ``z = s/V_s`` at the report, shape ``(batch, n)``; nan without one.
    """

    codes: Tensor
    report_second: Tensor
    held: Tensor


def write_chain(
    layer: ProgrammedLayer, folder: Path, *, drive: Tensor | None = None, report: Tensor | None = None
) -> list[Path]:
    """Write the whole chain of a chip, and a test bench for each sample.

    Args:
        layer: the chip; its technology has a detector.
        folder: where to, made if need be; not the folder of a circuit, whose test benches would lose their sources.
        drive: what the parameterization asks for, shape ``(samples, m)``, before the DACs, for ``chain_K.cir``.
        report: when the twin's detector reports each sample, see :func:`twin_chain`, shape ``(samples,)``: a bench ends
            soon after that; after the timeout where that is inf, or unless given.

    Returns:
        the files written.

    Raises:
        ValueError: if the technology has no detector; for a population; for drives or reports of another shape.
    """
    detector = detector_of(layer)
    if drive is not None:
        check_drive(drive, layer.drives)
    if report is not None and (drive is None or report.shape != drive.shape[:1]):
        raise ValueError("expected one report time for every sample")
    paths = write_circuit(layer, folder)
    for stale in folder.glob("chain_*.cir"):
        stale.unlink()
    paths += write_detector(layer, folder, start_second=float(layer.spec.dac.conversion_second))
    circuit = folder / "layer.cir"
    circuit.write_text(_without_sources(circuit.read_text(encoding="utf-8"), layer.drives), encoding="utf-8")
    text = {
        "converters.lib": (resources.files("equilog.circuit") / "converters.lib").read_text(encoding="utf-8"),
        "chain.cir": "\n".join(_chain(layer)) + "\n",
    }
    if drive is not None:
        timeout = float(detector.timeout_second)
        ends = [math.inf] * len(drive) if report is None else report.tolist()
        converters = float(layer.spec.dac.conversion_second) + 1.05 * float(layer.spec.adc.conversion_second)
        for k, (asked, end) in enumerate(zip(drive.detach().double(), ends)):
            duration = MARGIN * end if math.isfinite(end) else 1.01 * timeout
            text[f"chain_{k}.cir"] = _bench(layer, asked, duration + converters)
    return paths + write_files(folder, text)


def chain(simulator: Ngspice, folder: Path, sample: int, cancel: Event | None = None) -> ChainRun:
    """Run ``chain_K.cir`` of a folder written by :func:`write_chain`.

    Args:
        simulator: ngspice.
        folder: where the chain is.
        sample: which bench.
        cancel: as in :meth:`Ngspice.run`.

    Raises:
        NgspiceError: if the simulator fails, or if the bench ended after the report and before the codes were there.
    """
    deck = f"chain_{sample}.cir"
    plot = simulator.run(folder, deck, "chain.raw", timeout_second=1800, cancel=cancel)[-1]
    start = rise_second(plot, "v(run)")
    found = report_second(plot) - start
    held, codes, played = (
        torch.tensor([plot[name][-1] for name in sorted(plot.names, key=_number_in) if re.fullmatch(kind, name)])
        for kind in (r"v\(held\d+\)", r"v\(y\d+\)", r"v\(dp\d+\)")
    )
    played = played.double()
    if math.isinf(found):
        timeout = re.search(r"timeout=(\S+)", (folder / "detector.cir").read_text(encoding="utf-8"))
        limit = float(timeout[1]) if timeout else math.inf
        return ChainRun(None, found, bool(plot["time"][-1] - start >= limit), held.double(), played)
    if plot["v(done)"][-1] < 0.5:
        raise NgspiceError(
            f"{deck} ends {plot['time'][-1] - start - found:.3g} s after the report, before the ADCs are done"
        )
    return ChainRun(codes.round().long(), found, False, held.double(), played)


@torch.no_grad()
def twin_chain(layer: ProgrammedLayer, drive: Tensor) -> TwinChain:
    """Take samples through the chain in the twin in time; the DACs settle at once.

    Args:
        layer: the chip; its technology has a detector.
        drive: shape ``(batch, m)``, before the DACs.

    Raises:
        ValueError: if the technology has no detector; for a population.
    """
    if layer.chips is not None:
        raise ValueError(f"a chain is one chip, this is a population of {layer.chips}: program one of them on its own")
    layer = _silent(layer)
    detector = detector_of(layer)
    moving = Transient(layer, dac(layer, drive.detach().double()))
    says = DetectorWatch(detector, comparator_limits(layer))
    grid = moving.grid(float(detector.timeout_second))
    for instant, w in zip(grid.tolist(), moving.states(grid)):
        says.feed(instant, w[..., 1], moving.slope(w)[..., 1])
        if instant and bool(says.report_second.isfinite().all()):
            break
    report = says.report_second
    held = torch.full((len(drive), layer.states), torch.nan, dtype=torch.float64)
    if (rows := report.isfinite().nonzero()[:, 0]).numel():
        instants, which = report[rows].unique(return_inverse=True)
        held[rows] = moving.activation(moving.at(instants).v_volt[which, rows])
    return TwinChain(codes(layer, held), report, held)


def codes(layer: ProgrammedLayer, state: Tensor) -> Tensor:
    """Return the ADC codes of states ``z``, shape ``(batch, n)``, int64, without converter noise; 0 for nan."""
    one = code_size(layer)
    return (adc(_silent(layer), state.nan_to_num()) / one).round().long()


def code_size(layer: ProgrammedLayer) -> float:
    """Return one ADC code in units of the state."""
    return float(layer.spec.adc.full_scale_volt / layer.spec.activation.v_out_volt) / _top(layer.spec.adc)


def dac_time_constant_second(layer: ProgrammedLayer) -> float:
    """Return the time constant with which a DAC settles within half a code in its conversion time, in seconds."""
    return float(layer.spec.dac.conversion_second) / (int(layer.spec.dac.bits) * math.log(2))


def _silent(layer: ProgrammedLayer) -> ProgrammedLayer:
    """Return the layer without noise of single reads, which its conductances keep."""
    return replace(layer, conditions=replace(layer.conditions, reads=None))


def _without_sources(text: str, drives: int) -> str:
    """Return ``layer.cir`` without the sources that test benches set, which DACs replace here."""
    text, count = re.subn(r"(?m)^Vd\d+ dp\d+ 0 dc 0\n", "", text)
    if count != drives:
        raise ValueError(f"layer.cir holds {count} drive sources, expected {drives}")
    return text.replace("; a test bench sets the Vd sources.", "; chain.cir holds the DACs.")


def _chain(layer: ProgrammedLayer) -> list[str]:
    n, m, spec = layer.states, layer.drives, layer.spec
    quick = QUICK * float(detector_of(layer).window_second)
    to, out = _top(spec.dac), _top(spec.adc)
    lines = [
        f"* equilog chain: {m} DACs, {n} neurons, a detector, {n} sample-and-holds, {n} ADCs",
        f"* in0..in{m - 1} -> DAC -> dp, dn -> layer -> sp0..sp{n - 1} -> held -> ADC -> y0..y{n - 1}; settled holds",
        ".include layer.cir",
        ".include detector.cir",
        ".include converters.lib",
        "",
        f"* DACs: {int(spec.dac.bits)} bits, +-{float(spec.dac.full_scale_volt):g} V.",
        "* A test bench sets the Vin sources, in codes.",
    ]
    shared = f"full={number(spec.dac.full_scale_volt)} top={to} tau={number(dac_time_constant_second(layer))}"
    for k in range(m):
        lines += [f"Vin{k} in{k} 0 dc 0", f"Xdac{k} in{k} dp{k} dac {shared}{_bows(layer.dac_inl, k)}"]
    start, r_on = float(spec.dac.conversion_second), RESET * float(layer.r_feedback_ohm)
    r_lag = float(detector_of(layer).window_second) / LAG_FARAD
    lines += [
        "",
        f"* Reset of neurons and lags, released once the DACs have settled, {start:g} s after the codes have come.",
        f"Vrun run 0 pwl(0 0 {number(start - quick / 2)} 0 {number(start + quick / 2)} 1)",
        *(f"Xreset{i} v{i} x{i} run reset r={number(r_on)}" for i in range(n)),
        *(f"Xempty{i} lag{i} 0 run reset r={number(RESET * r_lag)}" for i in range(n)),
    ]
    lines += ["", "* Sample-and-holds: follow the activation outputs until the detector reports."]
    lines += [f"Xhold{i} sp{i} held{i} settled sample_hold quick={number(quick)}" for i in range(n)]
    lines += ["", f"* ADCs: {int(spec.adc.bits)} bits, +-{float(spec.adc.full_scale_volt):g} V."]
    lines.append(f"Xclock settled done conversion_timer conversion={number(spec.adc.conversion_second)}")
    shared = f"full={number(spec.adc.full_scale_volt)} top={out}"
    lines += [f"Xadc{i} held{i} y{i} done adc {shared}{_bows(layer.adc_inl, i)}" for i in range(n)]
    return lines


def _bench(layer: ProgrammedLayer, asked: Tensor, duration_second: float) -> str:
    window = float(detector_of(layer).window_second)
    step = min(layer.time_constant_second, window) / 50
    first = min(step / 1000, dac_time_constant_second(layer) / 100)
    lines = [
        "* One sample from codes in at t = 0 to codes out, from discharged capacitors; writes chain.raw",
        ".include chain.cir",
        f".options {OPTIONS}",
        ".save v(run) v(settled) v(done)",
        *[f".save v(held{i}) v(y{i})" for i in range(layer.states)],
        *[f".save v(dp{k})" for k in range(layer.drives)],
        f".tran {number(first)} {number(duration_second)} 0 {number(step)} uic",
        ".control",
        "set filetype=binary",
    ]
    top = _top(layer.spec.dac)
    lines += [f"alter Vin{k} dc = {number(value * top)}" for k, value in enumerate(asked)]
    lines += ["run", "write chain.raw", "quit 0", ".endc", ".end", ""]
    return "\n".join(lines)


def _bows(inl: Tensor | None, channel: int) -> str:
    if inl is None:
        return ""
    odd, even = inl.detach()[:, channel]
    return f" odd={number(odd)} even={number(even)}"


def _top(converter: Dac | Adc) -> int:
    return 2 ** (int(converter.bits) - 1) - 1


def _number_in(name: str) -> int:
    found = re.search(r"\d+", name)
    return int(found[0]) if found else -1
