"""Arithmetic of ranges keeps low ≤ typical ≤ high and encloses what it should."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equilog.cost import Span
from equilog.cost.span import total
from equilog.hardware import Figure

numbers = st.lists(st.floats(1e-12, 1e12), min_size=3, max_size=3).map(sorted)
spans = numbers.map(lambda n: Span(low=n[0], typical=n[1], high=n[2]))


def inside(span, value):
    return span.low * (1 - 1e-12) <= value <= span.high * (1 + 1e-12)


@given(spans, spans, st.floats(0, 1), st.floats(0, 1))
def test_sum_product_and_quotient_enclose_all_members(a, b, s, t):
    x, y = a.low + s * (a.high - a.low), b.low + t * (b.high - b.low)
    for span, value in ((a + b, x + y), (a * b, x * y), (a / b, x / y)):
        assert span.low <= span.typical <= span.high
        assert inside(span, value)


@given(spans, st.floats(1e-6, 1e6))
def test_a_number_acts_as_a_range_without_spread(a, k):
    assert a * k == a * Span.of(k)
    assert a + k == a + Span.of(k)
    assert a / k == a / Span.of(k)


@given(st.lists(spans, max_size=5))
def test_total_is_the_sum_of_each_end(parts):
    found = total(parts)
    assert found.low == pytest.approx(sum(p.low for p in parts))
    assert found.high == pytest.approx(sum(p.high for p in parts))


def test_a_figure_brings_its_bounds():
    assert Span.of(Figure(2, low=1, high=5)) == Span(low=1, typical=2, high=5)
    assert Span.of(Figure(2)) == Span.of(2.0)


@pytest.mark.parametrize("bad", [(2, 1, 3), (1, 3, 2), (-1, 0, 1), (0, 0, float("inf")), (float("nan"), 1, 2)])
def test_disorder_is_refused(bad):
    with pytest.raises(ValueError):  # noqa: PT011  (pydantic's own message)
        Span(low=bad[0], typical=bad[1], high=bad[2])
