"""The page of a study: one HTML file in the style of a run's report; everything that is text is escaped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import resources

import jinja2
from markupsafe import Markup

from equilog.report.style import css_variables
from equilog.report.tables import Tile
from equilog.report.units import MISSING, count, engineering, percent
from equilog.yields.figures import accuracy_plate, settling_plate
from equilog.yields.quantities import time_text
from equilog.yields.report import Spread, YieldReport
from equilog.yields.rows import ChipRow, Standing
from equilog.yields.statistics import PERCENTILES

STANDING_MEANS = {
    Standing.SETTLES: "answers",
    Standing.NO_REST: "some sample has no resting point that a solver could find",
    Standing.OUTSIDE: "for some sample a neuron rests where the activation was not measured",
    Standing.UNSTABLE: "a pole at some resting point lies in the right half plane",
    Standing.NEVER: "stable at rest, but some watched sample did not get there",
}


def page(report: YieldReport, rows: Sequence[ChipRow], commands: Sequence[str] = ()) -> str:
    """Return the HTML document of a study.

    Args:
        report: what it says.
        rows: its chips.
        commands: how to repeat it, and how to build one of its chips, if these can be said.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: _shipped("equilog.yields", name)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    plates = [p for p in (accuracy_plate(report, rows), settling_plate(report, rows)) if p is not None]
    return environment.get_template("page.html.j2").render(
        style=Markup(_shipped("equilog.report", "style.css")),
        light=css_variables(dark=False),
        dark=css_variables(dark=True),
        report=report,
        headline=headline(report),
        criterion=criterion(report),
        circumstances=circumstances(report),
        tiles=_tiles(report),
        plates=plates,
        figures=_FIGURES,
        spreads=_spreads(report),
        standing=[
            (str(s), STANDING_MEANS[s], f"{number:,}")
            for s, number in report.standing.items()
            if number or s is Standing.SETTLES
        ],
        worst=[
            (
                str(w.seed),
                str(w.standing),
                MISSING if w.accuracy is None else percent(w.accuracy, 2),
                engineering(w.settling_worst_second, "s"),
                w.passes,
            )
            for w in report.worst
        ],
        commands=commands,
    )


def headline(report: YieldReport) -> str:
    """Return the yield and its interval."""
    low, high = report.yield_interval_95
    return (
        f"Yield {percent(report.yield_fraction)}: {report.passing:,} of {count(report.chips, 'chip')} "
        f"({percent(low)} to {percent(high)} with {percent(0.95, 0)} confidence)"
    )


def criterion(report: YieldReport) -> str:
    """Say when a chip passes."""
    default = (
        f", the ideal model's {percent(report.accuracy_ideal, 2)} minus 1 point" if report.threshold_is_default else ""
    )
    reaches = f"reaches an accuracy of {percent(report.threshold, 2)}{default}"
    return f"A chip passes if it is stable, comes to rest and {reaches}."


def circumstances(report: YieldReport) -> str:
    """Say in one line which chips, and in what state."""
    c = report.config
    last = c.first_seed + report.chips - 1
    parts = [
        f"{report.states} neurons",
        f"chips {c.first_seed} to {last}",
        count(report.samples, "test sample"),
        "just programmed" if c.age_second is None else f"{time_text(c.age_second)} old",
        f"{c.temperature_kelvin:g} K",
        "noiseless reads" if c.read_seed is None else f"noisy reads (seed {c.read_seed})",
        *(f"without {name}" for name in c.without),
    ]
    return ", ".join(parts)


def _tiles(report: YieldReport) -> list[Tile]:
    accuracy, settling, clipped = report.accuracy, report.settling_worst_second, report.clipped_readings
    silent = report.chips - report.standing.get(Standing.SETTLES, 0)
    mean, deviation, worst = (
        (None, None, None)
        if accuracy is None
        else (accuracy.mean, accuracy.standard_deviation, accuracy.percentiles["0"])
    )
    median, slowest = (None, None) if settling is None else (settling.percentiles["50"], settling.percentiles["100"])
    return [
        Tile("accuracy, mean chip", percent(mean, 2), f"ideal model {percent(report.accuracy_ideal, 2)}"),
        Tile("accuracy, worst chip", percent(worst, 2), f"standard deviation {percent(deviation, 2)}"),
        Tile("settling time, slowest chip", engineering(slowest, "s"), f"median chip {engineering(median, 's')}"),
        Tile(
            "chips without an answer",
            f"{silent:,}",
            "" if clipped is None else f"clipped ADC readings {percent(clipped.mean, 2)} on average",
        ),
    ]


_FIGURES = (
    "accuracy",
    "settling time, slowest sample",
    "settling time, mean sample",
    "slowest pole, real part",
    "clipped ADC readings",
)


def _spreads(report: YieldReport) -> list[tuple[str, list[str]]]:
    """Return mean, standard deviation and percentiles, each a row with a cell for every one of the figures."""

    def fraction(value: float) -> str:
        return percent(value, 2)

    def time(value: float) -> str:
        return engineering(value, "s")

    def rate(value: float) -> str:
        return engineering(value, "/s")

    columns: list[tuple[Spread | None, Callable[[float], str]]] = [
        (report.accuracy, fraction),
        (report.settling_worst_second, time),
        (report.settling_mean_second, time),
        (report.spectral_abscissa_per_second, rate),
        (report.clipped_readings, fraction),
    ]

    def row(name: str, value: Callable[[Spread], float]) -> tuple[str, list[str]]:
        return name, [MISSING if spread is None else text(value(spread)) for spread, text in columns]

    return [
        row("mean", lambda s: s.mean),
        row("standard deviation", lambda s: s.standard_deviation),
        *(row(_PERCENTILE_NAMES.get(p, f"{p} % of chips below"), partial(_percentile, p)) for p in PERCENTILES),
    ]


_PERCENTILE_NAMES = {0: "least", 50: "median", 100: "largest"}


def _percentile(p: int, spread: Spread) -> float:
    return spread.percentiles[str(p)]


def _shipped(package: str, name: str) -> str:
    return (resources.files(package) / name).read_text(encoding="utf-8")
