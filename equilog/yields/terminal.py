"""A study in the terminal: the yield, the spread, two bar histograms and the worst chips."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from equilog.drawing.units import axis_unit, count, engineering, percent, score_axis, score_text
from equilog.yields.histograms import Histogram, score_histogram, settling_histogram
from equilog.yields.page import circumstances, criterion, headline, worst_score
from equilog.yields.report import YieldReport
from equilog.yields.rows import ChipRow, Standing
from equilog.yields.study import Study

_MOST_BARS = 15
_WIDTH = 44
_EIGHTHS = " ▏▎▍▌▋▊▉"


def print_study(console: Console, study: Study) -> None:
    """Print what a study says."""
    report = study.report

    def say(text: str | Text) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False)

    say(Text(f"{report.title} on {report.hardware}: {headline(report)}", style="bold"))
    say(criterion(report))
    say(circumstances(report))
    for line in _spread_lines(report):
        say(line)
    for heading, lines in _histograms(report, study.rows):
        say("")
        say(Text(heading, style="bold"))
        for bar in lines:
            say(bar)
    say("")
    console.print(_worst(report))
    for remark in report.remarks:
        say(remark)
    say(f"{study.folder / 'chips.csv'}, yield.json, yield.html")


def _spread_lines(report: YieldReport) -> list[str]:
    lines = []
    if (a := report.score) is not None:
        mean, deviation, worst, median, ideal = (
            score_text(report, v, 2)
            for v in (a.mean, a.standard_deviation, worst_score(report, a), a.percentiles["50"], report.score_ideal)
        )
        lines.append(
            f"{report.score_name} {mean} ± {deviation} (mean ± standard deviation), worst {worst}, median {median}; "
            f"ideal model {ideal}"
        )
    if (s := report.settling_worst_second) is not None:
        p = s.percentiles
        lines.append(
            f"settling time {engineering(p['50'], 's')} median chip, {engineering(p['99'], 's')} at the 99th "
            f"percentile, {engineering(p['100'], 's')} at most"
        )
    if report.clipped_readings is not None and report.clipped_readings.mean > 0:
        lines.append(f"clipped ADC readings {percent(report.clipped_readings.mean, 2)} on average")
    lines += [
        f"{count(number, 'chip')}: {standing}"
        for standing, number in report.standing.items()
        if number and standing is not Standing.SETTLES
    ]
    return lines


def _histograms(report: YieldReport, rows: Sequence[ChipRow]) -> list[tuple[str, list[Text]]]:
    found = []
    if (bars := score_histogram(report, rows, _MOST_BARS)) is not None:
        factor, unit = score_axis(report, bars.edges[-1])
        form = "6.2f" if report.hits else "8.4g"
        labels = [f"{factor * edge:{form}} {unit}" for edge in bars.edges[:-1]]
        found.append((f"{report.score_name} from … (chips)", _bars(bars, labels)))
    if (bars := settling_histogram(rows, _MOST_BARS)) is not None:
        factor, unit = axis_unit(bars.edges[-1], "s")
        labels = [f"{factor * edge:8.4g} {unit}" for edge in bars.edges[:-1]]
        found.append(("settling time from … (chips)", _bars(bars, labels)))
    return found


def _bars(bars: Histogram, labels: list[str]) -> list[Text]:
    most = max(bars.chips)
    lines = []
    for label, number, good in zip(labels, bars.chips, bars.good):
        eighths = max(round(8 * _WIDTH * number / most), 1 if number else 0)
        bar = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
        line = Text(f"  {label} │")
        line.append(bar, style="green" if good else "red")
        line.append(f" {number:,}" if number else "")
        lines.append(line)
    return lines


def _worst(report: YieldReport) -> Table:
    table = Table(
        "chip seed", "standing", report.score_name, "settling time", "", title="worst chips", title_justify="left"
    )
    for w in report.worst:
        verdict = "[green]passes[/green]" if w.passes else "[red]fails[/red]"
        score = score_text(report, w.score, 2)
        table.add_row(str(w.seed), str(w.standing), score, engineering(w.settling_worst_second, "s"), verdict)
    return table
