"""The study: chip after chip, written down as it goes on, and summed up at the end."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from equilog.hardware import Spec, load_spec, without
from equilog.model import HybridDEQ
from equilog.names import UserError
from equilog.objective import Objective, Scored, objective_for
from equilog.pipeline import load_data, mean_score, objective_of
from equilog.report import check_installed
from equilog.runs import RunFolder
from equilog.yields.bench import Bench, chunk_size
from equilog.yields.report import ALLOWED_LOSS, YieldReport, summarise
from equilog.yields.rows import ChipRow
from equilog.yields.settings import StudyConfig, folder_name, identity
from equilog.yields.table import open_table, write_text

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Study:
    """A finished study.

    Attributes:
        report: what it says.
        rows: the chips, in the order of their seeds.
        folder: where ``chips.csv``, ``yield.json`` and ``yield.html`` lie.
        measured: how many chips were measured by this call; the others were there already.
        score_second: what their scores took.
        settling_second: what their stability and settling in time took.
    """

    report: YieldReport
    rows: list[ChipRow]
    folder: Path
    measured: int
    score_second: float
    settling_second: float


def study(
    model: HybridDEQ,
    spec: Spec,
    x: Tensor,
    y: Tensor,
    folder: str | Path | None,
    config: StudyConfig | None = None,
    *,
    objective: Objective | None = None,
    chips: int = 1000,
    threshold: float | None = None,
    title: str = "model",
    commands: tuple[str, ...] = (),
    samples_asked: int | None = None,
    within: Path | None = None,
    progress: Progress | None = None,
) -> Study:
    """Measure a model on many chips of a technology.

    Every finished chunk of chips is on the disk. Interrupted and called again, it goes on and ends with the same
    numbers; asked for more chips, it adds them.

    Args:
        model: the trained model.
        spec: the technology.
        x: inputs.
        y: what outputs are compared with.
        folder: where to keep the study; None for one with a name of its own in `within`.
        config: the circumstances.
        objective: how outputs are compared; class indices are classified unless it is given.
        chips: how many.
        threshold: score from which, of errors up to which, a chip passes; a point worse than the ideal model if None,
            of errors with a unit 1 % of the targets' root mean square worse, or 1 % of its own where targets are
            classes, as of bits.
        title: what runs on the chips, for the page.
        commands: how to repeat the study and how to build a chip of it, for the page.
        samples_asked: for the name of the folder, if these are not all samples.
        within: parent of a folder without a name.
        progress: called with the number of finished chips and of all.

    Raises:
        UserError: for a threshold that no chip or every chip passes, no chips, an unknown effect, or a folder with
            something else in it.
        ValueError: for targets that are no class indices without an objective.
    """
    config, objective = config or StudyConfig(), objective or objective_for(y)
    scored = Scored(**Scored.fields_of(objective))
    if chips < 1:
        raise UserError(f"{chips} chips: a study needs at least 1")
    _check_threshold(scored, threshold)
    if len(x) == 0:
        raise UserError("no test samples: a study needs at least 1")
    check_installed()
    spec = without(spec, *config.without)
    who = identity(model, spec, x, y, objective, config) | {"chunk": chunk_size(model.cell.states, config)}
    place = Path(folder) if folder is not None else (within or Path()) / folder_name(who, samples_asked)
    tell = progress or (lambda _done, _all: None)
    with open_table(place, who) as table:
        before = len(table.rows)
        bench = Bench(model, spec, x, y, objective, config)
        tell(min(before, chips), chips)
        while (done := len(table.rows)) < chips:
            # Always the same chunks, whatever is there already: settling times depend on them in their last digits.
            begin = done - done % bench.chunk
            first = config.first_seed + begin
            found = bench.measure(range(first, first + bench.chunk))
            table.append(found[done - begin : chips - begin])
            tell(len(table.rows), chips)
        rows = table.rows[:chips]
        score_ideal = mean_score(model, x, y, objective)
        report = summarise(
            rows,
            scored,
            title=title,
            spec=spec,
            config=config,
            samples=len(x),
            states=model.cell.states,
            score_ideal=score_ideal,
            threshold=threshold,
            allowed_loss=ALLOWED_LOSS * _size(scored, score_ideal, y),
        )
        write_text(place / "yield.json", report.model_dump_json(indent=1) + "\n")
        from equilog.yields.page import page  # noqa: PLC0415  (an optional extra)

        write_text(place / "yield.html", page(report, rows, commands))
    measured = max(0, len(table.rows) - before)
    return Study(report, rows, place, measured, bench.score_second, bench.settling_second)


def _size(scored: Scored, score_ideal: float, y: Tensor) -> float:
    """Return what a score's default tolerance is a fraction of."""
    if scored.score_unit is None:
        return 1.0
    return float(y.double().square().mean().sqrt()) if y.is_floating_point() else abs(score_ideal)


def _check_threshold(scored: Scored, threshold: float | None) -> None:
    if threshold is None:
        return
    if scored.hits and not 0 < threshold <= 1:
        raise UserError(
            f"threshold {threshold:g}: expected {scored.score_name} as a fraction above 0, at most 1 (97 % is 0.97)"
        )
    if not scored.higher_is_better and not 0 < threshold < math.inf:
        raise UserError(
            f"threshold {threshold:g}: expected the largest {scored.score_name} that passes, above 0"
            + ("; a fraction of one (3 % is 0.03)" if scored.score_unit is None else "")
        )


def study_run(
    run: RunFolder,
    config: StudyConfig | None = None,
    *,
    hardware: str | None = None,
    samples: int | None = None,
    chips: int = 1000,
    threshold: float | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Study:
    """Study the model of a run; see :func:`study`.

    Args:
        run: holds the trained model.
        config: the circumstances.
        hardware: preset or file of another technology than the run's.
        samples: use only the first of the test samples.
        chips: how many.
        threshold: score from which, of errors up to which, a chip passes.
        folder: where to keep the study; in ``yield/`` of the run if None, under a name that says what is special.
        progress: as for :func:`study`.

    Raises:
        UserError: if the run holds no trained model, too, or for fewer than one sample.
    """
    settings, model = run.config(), run.load_model(adapted=False)
    config = config or StudyConfig()
    if samples is not None and samples < 1:
        raise UserError(f"{samples} samples: a study needs at least 1")
    spec = run.spec() if hardware is None else load_spec(hardware)
    data = load_data(settings)
    x, y = data.test_x[:samples], data.test_y[:samples]
    return study(
        model,
        spec,
        x,
        y,
        folder,
        config,
        objective=objective_of(settings, data),
        chips=chips,
        threshold=threshold,
        title=settings.task,
        commands=_commands(run, config, hardware, samples, chips, threshold),
        samples_asked=samples,
        within=run.path / "yield",
        progress=progress,
    )


def _commands(
    run: RunFolder,
    config: StudyConfig,
    hardware: str | None,
    samples: int | None,
    chips: int,
    threshold: float | None,
) -> tuple[str, ...]:
    """Return the command line of a study, and the one that builds one of its chips."""
    words = ["equilog", "yield", str(run.path), "--chips", str(chips)]
    options = {
        "--hardware": hardware,
        "--age": None if config.age_second is None else f"{config.age_second:.15g}",
        "--temperature": config.temperature_kelvin
        if config.temperature_kelvin != StudyConfig().temperature_kelvin
        else None,
        "--read-noise": config.read_seed,
        "--samples": samples,
        "--settle-samples": config.settle_samples if config.settle_samples != StudyConfig().settle_samples else None,
        "--threshold": threshold,
    }
    for name in config.without:
        words += ["--without", name]
    for option, value in options.items():
        words += [] if value is None else [option, str(value)]
    again = shlex.join(words)
    if hardware is not None or config.without:
        return (again,)
    build = ["equilog", "run", run.config().task, "--config", str(run.path / "config.yaml"), "--chip-seed"]
    return again, f"{shlex.join(build)} SEED --out FOLDER"
