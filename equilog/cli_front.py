"""``equilog front``: what a regulariser buys and costs. One call into :mod:`equilog.fronts`, and how it is printed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from equilog.names import UserError

if TYPE_CHECKING:
    from equilog.fronts import Front

INTERRUPTED = 130
# In units of the inverse of each loss, see equilog.training.losses: energies are in joules.
WEIGHTS = {
    "robustness": "0,3,10,30,100,300",
    "precision": "0,3,10,30,100,300",
    "energy": "0,3e6,1e7,3e7,1e8,3e8",
    "stability": "0,0.1,1,10",
}

EPILOG = (
    "[bold]Examples[/bold]\n\n"
    "equilog front digits --loss energy\n\n"
    "equilog front fashion-mnist --loss energy --weights 0,1e7,1e8 --hardware rram --chips 10\n\n"
    "equilog front digits --loss robustness --epochs 60 --out fronts/robust"
)


def front(
    task: Annotated[str, typer.Argument(help="What to learn; see: equilog tasks")],
    loss: Annotated[str, typer.Option(help="Regulariser: robustness, precision, energy or stability.")] = "energy",
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="LIST", help="Its weights, separated by commas; 0 is without it. Default: a decade or two."
        ),
    ] = None,
    hardware: Annotated[str | None, typer.Option(help="Technology: a preset or a YAML file. Default: rram.")] = None,
    chips: Annotated[int, typer.Option(min=1, help="Unseen chips that every model is measured on.")] = 20,
    epochs: Annotated[int | None, typer.Option(min=0, help="Of every training. Default: the task's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of weights, order, training chips. Default: 0.")] = None,
    samples: Annotated[int | None, typer.Option(min=16, help="Use only this many samples, for a quick look.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder with the data, if not the task's usual place.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with any settings of config.yaml.")] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder to write. Default: fronts/TASK-HARDWARE-LOSS.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout.")] = False,
) -> None:
    """Train a model for every weight of a regulariser and draw the score against energy and displacement.

    Ctrl-C is safe at any moment: the same command goes on. Each point is a run folder: equilog verify makes a circuit
    of the one you choose.
    """
    from equilog.fronts import draw_front  # noqa: PLC0415
    from equilog.names import load_yaml  # noqa: PLC0415
    from equilog.runs import RunConfig  # noqa: PLC0415

    overrides = {} if config is None else load_yaml(config) or {}
    if not isinstance(overrides, dict):
        raise UserError(f"{config}: expected a mapping of keys to values")
    options = {"hardware": hardware, "seed": seed, "samples": samples, "data": None if data is None else str(data)}
    overrides |= {key: value for key, value in options.items() if value is not None}
    settings = RunConfig.for_task(task, overrides, str(config or "options")).with_curriculum(None, epochs)
    folder = out_folder or Path("fronts") / f"{task}-{Path(settings.hardware).stem}-{loss}"
    err = Console(stderr=True)

    def tell(phrase: str, point: int, of: int) -> None:
        err.print(f"[{point + 1}/{of}] {phrase}", markup=False, highlight=False)

    try:
        found = draw_front(
            settings, loss, _numbers(weights or WEIGHTS.get(loss, "0,1")), folder, chips=chips, progress=tell
        )
    except KeyboardInterrupt:
        err.print(f"interrupted; the same command with --out {folder} goes on", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        sys.stdout.write(found.model_dump_json(indent=1) + "\n")
        return
    console = Console()
    console.print(_table(found))
    console.print(f"picture: {folder}/front.svg; every point is a run folder in {folder}", soft_wrap=True)


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--weights {text!r}: expected numbers separated by commas, like 0,0.1,1") from None


def _table(found: Front) -> Table:
    from equilog.drawing.units import score_text  # noqa: PLC0415

    made = Table("λ", "ideal", "mean chip", "worst chip", "displacement", "settling", "array", "energy (low–high)")
    for p in found.points:
        star = " ★" if p in found.best else ""
        made.add_row(
            f"{p.weight:g}{star}",
            *(score_text(found, score, 2) for score in (p.score_ideal, p.score_mean, p.score_worst)),
            f"{100 * p.displacement_rms:.2f} %",
            f"{1e6 * p.settling_second:.3g} µs",
            f"{1e6 * p.array_watt:.3g} µW",
            f"{1e9 * p.energy_typical_joule:.3g} nJ ({1e9 * p.energy_low_joule:.2g}–{1e9 * p.energy_high_joule:.2g})",
        )
    made.title = f"{found.score_name} of {found.task} on {found.hardware}; ★ no other is both more accurate and cheaper"
    return made
