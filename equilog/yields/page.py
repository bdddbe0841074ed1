"""The page of a study: one HTML file in the style of a run's report; everything that is text is escaped."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from importlib import resources

import jinja2
from markupsafe import Markup

from equilog.drawing.style import css_variables
from equilog.drawing.units import MISSING, count, engineering, percent, score_text
from equilog.report.tables import Tile
from equilog.yields.figures import score_plate, settling_plate
from equilog.yields.quantities import time_text
from equilog.yields.report import ALLOWED_LOSS, Spread, YieldReport
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
    plates = [p for p in (score_plate(report, rows), settling_plate(report, rows)) if p is not None]
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
        figures=(report.score_name, *_FIGURES),
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
                score_text(report, w.score, 2),
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
    better = report.higher_is_better
    point = "1 point" if report.score_unit is None else "1 % of the targets' root mean square"
    if report.score_unit is not None and math.isclose(
        abs(report.threshold - report.score_ideal), ALLOWED_LOSS * abs(report.score_ideal)
    ):
        point = "1 %"
    default = (
        f", the ideal model's {score_text(report, report.score_ideal, 2)} {'minus' if better else 'plus'} {point}"
        if report.threshold_is_default
        else ""
    )
    name = report.score_name if report.score_name.endswith("s") else f"an {report.score_name}"
    limit = f"{name} of {score_text(report, report.threshold, 2)}{default}"
    reaches = f"reaches {limit}" if better else f"has no more than {limit}"
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


def worst_score(report: YieldReport, spread: Spread) -> float:
    """Return the worst of the scores that are spread so."""
    return spread.percentiles["0" if report.higher_is_better else "100"]


def _tiles(report: YieldReport) -> list[Tile]:
    score, settling, clipped = report.score, report.settling_worst_second, report.clipped_readings
    silent = report.chips - report.standing.get(Standing.SETTLES, 0)
    median, slowest = (None, None) if settling is None else (settling.percentiles["50"], settling.percentiles["100"])
    mean, deviation, worst = (
        (MISSING,) * 3
        if score is None
        else (score_text(report, v, 2) for v in (score.mean, score.standard_deviation, worst_score(report, score)))
    )
    name, ideal = report.score_name, score_text(report, report.score_ideal, 2)
    return [
        Tile(f"{name}, mean chip", mean, f"ideal model {ideal}"),
        Tile(f"{name}, worst chip", worst, f"standard deviation {deviation}"),
        Tile("settling time, slowest chip", engineering(slowest, "s"), f"median chip {engineering(median, 's')}"),
        Tile(
            "chips without an answer",
            f"{silent:,}",
            "" if clipped is None else f"clipped ADC readings {percent(clipped.mean, 2)} on average",
        ),
    ]


_FIGURES = (
    "settling time, slowest sample",
    "settling time, mean sample",
    "slowest pole, real part",
    "clipped ADC readings",
)


def _spreads(report: YieldReport) -> list[tuple[str, list[str]]]:
    """Return mean, standard deviation and percentiles, each a row with a cell for every one of the figures."""

    def score(value: float) -> str:
        return score_text(report, value, 2)

    def fraction(value: float) -> str:
        return percent(value, 2)

    def time(value: float) -> str:
        return engineering(value, "s")

    def rate(value: float) -> str:
        return engineering(value, "/s")

    columns: list[tuple[Spread | None, Callable[[float], str]]] = [
        (report.score, score),
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
