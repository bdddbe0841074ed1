"""Everything a report says, read from the run folder once, and the verdict over it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from equilog.cost import CostReport
from equilog.cost.parts import BlockCost
from equilog.devices.ladder import Ladder
from equilog.devices.ladder_report import LadderReport, Rung
from equilog.devices.twin import TwinDevice
from equilog.drawing.units import count, engineering, percent, scientific
from equilog.hardware import ProgrammedLayer, Spec
from equilog.runs.config import RunConfig
from equilog.runs.folder import RunFolder


@dataclass(frozen=True)
class Findings:
    """One finished run."""

    config: RunConfig
    spec: Spec
    metrics: dict[str, Any]
    ladder: Ladder
    cost: CostReport | None
    parts: list[BlockCost]
    training: list[dict[str, str]]
    layer: ProgrammedLayer
    """the model as programmed onto this run's chip"""

    @property
    def report(self) -> LadderReport:
        """The ladder's findings."""
        return self.ladder.report

    @property
    def tau(self) -> float:
        """The circuit's time constant R_f C_f, s."""
        return self.report.settling.time_constant_second

    @property
    def settled(self) -> list[float]:
        """Settling times of the samples that do settle, s."""
        return [t for t in self.report.settling.time_second if math.isfinite(t)]


def gather(folder: RunFolder) -> Findings:
    """Read a finished run; raises ``UserError`` if a part of it is missing."""
    device = TwinDevice(folder.chip())
    device.program(folder.load_model().cell)
    return Findings(
        config=folder.config(),
        spec=folder.spec(),
        metrics=folder.metrics(),
        ladder=folder.ladder(),
        cost=folder.cost(),
        parts=folder.parts(),
        training=folder.training(),
        layer=device.layer,
    )


@dataclass(frozen=True)
class Verdict:
    """The banner: green or red, why, and what else a reader must know before believing a number."""

    good: bool
    headline: str
    reasons: list[str]
    remarks: list[str]


def verdict(run: Findings) -> Verdict:
    """Judge a run by its ladder; everything that is wrong is named, the gravest first."""
    report = run.report
    failing = [r for r in report.rungs if r.agrees is False]
    reasons = []
    headline = "Not verified"
    if report.simulator is None:
        because = report.not_verified_because or "no circuit simulator was found"
        headline = f"Not verified: {because}"
    if failing:
        names = ", ".join(r.rung for r in failing)
        headline = f"Disagrees: {names}"
        reasons += [_disagreement(r) for r in failing]
    if not report.settling.stable:
        headline = "Unstable: the circuit does not come to rest"
        reasons.append(
            "a pole of the circuit linearised at rest lies in the right half plane "
            f"(largest real part {_rate(report.settling.spectral_abscissa_per_second)})"
        )
    if report.simulator is not None and report.not_verified_because:
        reasons.append(f"not verified: {report.not_verified_because}")
    if report.simulator is None and headline != f"Not verified: {report.not_verified_because}":
        reasons.append(f"not verified in a circuit simulator: {report.not_verified_because}")
    if report.verified:
        headline = f"Verified in {report.simulator}: {report.counted}"
        reasons = [_agreement(r) for r in report.rungs if r.rung.startswith("ngspice") and r.agrees]
    return Verdict(report.verified, headline, reasons, _remarks(run))


def _remarks(run: Findings) -> list[str]:
    report, remarks = run.report, []
    never = sum(not math.isfinite(t) for t in report.settling.time_second)
    if never:
        remarks.append(
            f"{never} of {count(len(report.settling.time_second), report.row)} did not come to rest while watched."
        )
    if report.simulator is not None and report.settle_samples == 0:
        remarks.append("No transient was simulated in ngspice: settling times rest on the twin alone.")
    if report.clipped_drives > 0:
        remarks.append(f"{percent(report.clipped_drives)} of the drives lie outside the DACs' range and clip.")
    if report.codes_equal is not None and report.codes_equal < 1:
        remarks.append(f"{percent(1 - report.codes_equal)} of the ADC codes differ between twin and ngspice.")
    swing, rail = report.settling.largest_output_volt, float(run.spec.amplifier.supply_volt) / 2
    if swing > rail:
        remarks.append(
            f"Amplifier outputs reach {engineering(swing, 'V')}; a supply of {engineering(2 * rail, 'V')} would clip "
            f"them at ±{engineering(rail, 'V')}. Rails are not modelled yet."
        )
    return remarks


def _disagreement(rung: Rung) -> str:
    return (
        f"{rung.rung} differs from {rung.compared_with} by {scientific(rung.max_error)} of full scale; "
        f"{scientific(rung.tolerance)} is allowed"
    )


def _agreement(rung: Rung) -> str:
    return (
        f"{rung.rung}: {scientific(rung.max_error)} of full scale at most from {rung.compared_with} "
        f"({scientific(rung.tolerance)} allowed)"
    )


def _rate(per_second: float) -> str:
    return f"{scientific(per_second)} per second" if math.isfinite(per_second) else "not finite"
