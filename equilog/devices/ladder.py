"""The ladder of truth: each rung is computed independently and must agree with the one before it.

    ideal → twin at rest → twin in time → ngspice at rest → ngspice in time → ngspice, whole chain
                                          twin of measured blocks → ngspice, transistors

The first step is what the hardware costs and has no tolerance; every later one is a proof, with a tolerance.
Voltages are compared in units of full scale: V_a at amplifier outputs, V_s at activation outputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from equilog import circuit
from equilog.circuit.chain import twin_chain
from equilog.circuit.ngspice import Ngspice, NgspiceMissingError, find_ngspice
from equilog.devices.chain_rung import chain_rung
from equilog.devices.device import Settled, run_on
from equilog.devices.digital import DigitalDevice
from equilog.devices.ladder_report import (
    AT_REST,
    IDEAL,
    IN_TIME,
    RUNGS,
    TOLERANCE_AT_REST,
    TOLERANCE_IN_TIME,
    TWIN_AT_REST,
    TWIN_IN_TIME,
    LadderReport,
    NodeError,
    Rung,
    Settling,
    asked_for,
)
from equilog.devices.ladder_runs import simulate
from equilog.devices.transistor_rung import TransistorOutputs, climb_transistors, on_transistors
from equilog.devices.twin import TwinDevice
from equilog.hardware import Chip, ProgrammedLayer
from equilog.hardware.quantise import half_code
from equilog.hardware.transient import Transient
from equilog.hardware.twin import adc, dac
from equilog.model import HybridDEQ, samples_at_once
from equilog.objective import Objective, Scored, objective_for

# Enough to time the settling of every sample; the waveforms set against ngspice are integrated more finely.
WATCH_STEPS_PER_TAU = 40
LONGEST_WATCH = 2000
"""of the time scale of a neuron on its own"""
SCORED_ROWS = 2**14
"""settled at once where a whole test set is scored: an array of 256 states is 32 MB"""


@dataclass(frozen=True)
class Waveforms:
    """Transients of one sample, twin and simulator at the simulator's time points, in units of V_a."""

    sample: int
    time_second: Tensor
    twin: Tensor
    ngspice: Tensor


@dataclass(frozen=True)
class Ladder:
    """What :func:`verify` found: the report, and what is drawn of the rungs in time and of transistors."""

    report: LadderReport
    waveforms: list[Waveforms]
    transistors: TransistorOutputs | None = None

    def __str__(self) -> str:
        return str(self.report)


def verify(
    model: HybridDEQ,
    chip: Chip,
    x: Tensor,
    y: Tensor | None = None,
    *,
    objective: Objective | None = None,
    settle_samples: int = 4,
    chain_samples: int | None = None,
    transistor_samples: int = 0,
    rungs: Iterable[str] | None = None,
    former: Ladder | None = None,
    folder: str | Path | None = None,
    simulator: Ngspice | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Ladder:
    """Climb the ladder with one trained model on one chip.

    Args:
        model: the trained model.
        chip: the chip; twin and netlist are made from the same programmed conductances.
        x: inputs; all are settled at rest on every rung, every row of each.
        y: what outputs are compared with; None for no scores.
        objective: how they are compared; class indices are classified unless it is given.
        settle_samples: how many of the first inputs ngspice also settles in time; of a model with several rows a
            sample, how many rows.
        chain_samples: how many likewise ngspice takes through the whole chain, from drive to codes; as many as it
            settles in time unless given; there is no such rung without a detector.
        transistor_samples: how many of the first inputs are settled in SKY130 transistors, every row of each; a chip of
            their own technology with this one's seed. All, if there are none and `rungs` asks for transistors.
        rungs: names of :data:`~equilog.devices.ladder_report.RUNGS`; all but transistors unless given, and these too
            if there are samples for them.
        former: an earlier climb; its other rungs are kept if it was with the same model, chip, samples and simulator.
        folder: where to keep the circuit and its test benches; a temporary folder otherwise.
        simulator: ngspice; searched for unless given. Without one the report says that nothing is verified.
        progress: called with a phrase and a fraction as the work goes on.

    Raises:
        NgspiceError: if the simulator fails.
        NgspiceMissingError: without a simulator, if `rungs` asks for it.
        NotConvergedError: if the ideal model or the twin has no resting point.
        Sky130MissingError: for transistors without their models.
        UserError: for an unknown rung; for a model that transistors cannot make.
        ValueError: for targets that are no class indices without an objective.
    """
    tell = progress or (lambda _phrase, _done: None)
    wanted = _wanted(rungs, transistor_samples)
    goal = None if y is None else objective or objective_for(y)
    missing = None
    try:
        simulator = simulator or find_ngspice()
    except NgspiceMissingError as error:
        if rungs is not None and wanted != ("twin",):
            raise
        simulator, wanted, missing = None, ("twin",), str(error)
    # Before all else: whatever of a model's transistors cannot be had is said at once.
    real_layer = on_transistors(model, chip.seed) if "transistors" in wanted else None

    before = former if rungs is not None or missing is None else None
    climb = _Climb.begin(model, chip, x, y, goal, simulator, before)
    place = None if folder is None else Path(folder)
    climb.forget(wanted)
    if climb.needs_twin or set(wanted) - {"transistors"}:
        few = (settle_samples, settle_samples if chain_samples is None else chain_samples)
        _climb_blocks(climb, {*wanted, "twin"} if climb.needs_twin else set(wanted), few, place, tell)
    if real_layer is not None and simulator is not None:
        count = transistor_samples or len(x)
        inner = None if place is None else place / "transistors"
        some = x[:count], None if y is None else y[:count]
        found = climb_transistors(model, real_layer, *some, goal, simulator, inner, tell)
        climb.rows[found.rung.rung] = found.rung
        climb.found["transistors"], climb.outputs = found.findings, found.outputs
    ladder = climb.end(missing)
    tell("verified" if ladder.report.verified else "compared", 1.0)
    return ladder


def _wanted(rungs: Iterable[str] | None, transistor_samples: int) -> tuple[str, ...]:
    if rungs is not None:
        return asked_for(rungs)
    return tuple(name for name in RUNGS if name != "transistors" or transistor_samples)


@dataclass
class _Climb:
    """A report in the making: rows and findings of this climb over those that are kept of a former one."""

    model: HybridDEQ
    chip: Chip
    x: Tensor
    y: Tensor | None
    goal: Objective | None
    simulator: Ngspice | None
    rows: dict[str, Rung]
    found: dict[str, Any]
    waveforms: list[Waveforms]
    outputs: TransistorOutputs | None

    @classmethod
    def begin(
        cls,
        model: HybridDEQ,
        chip: Chip,
        x: Tensor,
        y: Tensor | None,
        goal: Objective | None,
        simulator: Ngspice | None,
        former: Ladder | None,
    ) -> _Climb:
        scored = {} if goal is None else Scored.fields_of(goal)
        identity = _identity(model, chip, x, y, scored)
        name = None if simulator is None else f"ngspice {simulator.version}"
        found: dict[str, Any] = {"identity": identity, "simulator": name, "samples": len(x)} | scored
        found["rows_a_sample"] = model.rows
        if former is None or former.report.identity != identity:
            return cls(model, chip, x, y, goal, simulator, {}, found, [], None)
        before = former.report
        if simulator is None:
            found["simulator"] = before.simulator
        elif before.simulator not in (None, name):
            return cls(model, chip, x, y, goal, simulator, {}, found, [], None)
        kept = {key: getattr(before, key) for key in LadderReport.model_fields if key not in (*found, "rungs")}
        rows = {rung.rung: rung for rung in before.rungs}
        return cls(model, chip, x, y, goal, simulator, rows, kept | found, former.waveforms, former.transistors)

    @torch.no_grad()
    def score(self, read: Tensor) -> float | None:
        """Return the mean score of what the readout makes of readings; None without targets."""
        if self.y is None or self.goal is None:
            return None
        out = self.model.readout(read.to(next(self.model.parameters()).dtype))
        return float(self.goal.score(out, self.y)) / len(self.y)

    @property
    def needs_twin(self) -> bool:
        """Whether nothing is known of how the twin settles, which every report says."""
        return "settling" not in self.found

    def forget(self, wanted: Iterable[str]) -> None:
        """Drop what is about to be climbed anew: a rung for which there are no samples any more must not stay."""
        for name in wanted:
            for row in RUNGS[name]:
                self.rows.pop(row, None)
            for key in _FINDINGS[name]:
                self.found.pop(key, None)
            if name == "time":
                self.waveforms = []
            if name == "transistors":
                self.outputs = None

    def end(self, missing: str | None) -> Ladder:
        """Return all of it, the ladder's rungs in order."""
        order = [row for rows in RUNGS.values() for row in rows]
        rungs = [self.rows[name] for name in order if name in self.rows]
        because = missing or "the circuit was not settled at rest: equilog verify RUN --rung rest"
        self.found["not_verified_because"] = None if AT_REST in self.rows else because
        return Ladder(LadderReport(rungs=rungs, **self.found), self.waveforms, self.outputs)


# Which findings besides its rows a rung leaves in the report.
_FINDINGS: dict[str, tuple[str, ...]] = {
    "twin": ("settling",),
    "rest": ("nodes", "sample_errors", "codes_equal"),
    "time": ("settle_samples",),
    "chain": ("chain",),
    "transistors": ("transistors",),
}


def _climb_blocks(
    climb: _Climb,
    wanted: set[str],
    few: tuple[int, int],
    place: Path | None,
    tell: Callable[[str, float], None],
) -> None:
    """Climb every rung but that of transistors; `few` says how many samples in time and through the chain."""
    model, chip, rows, found = climb.model, climb.chip, climb.rows, climb.found
    tell("solving the ideal model and the twin", 0.0)
    with torch.no_grad():
        drive = model.parameterize(climb.x)
    # Poles are computed below for every sample, and reported rather than raised.
    ideal_device, twin_device = DigitalDevice(), TwinDevice(chip, stability="none")
    for device in (ideal_device, twin_device):
        device.program(model.cell)
    twin, layer = twin_device.settle(drive), twin_device.layer
    played = dac(layer, drive.detach().double())
    v_a, v_s = float(chip.spec.activation.v_scale_volt), float(chip.spec.activation.v_out_volt)
    if "twin" in wanted:
        ideal = ideal_device.settle(drive)
        tell("settling the twin in time", 0.1)
        moving = Transient(layer, played, steps_per_tau=WATCH_STEPS_PER_TAU)
        found["settling"], watched = _watch(moving, layer, twin)
        found["clipped_drives"] = _clipped(drive)
        z = moving.activation(watched)
        timed = Settled(watched / v_a, z, adc(layer, z))
        rows[IDEAL] = Rung.of(IDEAL, score=climb.score(ideal.read))
        rows[TWIN_AT_REST] = _compare(TWIN_AT_REST, IDEAL, twin, ideal, None, climb.score(twin.read))
        score = climb.score(timed.read)
        rows[TWIN_IN_TIME] = _compare(TWIN_IN_TIME, TWIN_AT_REST, timed, twin, TOLERANCE_AT_REST, score)
    if climb.simulator is None or not wanted & {"rest", "time", "chain"}:
        return

    count = min(few[0], len(played))
    asked = drive.detach().double()[: few[1]] if "chain" in wanted else drive.new_zeros(0)
    expected = twin_chain(layer, asked) if layer.spec.detector is not None and len(asked) else None
    runs = simulate(climb.simulator, layer, played, wanted, count, found["settling"], asked, expected, place, tell)
    if runs.at_rest is not None:
        v, s = runs.at_rest
        real = Settled(v / v_a, s / v_s, adc(layer, s / v_s))
        rows[AT_REST] = _compare(AT_REST, TWIN_AT_REST, real, twin, TOLERANCE_AT_REST, climb.score(real.read))
        found["nodes"] = _worst_nodes(twin, real)
        found["sample_errors"] = (real.p - twin.p).abs().amax(1).tolist()
        found["codes_equal"] = float((real.read == twin.read).double().mean())
    if waves := _waveforms(layer, played, runs.waveforms):
        climb.waveforms, found["settle_samples"] = waves, len(waves)
        squares = torch.cat([(w.twin - w.ngspice).flatten() ** 2 for w in waves])
        rows[IN_TIME] = Rung.of(
            IN_TIME,
            compared_with=TWIN_IN_TIME,
            max_error=max(float((w.twin - w.ngspice).abs().max()) for w in waves),
            rms_error=float(squares.mean().sqrt()),
            tolerance=TOLERANCE_IN_TIME,
        )
    if expected is not None:
        rung, found["chain"] = chain_rung(layer, expected, runs.chains, twin)
        rows[rung.rung] = rung


def score_on(model: HybridDEQ, device: TwinDevice, x: Tensor, y: Tensor, objective: Objective | None = None) -> float:
    """Return the mean score of the model with a device, programmed here, in the place of its equilibrium.

    Class indices `y` are classified unless an objective is given.
    """
    device.program(model.cell)
    goal, size = objective or objective_for(y), samples_at_once(model, SCORED_ROWS)
    parts = zip(x.split(size), y.split(size))
    return sum(float(goal.score(run_on(model, device, part), targets)) for part, targets in parts) / len(x)


def _watch(moving: Transient, layer: ProgrammedLayer, twin: Settled) -> tuple[Settling, Tensor]:
    """Settle all rows in the time-domain twin, until the slowest mode has died away."""
    rest_volt = twin.p * moving.v_a
    abscissa = moving.spectral_abscissa(rest_volt)
    slowest = float(abscissa.max())
    tau = layer.time_constant_second
    # e^-21 is 1e-9 of the start, which a stiff law takes a thousand time constants for; an unstable or all but unstable
    # chip is watched for a while, then reported.
    scale = moving.time_scale_second
    duration = min(21 / -slowest, LONGEST_WATCH * scale) if slowest < 0 else 50 * scale
    tolerance = half_code(layer.spec)
    time, watched = moving.settle(rest_volt, tolerance, duration)
    settling = Settling(
        time_second=time.tolist(),
        tolerance=tolerance,
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


def _compare(
    name: str,
    against: str,
    found: Settled,
    reference: Settled,
    tolerance: float | None,
    score: float | None,
) -> Rung:
    gap = torch.cat([(found.p - reference.p).abs(), (found.z - reference.z).abs()], dim=1)
    return Rung.of(
        name,
        compared_with=against,
        max_error=float(gap.max()),
        rms_error=float((gap**2).mean().sqrt()),
        tolerance=tolerance,
        score=score,
    )


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


def _identity(model: HybridDEQ, chip: Chip, x: Tensor, y: Tensor | None, scored: dict[str, Any]) -> str:
    """Return what tells one model on one chip under one set of samples and one score from every other."""
    digest = hashlib.sha256(f"{chip.spec.model_dump_json()} {chip.seed} {sorted(scored.items())}".encode())
    for name, tensor in (*model.state_dict().items(), ("x", x), ("y", torch.zeros(0) if y is None else y)):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
