"""Numbers as the report writes them, its error bars, and labels that keep apart."""

from __future__ import annotations

import pytest

pytest.importorskip("matplotlib", reason="the report is an optional extra")

from equilog.drawing import units
from equilog.drawing.style import spread
from equilog.report.scores import standard_interval


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (8.12e-8, "s", "81.2 ns"), (3.534e-7, "J", "353 nJ"), (9.996e-7, "s", "1.00 µs"), (0, "V", "0.00 V"),
        (-4.39e-5, "S", "−43.9 µS"), (20307.6, "Ω", "20.3 kΩ"), (float("inf"), "s", "∞"), (None, "s", "—"),
    ],
)  # fmt: skip
def test_engineering_notation(value: float | None, unit: str, text: str) -> None:
    assert units.engineering(value, unit).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(5.28e-11, "5.3 × 10⁻¹¹"), (1e-6, "10⁻⁶"), (0.961, "0.96"), (0.0, "0"), (9.99e-3, "10⁻²"), (None, "—")],
)
def test_scientific_notation(value: float | None, text: str) -> None:
    assert units.scientific(value).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("square_metre", "text"),
    [(7.5e-10, "750 µm²"), (9.94e-9, "9,900 µm²"), (9.96e-9, "0.010 mm²"), (1.27e-6, "1.3 mm²"), (2.5e-5, "25 mm²")],
)
def test_areas_have_two_digits(square_metre: float, text: str) -> None:
    assert units.area(square_metre).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("amplifier.slew_volt_per_second", 8e7, "80 MV/s"), ("amplifier.noise_volt_per_rthz", 1e-8, "10 nV/√Hz"),
        ("crossbar.temperature.per_kelvin", 5e-4, "5.0 × 10⁻⁴ 1/K"), ("temperature.reference_kelvin", 300, "300 K"),
        ("amplifier.gm_over_id", 15, "15 1/V"), ("crossbar.levels", 32, "32"),
    ],
)  # fmt: skip
def test_numbers_of_a_technology_have_the_unit_of_their_key(key: str, value: float, text: str) -> None:
    assert units.figure_text(key, value).replace("\u00a0", " ") == text


def test_error_bar_is_the_binomial_standard_error_and_open_at_the_ends() -> None:
    low, high = standard_interval(0.7, 10_000)
    assert (high - low) / 2 == pytest.approx((0.7 * 0.3 / 10_000) ** 0.5, rel=1e-3)
    assert standard_interval(1.0, 100)[0] < 1.0


def test_labels_are_spread_in_order() -> None:
    placed = spread([0.0, 0.01, 0.02, 5.0], 1.0)
    assert placed == pytest.approx([-0.99, 0.01, 1.01, 5.0])
