"""``equilog allocate``: what runs where. One call into :mod:`equilog.allocate`, and how it is printed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from equilog.names import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from equilog.allocate import Allocation, Capacity, Limits, Outcome
    from equilog.hardware import Spec

    _Source = tuple[nn.Module, Any, Tensor | None, str | Spec, Path, str | None]

EPILOG = (
    "[bold]Examples[/bold]\n\n"
    "equilog allocate runs/digits-rram\n\n"
    "equilog allocate mymodel:make --budget-accuracy 0.02 --hardware pcm --target cpu-fp32\n\n"
    "equilog allocate runs/digits-rram --max-latency 5 --tiles 3 --tile-size 128x512\n\n"
    "equilog allocate mymodel:make --pin head=digital --json | jq .layers"
)


def allocate(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|MODULE:FACTORY",
            help="A run folder; or a function of a Python module in this directory, which returns (model, inputs) or "
            "(model, inputs, labels).",
        ),
    ],
    budget_accuracy: Annotated[float, typer.Option(help="Accuracy that may be lost on chips, a fraction.")] = 0.01,
    hardware: Annotated[
        str | None, typer.Option(help="Technology: a preset or a YAML file. Default: the run's, or rram.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Digital computer, like edge-npu-int8, cpu-fp32@28nm.")] = None,
    max_area: Annotated[float | None, typer.Option(metavar="MM2", help="Of the analog side, mm².")] = None,
    max_latency: Annotated[float | None, typer.Option(metavar="MICROSECONDS", help="Of one inference, µs.")] = None,
    max_energy: Annotated[float | None, typer.Option(metavar="NANOJOULE", help="Of one inference, nJ.")] = None,
    tiles: Annotated[int | None, typer.Option(min=0, help="Crossbars that there are.")] = None,
    tile_size: Annotated[
        str | None, typer.Option(metavar="OUTPUTSxINPUTS", help="Of a crossbar, like 128x512. Default: any.")
    ] = None,
    neurons: Annotated[int | None, typer.Option(min=0, help="Neurons that there are.")] = None,
    pin: Annotated[
        list[str] | None, typer.Option(metavar="LAYER=KIND", help="Give a layer its kind; may be repeated.")
    ] = None,
    cell: Annotated[
        list[str] | None, typer.Option(metavar="LAYER", help="A module that may be an equilibrium; may be repeated.")
    ] = None,
    links: Annotated[bool, typer.Option(help="Let states go from crossbar to crossbar as voltages.")] = True,
    minimise: Annotated[str, typer.Option(help="energy, latency, area or loss.")] = "energy",
    chips: Annotated[int, typer.Option(min=1, help="On how many chips every candidate is measured.")] = 8,
    run_chips: Annotated[int, typer.Option(min=1, help="On how many unseen chips the split is run.")] = 10,
    samples: Annotated[int | None, typer.Option(min=2, help="Use only the first samples, for a quick look.")] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder to write. Default: RUN/allocate, or allocate-MODULE.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout.")] = False,
) -> None:
    """Decide for every operation of a network whether it runs on analog hardware or digitally, and run the split.

    Half of the samples measure what each layer loses on chips; the split runs on the other half and on other chips.
    """
    from equilog.report import check_installed  # noqa: PLC0415

    check_installed()  # what the pictures need, before minutes of measuring
    from equilog.allocate import Capacity, Limits  # noqa: PLC0415
    from equilog.allocate import allocate as do_allocate  # noqa: PLC0415
    from equilog.allocate.figure import write_pictures  # noqa: PLC0415
    from equilog.allocate.summary import summary  # noqa: PLC0415
    from equilog.cost.digital import load_target  # noqa: PLC0415
    from equilog.report.allocation import FILE  # noqa: PLC0415

    if not 0 <= budget_accuracy <= 1:
        raise UserError(f"--budget-accuracy {budget_accuracy}: expected a fraction from 0 to 1, like 0.01 for a point")
    limits = _limits(budget_accuracy, max_latency, max_area, max_energy, Limits)
    capacity = _capacity(tile_size, tiles, neurons, Capacity)
    pinned = dict(_pair(text) for text in pin or ())
    computer = None if target is None else load_target(target)
    model, inputs, labels, spec, folder, digest = _source(source, hardware)
    if samples is not None:
        inputs = tuple(t[:samples] for t in (inputs if isinstance(inputs, tuple) else (inputs,)))
        labels = None if labels is None else labels[:samples]
    err = Console(stderr=True)

    def tell(phrase: str) -> None:
        err.print(phrase, markup=False, highlight=False)

    found = do_allocate(
        model, inputs, labels, spec, computer, limits=limits, capacity=capacity, minimise=minimise, pin=pinned,
        cells=cell or (), links=links, chips=chips, progress=tell,
    )  # fmt: skip
    tell(f"running the split on {run_chips} unseen chips")
    outcome = found.run(run_chips)
    place = out_folder or folder
    data = summary(found, outcome) | {"weights_sha256": digest}
    pictures = write_pictures(found, place, outcome)
    (place / FILE).write_text(json.dumps(data, indent=1), encoding="utf-8")
    if digest is not None:
        tell(f"to have it in the report: equilog report {source}")
    if as_json:
        sys.stdout.write(json.dumps(data, indent=1) + "\n")
    else:
        _print(Console(), found, outcome, data)
        Console().print("pictures: " + ", ".join(map(str, pictures)), markup=False, highlight=False, soft_wrap=True)
    lost = outcome.ideal - outcome.happened.mean
    if lost > budget_accuracy + outcome.happened.standard_error:
        err.print(
            f"the split loses {100 * lost:.2f} points on unseen chips and samples, more than the budget of "
            f"{100 * budget_accuracy:.2f}: losses did not simply add up, or were measured on too few samples; choose "
            "again with a smaller --budget-accuracy",
            soft_wrap=True,
            highlight=False,
        )


def _source(source: str, hardware: str | None) -> _Source:
    if ":" in source and not Path(source).exists():
        from equilog.allocate.factory import from_factory  # noqa: PLC0415

        model, inputs, labels = from_factory(source)
        return model, inputs, labels, hardware or "rram", Path(f"allocate-{source.partition(':')[0]}"), None
    from equilog.pipeline import load_data  # noqa: PLC0415
    from equilog.report.allocation import FOLDER, weights_digest  # noqa: PLC0415
    from equilog.runs import RunFolder  # noqa: PLC0415

    folder = RunFolder(Path(source))
    if not folder.started:
        raise UserError(f"{source}: there is no such run folder; a model of your own is given as MODULE:FACTORY")
    run, data = folder.load_model(), load_data(folder.config())
    spec, digest = hardware or folder.spec(), weights_digest(folder.path)
    return run, data.test_x, data.test_y, spec, folder.path / FOLDER, digest


def _limits(
    loss: float, microseconds: float | None, mm2: float | None, nanojoule: float | None, make: type[Limits]
) -> Limits:
    def scaled(option: str, value: float | None, unit: float) -> float | None:
        if value is not None and not 0 <= value < float("inf"):
            raise UserError(f"{option} {value}: expected a number of 0 or more")
        return None if value is None else value * unit

    return make(
        loss=loss,
        latency_second=scaled("--max-latency", microseconds, 1e-6),
        area_m2=scaled("--max-area", mm2, 1e-6),
        energy_joule=scaled("--max-energy", nanojoule, 1e-9),
    )


def _capacity(size: str | None, tiles: int | None, neurons: int | None, make: type[Capacity]) -> Capacity:
    outputs = inputs = None
    if size is not None:
        first, cross, second = size.lower().partition("x")
        if not (cross and first.isdecimal() and second.isdecimal() and int(first) and int(second)):
            raise UserError(f"--tile-size {size!r}: expected OUTPUTSxINPUTS, like 128x512")
        outputs, inputs = int(first), int(second)
    return make(tile_outputs=outputs, tile_inputs=inputs, tiles=tiles, neurons=neurons)


def _pair(text: str) -> tuple[str, str]:
    name, equals, kind = text.rpartition("=")
    if not equals:
        raise UserError(f"--pin {text!r}: expected LAYER=KIND, like head=digital")
    return name, kind


def _print(console: Console, found: Allocation, outcome: Outcome, data: dict[str, Any]) -> None:
    from equilog.drawing.units import area, engineering  # noqa: PLC0415

    table = Table("operation", "what", "runs as", "energy", "time", "accuracy alone", "on chips instead of digitally")
    for row in data["layers"]:
        chosen = next(o for o in row["options"] if o["kind"] == row["kind"])
        others = [o for o in row["options"] if o["kind"] != row["kind"]]
        table.add_row(
            escape(row["name"]),
            escape(row["what"]),
            row["kind"] if row["kind"] == "digital" else f"[bold]{row['kind']}[/bold]",
            engineering(chosen["energy_joule"], "J"),
            engineering(chosen["latency_second"], "s"),
            f"{chosen['accuracy_alone']:.4f}" if "accuracy_alone" in chosen else "",
            "; ".join(f"{o['kind']} {engineering(o['energy_joule'], 'J')}" for o in others),
        )
    table.columns[-1].header = "it could be"
    table.title = f"{data['hardware']} and {data['target']}; converters apart"
    console.print(table)

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    say("converters: " + ("; ".join(_converter(row) for row in data["conversions"]) or "none"))
    cost, digital, optimum = found.optimum.cost, found.digital, found.optimum
    energy, latency = data["chosen"]["energy_joule"], data["chosen"]["latency_second"]
    say(
        f"energy {_range(energy, 'J')} (all digital: {engineering(digital.energy_joule, 'J')}); latency "
        f"{_range(latency, 's')} (all digital: {engineering(digital.latency_second, 's')}); analog area "
        f"{area(cost.area_m2)}, {cost.tiles:g} crossbars, {cost.neurons:g} neurons"
    )
    least = getattr(cost, optimum.objective)
    say(
        f"optimal: {optimum.objective} {least:.6g}, no split within the limits takes less than {optimum.bound:.6g} "
        f"(HiGHS, gap {optimum.gap:.2g}); front: {len(found.front)} points{'' if found.front_whole else ', not all'}"
    )
    counted, on = outcome.same_chip.energy_joule.typical, outcome.happened
    say(
        f"run on {len(on.each)} unseen chips and {len(found.checking[1])} other samples: accuracy {on.mean:.4f} on the "
        f"mean chip, {on.worst:.4f} on the worst, predicted {outcome.predicted:.4f}, ideal {outcome.ideal:.4f}; energy "
        f"recounted {engineering(counted, 'J', digits=4)}, predicted {engineering(cost.energy_joule, 'J', digits=4)}, "
        f"on an unseen chip {engineering(outcome.unseen_chip.energy_joule.typical, 'J', digits=4)}"
    )
    for r in found.refused:
        say(f"not on chips: {r.module} as {r.kind}: {r.reason}")


def _range(span: dict[str, float], unit: str) -> str:
    from equilog.drawing.units import engineering  # noqa: PLC0415

    low, high = (engineering(span[end], unit, digits=2) for end in ("low", "high"))
    return f"{engineering(span['typical'], unit)} ({low} to {high})"


def _converter(row: dict[str, Any]) -> str:
    if row["by"] == "link":
        return f"{row['of']} → {row['for'][0]} as voltages"
    return f"{row['by']} for {row['of']}" + (f" → {', '.join(row['for'])}" if row["for"] else "")
