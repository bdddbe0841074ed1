"""Numbers of a deck: as SPICE reads them, and nothing but arithmetic evaluated."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equilog.circuit.arithmetic import evaluate, spice_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("36e3", 36e3),
        ("0.2p", 0.2e-12),
        ("1k", 1e3),
        ("3MEG", 3e6),
        ("-2m", -2e-3),
        ("{2*rs}", 20.0),
        ("{a/rs-1}", -0.7),
    ],
)
def test_numbers_as_spice_reads_them(text, value):
    assert spice_number(text, {"rs": 10.0, "a": 3.0}) == pytest.approx(value, rel=1e-14)


@given(st.floats(-1e9, 1e9), st.floats(1e-9, 1e9))
def test_arithmetic_is_pythons(a, b):
    known = {"a": a, "b": b}
    assert evaluate("-(a+2*b)/b - a*b", known) == -(a + 2 * b) / b - a * b


@pytest.mark.parametrize("text", ["__import__('os')", "a.b", "a**2", "sqrt(a)", "a if b else a", "'a'", "", "1/0", "c"])
def test_nothing_else_is_evaluated(text):
    with pytest.raises(ValueError, match="expected arithmetic over the names known here: a"):
        evaluate(text, {"a": 1.0})


@pytest.mark.parametrize("text", ["ten", "1e", "1 k", "", "{}"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(ValueError, match="cannot"):
        spice_number(text, {})
