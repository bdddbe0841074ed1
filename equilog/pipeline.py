"""From data set to verified circuit: train, build one chip, settle it in ngspice, estimate, report."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from equilog import circuit
from equilog.circuit.chain import twin_chain, write_chain
from equilog.cost import CostReport, estimate
from equilog.devices.ladder import classify_on, verify
from equilog.devices.ladder_report import LadderReport
from equilog.devices.twin import TwinDevice
from equilog.hardware import Chip, ProgrammedLayer, Spec, load_spec
from equilog.hardware.twin import dac
from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.report import check_installed, write_report
from equilog.runs.config import RunConfig
from equilog.runs.folder import RunFolder
from equilog.tasks import Data, get_task
from equilog.training import fit

Progress = Callable[[str, float], None]
# Chips on which accuracy is measured; far from the seeds that people choose for the one they build.
UNSEEN_CHIPS = 1_000_000
TARGETS = ("spice", "chain", "transistors", "board")


def run(
    config: RunConfig,
    path: Path,
    *,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> RunFolder:
    """Do everything for one task and return the finished folder.

    Args:
        config: what to do.
        path: where to; must not exist or be empty, unless `resume` or `force`.
        resume: go on with an interrupted run of the same configuration; a finished one is returned as it is.
        force: replace the run that lies there. Files that no run writes are left alone.
        progress: called with a phrase and a fraction for each part of the work; training shows its own bar.

    Raises:
        UserError: for anything the user can mend, before any file is touched if possible.
        TrainingInterrupted: on Ctrl-C in training; calling again with `resume` goes on.
    """
    folder = RunFolder(path)
    tell = progress or (lambda _phrase, _done: None)
    spec = load_spec(config.hardware)
    task = get_task(config.task)
    check_installed()
    _check_place(folder, config, spec, resume=resume, force=force)
    if resume and folder.finished:
        if not folder.report.is_file():
            write_report(folder)
        return folder
    tell("loading data", 0.0)
    data = load_data(config)
    if force:
        folder.clear()
    folder.begin(config, spec)
    if not folder.trained:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            model = task.build(config.model)
        rows = fit(
            model,
            data.train_x,
            data.train_y,
            spec,
            config.training,
            seed=config.seed,
            augment=task.augment,
            state=folder.state,
            progress=progress is not None,
            after_ideal=lambda m: {"test_accuracy_ideal": accuracy(m, data.test_x, data.test_y)},
        )
        folder.save_training(rows)
        folder.save_model(model)
        shutil.rmtree(folder.state, ignore_errors=True)
    verify_run(folder, data, tell)
    return folder


def _check_place(folder: RunFolder, config: RunConfig, spec: Spec, *, resume: bool, force: bool) -> None:
    if not folder.started:
        return
    if force and not folder.is_run:
        raise UserError(f"{folder.path} holds something other than a run; --force replaces runs only")
    if not (resume or force):
        raise UserError(f"{folder.path} exists; choose another --out, go on with --resume, or replace it with --force")
    if resume and (folder.config(), folder.spec()) != (config, spec):
        raise UserError(
            f"{folder.path} was begun with another configuration; resume it with the same one, or use --force"
        )


def compile_run(folder: RunFolder, data: Data | None = None, target: str = "spice") -> list[Path]:
    """Write the circuit of a trained run, with test benches for its verification samples.

    Args:
        folder: the run.
        data: its data; loaded unless given.
        target: "spice" for the network of blocks in ``circuit/``; in a folder of its own within that, "chain" for
            everything from code to code, "transistors" for SKY130 ones in the place of blocks, on a chip of their own
            technology with the run's seed, "board" for a board of parts.

    Returns:
        the files written.

    Raises:
        UserError: for a technology that the target cannot be made of, or if an extra is missing.
        ValueError: for another target.
    """
    if target not in TARGETS:
        raise ValueError(f"target = {target!r}: expected one of {', '.join(TARGETS)}")
    config, model = folder.config(), folder.load_model()
    data = data or load_data(config)
    device = TwinDevice(_transistor_chip(config.chip_seed) if target == "transistors" else folder.chip())
    device.program(model.cell)
    layer, count = device.layer, config.verify.settle_samples
    with torch.no_grad():
        drive = model.parameterize(data.test_x[: config.verify.rest_samples]).double()
    played, place = dac(layer, drive), folder.circuit / target
    if target == "chain":
        return _compile_chain(layer, place, drive[:count])
    if target == "board":
        from equilog.circuit.board import write_board  # noqa: PLC0415  # its libraries are an extra's

        return write_board(layer, place)
    if target == "transistors":
        from equilog.circuit.sky130 import write_transistor_circuit  # noqa: PLC0415

        try:
            return write_transistor_circuit(layer, place, rest=played, settle=played[:count])
        except ValueError as error:
            raise UserError(str(error)) from None
    return circuit.write_circuit(layer, folder.circuit, rest=played, settle=played[:count])


def _transistor_chip(seed: int) -> Chip:
    from equilog.circuit.sky130 import characterised_spec, require  # noqa: PLC0415

    require()
    return Chip(characterised_spec(), seed)


def _compile_chain(layer: ProgrammedLayer, place: Path, drive: Tensor) -> list[Path]:
    if layer.spec.detector is None:
        raise UserError(
            f"technology {layer.spec.name!r} has no detector to say when the chain may convert: give it a `detector` "
            "block and run again"
        )
    return write_chain(layer, place, drive=drive, report=twin_chain(layer, drive).report_second)


def verify_run(folder: RunFolder, data: Data | None = None, progress: Progress | None = None) -> LadderReport:
    """Climb the ladder with a trained run, measure and estimate it.

    Writes ``circuit/``, ``verify.json``, ``metrics.json`` and ``report.html`` anew, in this order.
    """
    check_installed()
    config, model = folder.config(), folder.load_model()
    data = data or load_data(config)
    tell = progress or (lambda _phrase, _done: None)
    count = config.verify.rest_samples
    # The circuit is written first: without a simulator it is still there to look at.
    compile_run(folder, data)
    ladder = verify(
        model,
        folder.chip(),
        data.test_x[:count],
        data.test_y[:count],
        settle_samples=config.verify.settle_samples,
        folder=folder.circuit,
        progress=tell,
    )
    folder.save_ladder(ladder)
    tell("measuring unseen chips", 0.0)
    folder.save_metrics(_metrics(folder, model, data, ladder.report, tell))
    tell("drawing the report", 0.0)
    write_report(folder)
    tell("done", 1.0)
    return ladder.report


def load_data(config: RunConfig) -> Data:
    """Return the data of a run's task, as many as the configuration wants."""
    folder = None if config.data is None else Path(config.data)
    return get_task(config.task).load(folder).limited(config.samples)


@torch.no_grad()
def accuracy(model: HybridDEQ, x: Tensor, y: Tensor, chip: Chip | None = None) -> float:
    """Return the fraction of `x` classified as `y`, in batches; ideal without a chip."""
    hits = 0
    for start in range(0, len(x), 1000):
        part = slice(start, start + 1000)
        hits += int((model(x[part], chip).argmax(1) == y[part]).sum())
    return hits / len(x)


def _metrics(folder: RunFolder, model: HybridDEQ, data: Data, report: LadderReport, tell: Progress) -> dict[str, Any]:
    config, chip = folder.config(), folder.chip()
    x, y, count = data.test_x, data.test_y, config.verify.chips
    chips = []
    for k in range(count):
        chips.append(classify_on(model, TwinDevice(Chip(chip.spec, UNSEEN_CHIPS + k)), x, y))
        tell("measuring unseen chips", (k + 1) / count)
    before = [row["test_accuracy_ideal"] for row in folder.training() if row.get("test_accuracy_ideal")]
    at_rest, in_time = report.rung("ngspice at rest"), report.rung("ngspice in time")
    same = report.rung("twin at rest")
    settled = torch.tensor(report.settling.time_second, dtype=torch.float64)
    cost = _cost(model, chip, x[: report.samples], report.settling.time_second)
    return {
        "task": config.task,
        "hardware": chip.spec.name,
        "seed": config.seed,
        "chip_seed": config.chip_seed,
        "test_samples": len(x),
        "verified": report.verified,
        "accuracy_ideal": accuracy(model, x, y),
        "accuracy_ideal_before_twin_training": float(before[0]) if before else None,
        "accuracy_twin": classify_on(model, TwinDevice(chip), x, y),
        "accuracy_twin_unseen_chips": {
            "chips": count,
            "mean": sum(chips) / count,
            "worst": min(chips),
            "best": max(chips),
            "each": chips,
        },
        "accuracy_ngspice": at_rest.accuracy if at_rest else None,
        "accuracy_twin_same_samples": same.accuracy if same else None,
        "ngspice_samples": report.samples if at_rest else 0,
        "ngspice_transients": report.settle_samples,
        "max_error_at_rest": at_rest.max_error if at_rest else None,
        "max_error_in_time": in_time.max_error if in_time else None,
        "settling_time_median_second": float(settled.median()) if bool(settled.isfinite().all()) else None,
        "settling_time_max_second": float(settled.max()) if bool(settled.isfinite().all()) else None,
        "cost": None if cost is None else cost.model_dump(),
        "cost_verdict": None if cost is None else cost.verdict,
    }


def _cost(model: HybridDEQ, chip: Chip, x: Tensor, settling_second: list[float]) -> CostReport | None:
    try:
        return estimate(model, chip, x, settling_second)
    except ValueError:
        return None  # the chip does not settle; verify.json says so
