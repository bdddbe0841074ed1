"""Times and temperatures as typed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equilog.names import UserError
from equilog.yields.quantities import kelvin_of, seconds_of, time_text


@pytest.mark.parametrize(
    ("text", "second"),
    [("90", 90), ("1h", 3600), ("30d", 2592000), ("15 min", 900), ("1e6", 1e6), (".5s", 0.5), ("1y", 31557600)],
)
def test_times(text: str, second: float) -> None:
    assert seconds_of(text, "--age") == second


@pytest.mark.parametrize(("text", "kelvin"), [("350", 350), ("350K", 350), ("77C", 350.15), ("-40 °C", 233.15)])
def test_temperatures(text: str, kelvin: float) -> None:
    assert kelvin_of(text, "--temperature") == pytest.approx(kelvin)


@pytest.mark.parametrize("text", ["", "h", "3x", "1h30", "-1h", "0", "inf", "nan", "1e999", "30 days", "3\n"])
def test_what_is_no_time_says_what_is_expected(text: str) -> None:
    if text == "3\n":
        assert seconds_of(text, "--age") == 3
        return
    with pytest.raises(UserError, match="expected a time above 0"):
        seconds_of(text, "--age")


@pytest.mark.parametrize("text", ["", "warm", "-5", "-300C", "20F", "0"])
def test_what_is_no_temperature_says_what_is_expected(text: str) -> None:
    with pytest.raises(UserError, match="expected a temperature above 0 K"):
        kelvin_of(text, "--temperature")


@given(st.floats(1e-6, 1e12))
def test_a_time_reads_back_as_itself(second: float) -> None:
    assert seconds_of(time_text(second), "--age") == pytest.approx(second, rel=1e-14)


def test_times_are_short() -> None:
    assert [time_text(s) for s in (31557600.0, 2592000.0, 3600.0, 90.0, 0.5)] == ["1y", "30d", "1h", "90s", "0.5s"]
