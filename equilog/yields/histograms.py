"""The two histograms of a study as numbers, the same for the terminal and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from equilog.yields.report import YieldReport, needed
from equilog.yields.rows import ChipRow
from equilog.yields.statistics import count_bins, even_bins, tally


@dataclass(frozen=True)
class Histogram:
    """Bars.

    Attributes:
        edges: one more than there are bars, rising.
        chips: in each bar.
        good: whether the chips of a bar pass by this figure; always, where there is nothing to pass.
    """

    edges: list[float]
    chips: list[int]
    good: list[bool]


def accuracy_histogram(report: YieldReport, rows: Sequence[ChipRow], most: int) -> Histogram | None:
    """Return the accuracies of the chips that settle; None if none does.

    Edges are exact accuracies: a bar holds ``edge ≤ accuracy < next edge``, and the threshold lies between two bars.
    """
    correct = [r.correct for r in rows if r.correct is not None]
    if not correct:
        return None
    limit = needed(report.threshold, report.samples)
    edges = count_bins(correct, limit, most)
    return Histogram([e / report.samples for e in edges], tally(correct, edges), [e >= limit for e in edges[:-1]])


def settling_histogram(rows: Sequence[ChipRow], most: int) -> Histogram | None:
    """Return each settling chip's slowest watched sample, in seconds; None if none was watched."""
    times = [r.settling_worst_second for r in rows if r.settling_worst_second is not None]
    if not times:
        return None
    edges = even_bins(times, most)
    return Histogram([float(e) for e in edges], tally(times, edges), [True] * (len(edges) - 1))
