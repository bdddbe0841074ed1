"""The ladder's rung of the whole chain: from drives to codes, in ngspice and in the twin in time."""

from __future__ import annotations

import torch

from equilog.circuit.chain import ChainRun, TwinChain, code_size, codes
from equilog.devices.device import Settled
from equilog.devices.ladder_report import (
    CHAIN,
    TOLERANCE_IN_TIME,
    TOLERANCE_OF_REPORT,
    TWIN_IN_TIME,
    ChainFindings,
    Rung,
)
from equilog.hardware import ProgrammedLayer


def chain_rung(
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
    if not both:
        return Rung(rung=CHAIN, compared_with=TWIN_IN_TIME, agrees=None if not differ else False), findings
    # A wrong code counts as far as it is off.
    worst = max(float(gap.max()), float((apart * wrong).max()) * one)
    good = worst <= tolerance and not differ and not wrong.any() and float(late.max()) <= TOLERANCE_OF_REPORT
    rung = Rung(
        rung=CHAIN,
        compared_with=TWIN_IN_TIME,
        max_error=worst,
        rms_error=float((gap**2).mean().sqrt()),
        tolerance=tolerance,
        agrees=bool(good),
    )
    return rung, findings
