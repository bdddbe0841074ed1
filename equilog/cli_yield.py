"""``equilog yield``: how many chips are good enough. One call into :mod:`equilog.yields`, and how it is printed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

INTERRUPTED = 130

EPILOG = (
    "[bold]Examples[/bold]\n\n"
    "equilog yield runs/digits-rram\n\n"
    "equilog yield runs/digits-rram --chips 200 --age 30d --read-noise 1\n\n"
    "equilog yield runs/digits-rram --hardware board --threshold 0.97\n\n"
    "equilog yield runs/digits-rram --without programming-error --json | jq .yield_fraction"
)


def yield_(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as written by: equilog run")],
    chips: Annotated[int, typer.Option(help="How many chips. More than before go on from there.")] = 1000,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="A chip passes from this accuracy, or up to this error; fractions, or the error's unit. "
            "Default: one point worse than the ideal model."
        ),
    ] = None,
    hardware: Annotated[
        str | None, typer.Option(help="Another technology than the run's: a preset or a YAML file.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(metavar="EFFECT", help="Switch an effect off; may be repeated.")
    ] = None,
    age: Annotated[
        str | None, typer.Option(metavar="TIME", help="Since programming: seconds, or 15min, 1h, 30d, 1y.")
    ] = None,
    temperature: Annotated[
        str | None, typer.Option(metavar="KELVIN", help="Of the chips: 350, 350K or 77C. Default: 300.")
    ] = None,
    read_noise: Annotated[
        int | None, typer.Option(metavar="SEED", help="Draw read and converter noise from this seed. Default: none.")
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Use only the first of the test samples. Default: all.")] = None,
    settle_samples: Annotated[int, typer.Option(help="Samples that every chip also settles in time; 0 for none.")] = 4,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Where to keep the study. Default: a folder in RUN/yield.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout.")] = False,
) -> None:
    """Measure a run's model on many chips: accuracy or error, settling, stability, and how many chips are good enough.

    Ctrl-C is safe at any moment: the same command goes on where it stopped.
    """
    from equilog.names import parse  # noqa: PLC0415
    from equilog.runs import RunFolder  # noqa: PLC0415
    from equilog.yields import StudyConfig, study_run  # noqa: PLC0415
    from equilog.yields.quantities import kelvin_of, seconds_of  # noqa: PLC0415

    settings = {
        "without": tuple(dict.fromkeys(without or ())),
        "age_second": None if age is None else seconds_of(age, "--age"),
        "temperature_kelvin": None if temperature is None else kelvin_of(temperature, "--temperature"),
        "read_seed": read_noise,
        "settle_samples": settle_samples,
    }
    config = parse(StudyConfig, {k: v for k, v in settings.items() if v is not None}, "options")
    err = Console(stderr=True)
    done = [0]
    try:
        with _progress(err, done) as tell:
            study = study_run(
                RunFolder(run_folder),
                config,
                hardware=hardware,
                samples=samples,
                chips=chips,
                threshold=threshold,
                folder=out_folder,
                progress=tell,
            )
    except KeyboardInterrupt:
        err.print(f"interrupted after {done[0]} of {chips} chips; the same command goes on", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    if study.measured:
        err.print(
            f"{study.measured} chips measured: {study.report.score_name} {study.score_second:.1f} s, stability and "
            f"settling in time {study.settling_second:.1f} s",
            highlight=False,
            soft_wrap=True,
        )
    if as_json:
        sys.stdout.write(study.report.model_dump_json(indent=1) + "\n")
    else:
        from equilog.yields.terminal import print_study  # noqa: PLC0415

        print_study(Console(), study)


@contextmanager
def _progress(console: Console, done: list[int]) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that moves a bar on stderr and remembers how far it got."""
    columns = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        chips = bar.add_task("chips", total=None)

        def tell(finished: int, of: int) -> None:
            done[0] = finished
            bar.update(chips, completed=finished, total=of)

        yield tell
