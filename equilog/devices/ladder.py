"""The ladder of truth: each rung is computed independently and must agree with the one before it.

    ideal → twin at rest → twin in time → ngspice at rest → ngspice in time → ngspice, whole chain

The first step is what the hardware costs and has no tolerance; every later one is a proof, with a tolerance.
Voltages are compared in units of full scale: V_a at amplifier outputs, V_s at activation outputs.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import torch
from torch import Tensor

from equilog import circuit
from equilog.circuit.chain import (
    ChainRun,
    TwinChain,
    chain,
    code_size,
    codes,
    twin_chain,
    write_chain,
)
from equilog.circuit.ngspice import Ngspice, NgspiceMissingError, find_ngspice
from equilog.devices.device import Settled, run_on
from equilog.devices.digital import DigitalDevice
from equilog.devices.ladder_report import ChainFindings, LadderReport, NodeError, Rung, Settling
from equilog.devices.twin import TwinDevice
from equilog.hardware import Chip, ProgrammedLayer
from equilog.hardware.transient import Transient
from equilog.hardware.twin import adc, dac
from equilog.model import HybridDEQ

TOLERANCE_AT_REST = 1e-6
TOLERANCE_IN_TIME = 1e-4
TOLERANCE_OF_REPORT = 0.01
"""Of the detector, as a fraction of the twin's report."""
# Enough to time the settling of every sample; the waveforms set against ngspice are integrated more finely.
WATCH_STEPS_PER_TAU = 40


@dataclass(frozen=True)
class Waveforms:
    """Transients of one sample, twin and simulator at the simulator's time points, in units of V_a."""

    sample: int
    time_second: Tensor
    twin: Tensor
    ngspice: Tensor


@dataclass(frozen=True)
class Ladder:
    """What :func:`verify` found: the report, and the waveforms behind its rung "ngspice in time"."""

    report: LadderReport
    waveforms: list[Waveforms]

    def __str__(self) -> str:
        return str(self.report)


def verify(
    model: HybridDEQ,
    chip: Chip,
    x: Tensor,
    y: Tensor | None = None,
    *,
    settle_samples: int = 4,
    chain_samples: int | None = None,
    folder: str | Path | None = None,
    simulator: Ngspice | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Ladder:
    """Climb the ladder with one trained model on one chip.

    Args:
        model: the trained model.
        chip: the chip; twin and netlist are made from the same programmed conductances.
        x: inputs; all are settled at rest on every rung.
        y: class indices, for accuracies; none otherwise.
        settle_samples: how many of the first inputs ngspice also settles in time.
        chain_samples: how many of the first inputs ngspice takes through the whole chain, from drive to codes; as many
            as it settles in time unless given; there is no such rung without a detector.
        folder: where to keep the circuit and its test benches; a temporary folder otherwise.
        simulator: ngspice; searched for unless given. Without one the report says that nothing is verified.
        progress: called with a phrase and a fraction as the work goes on.

    Raises:
        NgspiceError: if the simulator fails.
        NotConvergedError: if the ideal model or the twin has no resting point.
    """
    tell = progress or (lambda _phrase, _done: None)
    tell("solving the ideal model and the twin", 0.0)
    with torch.no_grad():
        drive = model.parameterize(x)
    # Poles are computed below for every sample, and reported rather than raised.
    ideal_device, twin_device = DigitalDevice(), TwinDevice(chip, stability="none")
    for device in (ideal_device, twin_device):
        device.program(model.cell)
    ideal, twin = ideal_device.settle(drive), twin_device.settle(drive)
    layer = twin_device.layer
    played = dac(layer, drive.detach().double())

    tell("settling the twin in time", 0.1)
    moving = Transient(layer, played, steps_per_tau=WATCH_STEPS_PER_TAU)
    settling, watched = _watch(moving, layer, twin)
    in_time_v = watched / moving.v_a
    in_time_z = moving.activation(watched)

    rungs = [
        Rung.of("ideal", accuracy=_accuracy(model, ideal.read, y)),
        _compare("twin at rest", "ideal", twin, ideal, None, _accuracy(model, twin.read, y)),
        _compare(
            "twin in time",
            "twin at rest",
            Settled(in_time_v, in_time_z, adc(layer, in_time_z)),
            twin,
            TOLERANCE_AT_REST,
            _accuracy(model, adc(layer, in_time_z), y),
        ),
    ]
    try:
        simulator = simulator or find_ngspice()
    except NgspiceMissingError as missing:
        report = LadderReport(
            simulator=None,
            not_verified_because=str(missing),
            samples=len(x),
            rungs=rungs,
            settling=settling,
            clipped_drives=_clipped(drive),
        )
        return Ladder(report, [])

    asked = drive.detach().double()[: settle_samples if chain_samples is None else chain_samples]
    expected = twin_chain(layer, asked) if layer.spec.detector is not None and len(asked) else None
    place = None if folder is None else Path(folder)
    runs = _simulate(simulator, layer, played, settle_samples, settling, asked, expected, place, tell)
    v_a, v_s = moving.v_a, float(chip.spec.activation.v_out_volt)
    real = Settled(runs.v / v_a, runs.s / v_s, adc(layer, runs.s / v_s))
    rungs.append(
        _compare("ngspice at rest", "twin at rest", real, twin, TOLERANCE_AT_REST, _accuracy(model, real.read, y))
    )
    waves = _waveforms(layer, played, runs.waveforms)
    if waves:
        worst = max(float((w.twin - w.ngspice).abs().max()) for w in waves)
        squares = torch.cat([(w.twin - w.ngspice).flatten() ** 2 for w in waves])
        rungs.append(
            Rung.of(
                "ngspice in time",
                compared_with="twin in time",
                max_error=worst,
                rms_error=float(squares.mean().sqrt()),
                tolerance=TOLERANCE_IN_TIME,
            )
        )
    through = None
    if expected is not None:
        rung, through = _chain_rung(layer, expected, runs.chains, twin)
        rungs.append(rung)
    report = LadderReport(
        simulator=f"ngspice {simulator.version}",
        samples=len(x),
        settle_samples=len(waves),
        rungs=rungs,
        settling=settling,
        nodes=_worst_nodes(twin, real),
        sample_errors=(real.p - twin.p).abs().amax(1).tolist(),
        codes_equal=float((real.read == twin.read).double().mean()),
        clipped_drives=_clipped(drive),
        chain=through,
    )
    tell("verified" if report.verified else "compared", 1.0)
    return Ladder(report, waves)


def classify_on(model: HybridDEQ, device: TwinDevice, x: Tensor, y: Tensor) -> float:
    """Return the accuracy of the model with a device, programmed here, in the place of its equilibrium."""
    device.program(model.cell)
    return float((run_on(model, device, x).argmax(1) == y).double().mean())


@dataclass(frozen=True)
class _Runs:
    v: Tensor
    s: Tensor
    waveforms: list[circuit.Waveform]
    chains: list[ChainRun]


def _simulate(
    simulator: Ngspice,
    layer: ProgrammedLayer,
    played: Tensor,
    settle_samples: int,
    settling: Settling,
    asked: Tensor,
    expected: TwinChain | None,
    folder: Path | None,
    tell: Callable[[str, float], None],
) -> _Runs:
    """Write the circuit and run its benches, as many at once as there are cores."""
    count = min(settle_samples, len(played))
    # Long enough to see every watched sample rest, and to see that it stays there.
    seen = [t for t in settling.time_second[:count] if math.isfinite(t)]
    duration = max([10 * layer.time_constant_second, *(1.5 * t for t in seen)])
    with tempfile.TemporaryDirectory(prefix="equilog-circuit-") as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        place = folder or Path(scratch)
        circuit.write_circuit(layer, place, rest=played, settle=played[:count], duration_second=duration)
        cancel = Event()
        at_rest = pool.submit(circuit.rest, simulator, place, layer.states, len(played), cancel)
        in_time = [pool.submit(circuit.settle, simulator, place, layer.states, k, cancel) for k in range(count)]
        through = []
        if expected is not None:
            write_chain(layer, place / "chain", drive=asked, report=expected.report_second)
            through = [pool.submit(chain, simulator, place / "chain", k, cancel) for k in range(len(asked))]
        jobs: list[Future[Any]] = [at_rest, *in_time, *through]
        try:
            for done, finished in enumerate(as_completed(jobs)):
                finished.result()
                tell("settling the circuit in ngspice", 0.3 + 0.7 * (done + 1) / len(jobs))
        except BaseException:
            cancel.set()  # Ctrl-C, or one bench that failed: the others need not finish
            pool.shutdown(cancel_futures=True)
            raise
        v, s = at_rest.result()
        return _Runs(v, s, [job.result() for job in in_time], [job.result() for job in through])


def _watch(moving: Transient, layer: ProgrammedLayer, twin: Settled) -> tuple[Settling, Tensor]:
    """Settle all samples in the time-domain twin, until the slowest mode has died away."""
    rest_volt = twin.p * moving.v_a
    abscissa = moving.spectral_abscissa(rest_volt)
    slowest = float(abscissa.max())
    tau = layer.time_constant_second
    # e^-21 is 1e-9 of the start; an unstable or nearly unstable chip is watched for a while, then reported.
    longest = 400 * moving.time_scale_second
    duration = min(21 / -slowest, longest) if slowest < 0 else longest / 8
    half_lsb = (
        0.5
        * float(layer.spec.adc.full_scale_volt / layer.spec.activation.v_out_volt)
        / (2 ** (int(layer.spec.adc.bits) - 1) - 1)
    )
    time, watched = moving.settle(rest_volt, half_lsb, duration)
    settling = Settling(
        time_second=time.tolist(),
        tolerance=half_lsb,
        time_constant_second=tau,
        spectral_abscissa_per_second=slowest,
        noise_gain=float(layer.noise_gain.mean()),
        largest_output_volt=float(rest_volt.abs().max()),
    )
    return settling, watched


def _waveforms(layer: ProgrammedLayer, played: Tensor, simulated: list[circuit.Waveform]) -> list[Waveforms]:
    """Return twin and simulator at the simulator's own time points."""
    found = []
    for k, wave in enumerate(simulated):
        moving = Transient(layer, played[k : k + 1])
        twin = moving.at(wave.time_second).v_volt[:, 0]
        found.append(Waveforms(k, wave.time_second, twin / moving.v_a, wave.v_volt / moving.v_a))
    return found


def _chain_rung(
    layer: ProgrammedLayer, ours: TwinChain, theirs: list[ChainRun], twin: Settled
) -> tuple[Rung, ChainFindings]:
    """Set what was held and converted in ngspice against the twin at its own detector's report, and at rest."""
    one = code_size(layer)
    tolerance = min(TOLERANCE_IN_TIME, one / 4)
    reported = ours.report_second.isfinite().tolist()
    both = [k for k, run in enumerate(theirs) if run.codes is not None and reported[k]]
    differ = sum((run.codes is not None) != reported[k] for k, run in enumerate(theirs))
    found = [run.codes for k, run in enumerate(theirs) if run.codes is not None and reported[k]]
    read = torch.stack(found) if found else torch.zeros(0, layer.states, dtype=torch.int64)
    held = torch.stack([theirs[k].held_volt for k in both]) if both else read.double()
    held, kept = held / float(layer.spec.activation.v_out_volt), ours.held[both]
    gap = (held - kept).abs()
    ends = codes(layer, kept - tolerance), codes(layer, kept + tolerance)
    wrong = (read < torch.minimum(*ends)) | (read > torch.maximum(*ends))
    apart = (read - ours.codes[both]).abs()
    seen = torch.tensor([theirs[k].report_second for k in both], dtype=torch.float64)
    due = ours.report_second[both]
    late = ((seen - due) / due).abs()
    findings = ChainFindings(
        samples=len(theirs),
        reported=len(both),
        timeouts_differ=differ,
        codes=read.numel(),
        codes_equal=int((apart == 0).sum()),
        codes_equal_at_rest=int((read == codes(layer, twin.z[both])).sum()),
        codes_wrong=int(wrong.sum()),
        largest_difference=int(apart.max()) if both else 0,
        held_from_rest=float((held - twin.z[both]).abs().max()) / one if both else None,
        report_error=float(late.max()) if both else None,
    )
    name = "ngspice, whole chain"
    if not both:
        return Rung(rung=name, compared_with="twin in time", agrees=None if not differ else False), findings
    # A wrong code counts as far as it is off.
    worst = max(float(gap.max()), float((apart * wrong).max()) * one)
    good = worst <= tolerance and not differ and not wrong.any() and float(late.max()) <= TOLERANCE_OF_REPORT
    rung = Rung(
        rung=name,
        compared_with="twin in time",
        max_error=worst,
        rms_error=float((gap**2).mean().sqrt()),
        tolerance=tolerance,
        agrees=bool(good),
    )
    return rung, findings


def _compare(
    name: str,
    against: str,
    found: Settled,
    reference: Settled,
    tolerance: float | None,
    accuracy: float | None,
) -> Rung:
    gap = torch.cat([(found.p - reference.p).abs(), (found.z - reference.z).abs()], dim=1)
    return Rung.of(
        name,
        compared_with=against,
        max_error=float(gap.max()),
        rms_error=float((gap**2).mean().sqrt()),
        tolerance=tolerance,
        accuracy=accuracy,
    )


def _accuracy(model: HybridDEQ, read: Tensor, y: Tensor | None) -> float | None:
    if y is None:
        return None
    with torch.no_grad():
        out = model.readout(read.to(next(model.parameters()).dtype))
    return float((out.argmax(1) == y).double().mean())


def _clipped(drive: Tensor) -> float:
    return float((drive.detach().abs() > 1).double().mean())


def _worst_nodes(twin: Settled, real: Settled) -> list[NodeError]:
    """Return every node with the sample where it disagrees most, worst node first."""
    rows = []
    for prefix, ours, theirs in (("v", twin.p, real.p), ("s", twin.z, real.z)):
        gap, sample = (ours - theirs).abs().max(0)
        for i in range(ours.shape[1]):
            k = int(sample[i])
            rows.append(
                NodeError(
                    node=f"{prefix}{i}",
                    sample=k,
                    twin=float(ours[k, i]),
                    ngspice=float(theirs[k, i]),
                    error=float(gap[i]),
                )
            )
    return sorted(rows, key=lambda row: -row.error)
