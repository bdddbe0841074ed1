"""Interval, bins and percentiles against published numbers and by their properties."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from equilog.yields import Spread, wilson_interval
from equilog.yields.statistics import count_bins, edge_bins, even_bins, tally


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998) 857, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_as_published(hits: int, of: int, low: float, high: float) -> None:
    assert wilson_interval(hits, of) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(st.integers(1, 2000).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_wilson_interval_is_scipys_and_holds_the_fraction(case: tuple[int, int]) -> None:
    hits, of = case
    low, high = wilson_interval(hits, of)
    theirs = binomtest(hits, of).proportion_ci(0.95, "wilson")
    assert (low, high) == (pytest.approx(theirs.low, abs=1e-12), pytest.approx(theirs.high, abs=1e-12))
    assert 0 <= low <= hits / of <= high <= 1


@pytest.mark.parametrize(("hits", "of"), [(1, 0), (-1, 3), (4, 3)])
def test_no_interval_of_nothing(hits: int, of: int) -> None:
    with pytest.raises(ValueError, match="expected a part"):
        wilson_interval(hits, of)


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=50), st.integers(0, 10_000), st.integers(1, 40))
def test_bins_hold_every_count_and_one_begins_at_the_edge(counts: list[int], edge: int, most: int) -> None:
    edges = count_bins(counts, edge, most)
    widths = {b - a for a, b in pairwise(edges)}
    assert len(widths) == 1
    assert (edges[0] - edge) % widths.pop() == 0
    assert edges[0] <= min(counts)
    assert max(counts) < edges[-1]
    assert len(edges) - 1 <= most + 1
    assert sum(tally(counts, edges)) == len(counts)


@given(st.lists(st.floats(1e-9, 1e-3), min_size=1, max_size=50), st.integers(1, 40))
def test_even_bins_hold_every_time(times: list[float], most: int) -> None:
    edges = even_bins(times, most)
    assert 1 <= len(edges) - 1 <= most
    assert sum(tally(times, edges)) == len(times)


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=50), st.floats(0, 1), st.integers(1, 40),
)  # fmt: skip
def test_bins_of_numbers_hold_them_all_and_one_begins_at_the_edge(values: list[float], at: float, most: int) -> None:
    edge = min(values) + at * (max(values) - min(values))
    edges = edge_bins(values, edge, most)
    assert edges[0] <= min(values)
    assert max(values) < edges[-1]
    assert edge in edges
    assert len(edges) - 1 <= most + 2
    assert sum(tally(values, edges)) == len(values)


def test_spread_by_hand() -> None:
    spread = Spread.of([1.0, 2.0, 3.0, 6.0])
    assert spread is not None
    assert spread.mean == 3.0
    assert spread.standard_deviation == pytest.approx(math.sqrt((4 + 1 + 0 + 9) / 3))
    assert (spread.percentiles["0"], spread.percentiles["50"], spread.percentiles["100"]) == (1.0, 2.5, 6.0)
    assert Spread.of([]) is None
    assert Spread.of([5.0]).standard_deviation == 0.0
