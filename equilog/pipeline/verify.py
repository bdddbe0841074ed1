"""The second half of a run: the ladder, the figures, the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from equilog.cost import CostReport, DigitalTarget, Use, estimate
from equilog.devices.ladder import classify_on, verify
from equilog.devices.ladder_report import AT_REST, IN_TIME, TRANSISTORS, TWIN_AT_REST, LadderReport, asked_for
from equilog.devices.twin import TwinDevice
from equilog.hardware import Chip
from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.pipeline.build import compile_run, parts_of_run
from equilog.pipeline.train import accuracy, load_data
from equilog.report import check_installed, write_report
from equilog.runs.folder import RunFolder
from equilog.tasks import Data
from equilog.training import TrainConfig

Progress = Callable[[str, float], None]
# Chips on which accuracy is measured; far from the seeds that people choose for the one they build.
UNSEEN_CHIPS = 1_000_000


def verify_run(
    folder: RunFolder,
    data: Data | None = None,
    progress: Progress | None = None,
    rungs: Sequence[str] | None = None,
) -> LadderReport:
    """Climb the ladder with a trained run, measure and estimate it.

    Writes ``circuit/``, ``verify.json``, ``metrics.json`` and ``report.html`` anew, in this order.

    Args:
        folder: the run.
        data: its data; loaded unless given.
        progress: called with a phrase and a fraction.
        rungs: climb these alone, names of :data:`~equilog.devices.ladder_report.RUNGS`, and what they are compared
            with; what ``verify.json`` says of the others stays if it is of the same model, chip and samples.

    Raises:
        NgspiceMissingError: without a simulator, if `rungs` asks for it; no file is touched.
        UserError: as :func:`equilog.devices.verify`; for a run that is not trained.
    """
    check_installed()
    rungs = None if rungs is None else asked_for(rungs)
    config, model = folder.config(), folder.load_model()
    data = data or load_data(config)
    tell = progress or (lambda _phrase, _done: None)
    count = config.verify.rest_samples
    if rungs is None:
        # The circuit is written first: without a simulator it is still there to look at.
        compile_run(folder, data)
    former = folder.former_ladder()
    ladder = verify(
        model,
        folder.chip(),
        data.test_x[:count],
        data.test_y[:count],
        settle_samples=config.verify.settle_samples,
        chain_samples=config.verify.chain_samples,
        transistor_samples=config.verify.transistor_samples,
        rungs=rungs,
        former=former,
        folder=folder.circuit,
        progress=tell,
    )
    folder.save_ladder(ladder)
    if (
        rungs is not None
        and folder.finished
        and former is not None
        and former.report.identity == ladder.report.identity
    ):
        metrics = folder.metrics() | _ladder_metrics(ladder.report)
    else:
        tell("measuring unseen chips", 0.0)
        metrics = _metrics(folder, model, data, ladder.report, tell)
    folder.save_metrics(metrics)
    tell("drawing the report", 0.0)
    write_report(folder)
    tell("done", 1.0)
    return ladder.report


def cost_of_run(
    folder: RunFolder, target: DigitalTarget | None = None, use: Use | None = None, data: Data | None = None
) -> CostReport:
    """Estimate what an inference of a verified run takes, on its chip and on a digital computer.

    Args:
        folder: the run; its settling times are those that were verified.
        target: the digital computer; the default one unless given.
        use: how the chip is used.
        data: its data; loaded unless given.

    Raises:
        UserError: if the run has not been verified, its chip does not settle, or no digital solver converges.
    """
    config, report = folder.config(), folder.ladder().report
    data = data or load_data(config)
    x = data.test_x[: report.samples]
    try:
        return estimate(folder.load_model(), folder.chip(), x, report.settling.time_second, target, use=use)
    except ValueError as error:
        raise UserError(str(error)) from None


def _metrics(folder: RunFolder, model: HybridDEQ, data: Data, report: LadderReport, tell: Progress) -> dict[str, Any]:
    config, chip = folder.config(), folder.chip()
    trained = folder.load_model(adapted=False)  # for chips that it was not adapted to
    x, y, count = data.test_x, data.test_y, config.verify.chips
    chips = []
    for k in range(count):
        chips.append(classify_on(trained, TwinDevice(Chip(chip.spec, UNSEEN_CHIPS + k)), x, y))
        tell("measuring unseen chips", (k + 1) / count)
    before = _accuracy_before_chips(config.training, folder.training())
    cost = _cost(model, chip, x[: report.samples], report.settling.time_second)
    return {
        "task": config.task,
        "hardware": chip.spec.name,
        "seed": config.seed,
        "chip_seed": config.chip_seed,
        "test_samples": len(x),
        **_ladder_metrics(report),
        "accuracy_ideal": accuracy(trained, x, y),
        "accuracy_ideal_before_twin_training": before,
        "accuracy_twin": classify_on(model, TwinDevice(chip), x, y),
        "accuracy_twin_before_adaptation": classify_on(trained, TwinDevice(chip), x, y) if folder.adapted else None,
        "accuracy_twin_unseen_chips": {
            "chips": count,
            "mean": sum(chips) / count,
            "worst": min(chips),
            "best": max(chips),
            "each": chips,
        },
        "cost": None if cost is None else cost.model_dump(),
        "cost_verdict": None if cost is None else cost.verdict,
        "parts": [row.model_dump() for row in parts_of_run(folder, data)],
    }


def _accuracy_before_chips(config: TrainConfig, rows: list[dict[str, str]]) -> float | None:
    """Return the ideal model's test accuracy at the end of the last stage before the first that met chips."""
    before = None
    for row in rows:
        if (stage := config.stages.get(row["stage"])) is None or stage.twin:
            return before
        if row.get("test_accuracy_ideal"):
            before = float(row["test_accuracy_ideal"])
    return None


def _ladder_metrics(report: LadderReport) -> dict[str, Any]:
    """Return the figures that the ladder alone decides."""
    at_rest, in_time, same, real = (report.rung(name) for name in (AT_REST, IN_TIME, TWIN_AT_REST, TRANSISTORS))
    settled = torch.tensor(report.settling.time_second, dtype=torch.float64)
    rests, found = bool(settled.isfinite().all()), report.transistors
    return {
        "verified": report.verified,
        "accuracy_ngspice": at_rest.accuracy if at_rest else None,
        "accuracy_twin_same_samples": same.accuracy if same else None,
        "ngspice_samples": report.samples if at_rest else 0,
        "ngspice_transients": report.settle_samples,
        "max_error_at_rest": at_rest.max_error if at_rest else None,
        "max_error_in_time": in_time.max_error if in_time else None,
        "accuracy_transistors": real.accuracy if real else None,
        "max_error_transistors": real.max_error if real else None,
        "transistor_samples": found.samples if found else 0,
        "transistor_samples_classified_alike": found.same_class if found else None,
        "settling_time_median_second": float(settled.median()) if rests else None,
        "settling_time_max_second": float(settled.max()) if rests else None,
    }


def _cost(model: HybridDEQ, chip: Chip, x: Tensor, settling_second: list[float]) -> CostReport | None:
    try:
        return estimate(model, chip, x, settling_second)
    except ValueError:
        return None  # the chip does not settle; verify.json says so
