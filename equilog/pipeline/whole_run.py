"""From data set to verified circuit: train, build one chip, settle it in ngspice, estimate, report."""

from __future__ import annotations

from pathlib import Path

from equilog.hardware import Spec, load_spec
from equilog.names import UserError
from equilog.pipeline.train import adapt_run, load_data, train_run
from equilog.pipeline.verify import Progress, verify_run
from equilog.report import check_installed, write_report
from equilog.runs.config import RunConfig
from equilog.runs.folder import RunFolder


def run(
    config: RunConfig,
    path: Path,
    *,
    resume: bool = False,
    force: bool = False,
    processes: int = 1,
    progress: Progress | None = None,
) -> RunFolder:
    """Do everything for one task and return the finished folder.

    Args:
        config: what to do.
        path: where to; must not exist or be empty, unless `resume` or `force`.
        resume: go on with an interrupted run of the same configuration; a finished one is returned as it is.
        force: replace the run that lies there. Files that no run writes are left alone.
        processes: that share every training batch.
        progress: called with a phrase and a fraction for each part of the work; training shows its own bar.

    Raises:
        UserError: for anything the user can mend, before any file is touched if possible.
        TrainingInterrupted: on Ctrl-C in training; calling again with `resume` goes on.
    """
    folder = RunFolder(path)
    tell = progress or (lambda _phrase, _done: None)
    spec = load_spec(config.hardware)
    check_installed()
    if config.verify.transistor_samples:
        from equilog.circuit.sky130 import require  # noqa: PLC0415

        require()
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
    train_run(folder, data, processes=processes, progress=progress is not None)
    adapt_run(folder, data, progress=progress is not None)
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
