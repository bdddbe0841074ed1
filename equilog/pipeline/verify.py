"""The second half of a run: the ladder, the figures, the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from equilog.circuit import NgspiceError
from equilog.cost import CostReport, DigitalTarget, Use, estimate
from equilog.devices.ladder import Ladder, score_on, verify
from equilog.devices.ladder_report import AT_REST, IN_TIME, TRANSISTORS, TWIN_AT_REST, LadderReport, asked_for
from equilog.devices.twin import TwinDevice
from equilog.hardware import Chip
from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.objective import Objective
from equilog.pipeline.build import compile_run, parts_of_run
from equilog.pipeline.measured import drawn, measured, predictor
from equilog.pipeline.train import load_data, mean_score, objective_of
from equilog.report import check_installed, write_report
from equilog.runs.folder import RunFolder
from equilog.tasks import Data, get_task
from equilog.training import TrainConfig

Progress = Callable[[str, float], None]
# Chips on which scores are measured; far from the seeds that people choose for the one they build.
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
        UserError: as :func:`equilog.devices.verify`; for a run that is not trained; if ngspice fails.
    """
    check_installed()
    rungs = None if rungs is None else asked_for(rungs)
    config, model = folder.config(), folder.load_model()
    data = data or load_data(config)
    objective = objective_of(config, data)
    tell = progress or (lambda _phrase, _done: None)
    count = config.verify.rest_samples
    if rungs is None:
        # The circuit is written first: without a simulator it is still there to look at.
        compile_run(folder, data)
    former = folder.former_ladder()
    ladder = _climbed(
        folder,
        model,
        folder.chip(),
        data.test_x[:count],
        data.test_y[:count],
        objective=objective,
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
        metrics = _metrics(folder, model, data, objective, ladder.report, tell)
    folder.save_metrics(metrics)
    tell("drawing the report", 0.0)
    write_report(folder)
    tell("done", 1.0)
    return ladder.report


def _climbed(run: RunFolder, *args: Any, **settings: Any) -> Ladder:
    """Return the ladder; a simulator that fails is a mistake to explain, for what was trained is kept."""
    try:
        return verify(*args, **settings)
    except NgspiceError as error:
        raise UserError(
            f"ngspice failed: {error}. The trained model is kept in {run.path}: try fewer samples (`verify` in "
            f"config.yaml), or some rungs alone, equilog verify {run.path} --rung twin"
        ) from None


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


def _metrics(
    folder: RunFolder, model: HybridDEQ, data: Data, objective: Objective, report: LadderReport, tell: Progress
) -> dict[str, Any]:
    config, chip, name = folder.config(), folder.chip(), objective.score_name
    trained = folder.load_model(adapted=False)  # for chips that it was not adapted to
    x, y, count = data.test_x, data.test_y, config.verify.chips

    def on(which: HybridDEQ, which_chip: Chip) -> float:
        return score_on(which, TwinDevice(which_chip), x, y, objective)

    chips = []
    for k in range(count):
        chips.append(on(trained, Chip(chip.spec, UNSEEN_CHIPS + k)))
        tell("measuring unseen chips", (k + 1) / count)
    cost = _cost(model, chip, x[: report.samples], report.settling.time_second)
    tell("measuring what the task asks for", 0.0)
    task, ideal, twin = get_task(config.task), predictor(trained), predictor(model, chip)
    folder.save_pictures(drawn(task, ideal, twin, data))
    return {
        "task": config.task,
        "hardware": chip.spec.name,
        "seed": config.seed,
        "chip_seed": config.chip_seed,
        "test_samples": len(x),
        "data_source": data.source,
        "samples_skipped": data.skipped,
        **_ladder_metrics(report),
        f"{name}_ideal": mean_score(trained, x, y, objective),
        f"{name}_ideal_before_twin_training": _before_chips(config.training, folder.training(), f"test_{name}_ideal"),
        f"{name}_twin": on(model, chip),
        f"{name}_twin_before_adaptation": on(trained, chip) if folder.adapted else None,
        f"{name}_twin_unseen_chips": {
            "chips": count,
            "mean": sum(chips) / count,
            "worst": report.worst_of(chips),
            "best": report.best_of(chips),
            "each": chips,
        },
        "measures": measured(task, ideal, twin, data),
        "cost": None if cost is None else cost.model_dump(),
        "cost_verdict": None if cost is None else cost.verdict,
        "parts": [row.model_dump() for row in parts_of_run(folder, data)],
    }


def _before_chips(config: TrainConfig, rows: list[dict[str, str]], key: str) -> float | None:
    """Return the ideal model's test score at the end of the last stage before the first that met chips."""
    before = None
    for row in rows:
        if (stage := config.stages.get(row["stage"])) is None or stage.twin:
            return before
        if row.get(key):
            before = float(row[key])
    return None


def _ladder_metrics(report: LadderReport) -> dict[str, Any]:
    """Return the figures that the ladder alone decides."""
    at_rest, in_time, same, real = (report.rung(name) for name in (AT_REST, IN_TIME, TWIN_AT_REST, TRANSISTORS))
    settled = torch.tensor(report.settling.time_second, dtype=torch.float64)
    rests, found, name = bool(settled.isfinite().all()), report.transistors, report.score_name
    return {
        "verified": report.verified,
        "score": {"name": name, "higher_is_better": report.higher_is_better, "unit": report.score_unit},
        f"{name}_ngspice": at_rest.score if at_rest else None,
        f"{name}_twin_same_samples": same.score if same else None,
        "ngspice_samples": report.samples if at_rest else 0,
        "ngspice_transients": report.settle_samples,
        "max_error_at_rest": at_rest.max_error if at_rest else None,
        "max_error_in_time": in_time.max_error if in_time else None,
        f"{name}_transistors": real.score if real else None,
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
