"""The two histograms of a study as numbers, the same for the terminal and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from equilog.yields.report import YieldReport, needed, right
from equilog.yields.rows import ChipRow
from equilog.yields.statistics import count_bins, edge_bins, even_bins, tally


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


def score_histogram(report: YieldReport, rows: Sequence[ChipRow], most: int) -> Histogram | None:
    """Return the scores of the chips that settle; None if none does.

    The threshold lies between two bars. A bar holds ``edge ≤ score < next edge``, of errors ``edge < score ≤ next
    edge``: a chip that just passes stands among those that do. Edges of fractions are exact fractions.
    """
    scores = [r.score for r in rows if r.score is not None]
    if not scores:
        return None
    if report.hits:
        limit, counts = needed(report.threshold, report.samples), [right(s, report.samples) for s in scores]
        edges = count_bins(counts, limit, most)
        return Histogram([e / report.samples for e in edges], tally(counts, edges), [e >= limit for e in edges[:-1]])
    ranks = [report.rank(s) for s in scores]
    found = edge_bins(ranks, report.rank(report.threshold), most)
    limit_rank = report.rank(report.threshold)
    up = Histogram(found.tolist(), tally(ranks, found), (found[:-1] >= limit_rank).tolist())
    if report.higher_is_better:
        return up
    return Histogram([-e for e in up.edges[::-1]], up.chips[::-1], up.good[::-1])


def settling_histogram(rows: Sequence[ChipRow], most: int) -> Histogram | None:
    """Return each settling chip's slowest watched sample, in seconds; None if none was watched."""
    times = [r.settling_worst_second for r in rows if r.settling_worst_second is not None]
    if not times:
        return None
    edges = even_bins(times, most)
    return Histogram([float(e) for e in edges], tally(times, edges), [True] * (len(edges) - 1))
