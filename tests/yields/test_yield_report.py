"""What counts as passing, what is in the means, what is remarked; and the page that shows it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from builders import spec_with

from equilog.hardware import load_spec
from equilog.hardware.technology.spec import Spec
from equilog.objective import Regression, Scored
from equilog.yields import ChipRow, Standing, StudyConfig, YieldReport, wilson_interval
from equilog.yields.histograms import score_histogram, settling_histogram
from equilog.yields.page import page
from equilog.yields.report import needed, summarise

HOSTILE = '<script>alert(1)</script> & "<img src=x onerror=alert(2)>" $\\frac{1}{2}$ {{ 7*7 }}'


def chip(seed: int, correct: int | None, standing: Standing = Standing.SETTLES, worst: float | None = 1e-7) -> ChipRow:
    answers = standing is Standing.SETTLES
    return ChipRow(
        seed, standing, correct / 100 if answers else None, 0 if answers else 1,
        0, 0.0, -1e7 if answers else 1e6, worst if answers else None, worst if answers else None,
    )  # fmt: skip


ROWS = [
    chip(1, 97), chip(2, 96, worst=2e-7), chip(3, 95), chip(4, 99), chip(5, 99, Standing.UNSTABLE),
    chip(6, 99, Standing.NO_REST), chip(7, 96, worst=3e-7),
]  # fmt: skip


def report(
    rows: list[ChipRow] = ROWS,
    threshold: float | None = None,
    spec: Spec | None = None,
    title: str = "digits",
    **config: object,
) -> YieldReport:
    return summarise(
        rows, Scored(), title=title, spec=spec or load_spec("rram"), config=StudyConfig(**config),
        samples=100, states=3, score_ideal=0.97, threshold=threshold,
    )  # fmt: skip


def test_only_chips_that_answer_well_enough_pass() -> None:
    found = report()
    assert found.threshold == pytest.approx(0.96)
    assert found.passing == 4
    assert found.yield_fraction == 4 / 7
    assert found.yield_interval_95 == wilson_interval(4, 7)
    assert report(threshold=0.97).passing == 2
    assert report(threshold=0.971).passing == 1


def test_a_chip_without_an_answer_is_in_no_mean_and_among_the_worst() -> None:
    found = report()
    assert found.score is not None
    assert found.score.mean == pytest.approx((0.97 + 0.96 + 0.95 + 0.99 + 0.96) / 5)
    assert [w.seed for w in found.worst] == [5, 6, 3, 7, 2, 1, 4]
    assert found.standing[Standing.UNSTABLE] == found.standing[Standing.NO_REST] == 1
    assert [w.passes for w in found.worst] == [False, False, False, True, True, True, True]


def test_a_study_in_which_no_chip_settles_is_still_one() -> None:
    rows = [chip(1, 99, Standing.UNSTABLE), chip(2, 99, Standing.UNSTABLE)]
    found = report(rows)
    assert found.passing == 0
    assert found.score is None
    text = page(found, rows)
    assert "No chip settles" in text
    assert "<figure" not in text


def test_the_threshold_is_not_missed_by_rounding() -> None:
    for samples in (899, 10_000, 37):
        for right in range(1, samples, max(1, samples // 50)):
            assert needed(right / samples, samples) == right
            assert needed(right / samples + 0.01 - 0.01, samples) == right


@pytest.mark.parametrize(
    ("config", "spec", "told"),
    [
        ({"settle_samples": 0}, "rram", "no settling times"),
        ({"age_second": 1e6}, "board", "neither drift nor relaxation"),
        ({"temperature_kelvin": 350.0}, "ideal", "no temperature coefficient"),
        ({"read_seed": 1}, "ideal", "every read is the same"),
    ],
)
def test_what_was_not_looked_at_is_said(config: dict, spec: str, told: str) -> None:
    assert any(told in line for line in report(spec=load_spec(spec), **config).remarks)
    assert not any(told in line for line in report().remarks)


def test_noise_that_was_left_out_is_said() -> None:
    noisy = spec_with("ideal", {"adc.noise_volt": 1e-3})
    assert any("--read-noise" in line for line in report(spec=noisy).remarks)
    assert not any("--read-noise" in line for line in report(spec=noisy, read_seed=1).remarks)


def test_bars_count_every_chip_and_none_straddles_the_threshold() -> None:
    found = report()
    for most in (1, 2, 3, 40):
        bars = score_histogram(found, ROWS, most)
        assert bars is not None
        assert sum(bars.chips) == 5
        assert sum(n for n, good in zip(bars.chips, bars.good) if good) == found.passing
    bars = settling_histogram(ROWS, 10)
    assert bars is not None
    assert sum(bars.chips) == 5


def test_the_json_reads_back() -> None:
    found = report(without=("levels",), age_second=60.0)
    assert YieldReport.model_validate_json(found.model_dump_json()) == found


class Ids(HTMLParser):
    """Collects ids and tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]


def test_the_page_shows_everything_fetches_nothing_and_escapes_text() -> None:
    text = page(report(title=HOSTILE), ROWS, (f"equilog yield {HOSTILE}", "equilog run"))
    found = Ids(text)
    assert {"fig-yield-accuracy", "fig-yield-settling", "verdict", "reproduce"} <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))
    assert "script" not in found.tags
    assert "img" not in found.tags
    assert not re.search(r'(?:src|href)="(?!#)', text)
    assert "{{ 7*7 }}" in text
    assert "57.1\u00a0%: 4 of 7 chips" in text
    assert "<code>5</code></td><td>unstable" in text
    assert page(report(title=HOSTILE), ROWS) == page(report(title=HOSTILE), ROWS)


def test_without_settling_the_page_has_no_such_figure() -> None:
    rows = [chip(k, 90 + k, worst=None) for k in range(5)]
    found = Ids(page(report(rows, settle_samples=0), rows))
    assert "fig-yield-accuracy" in found.ids
    assert "fig-yield-settling" not in found.ids


# --- errors: less is better -----------------------------------------------------------------------------------


def erring(rows: list[ChipRow], threshold: float | None = None, unit: str | None = None) -> YieldReport:
    objective = Regression() if unit is None else Regression(score="rms", unit=unit)
    return summarise(
        rows, Scored(**Scored.fields_of(objective)), title="a law", spec=load_spec("rram"), config=StudyConfig(),
        samples=100, states=3, score_ideal=0.02, threshold=threshold,
    )  # fmt: skip


# Errors of 3 %, 4 %, …; the sixth chip oscillates.
ERRING = [*(chip(k, 3 + k) for k in range(5)), chip(5, 1, Standing.UNSTABLE)]


def test_chips_pass_up_to_an_error_and_the_worst_err_most() -> None:
    found = erring(ERRING)
    assert found.threshold == pytest.approx(0.03)
    assert erring(ERRING, threshold=0.05).passing == 3
    assert erring(ERRING, threshold=0.0499).passing == 2
    assert [w.seed for w in found.worst] == [5, 4, 3, 2, 1, 0]
    assert not any("one standard error" in line for line in found.remarks)


@pytest.mark.parametrize("most", [1, 2, 3, 40])
@pytest.mark.parametrize("limit", [0.001, 0.03, 0.04, 0.0555, 0.07, 0.5])
def test_no_bar_of_errors_straddles_the_threshold(most: int, limit: float) -> None:
    found = erring(ERRING, threshold=limit)
    bars = score_histogram(found, ERRING, most)
    assert bars is not None
    assert sum(bars.chips) == 5
    assert bars.edges == sorted(bars.edges)
    assert sum(n for n, good in zip(bars.chips, bars.good) if good) == found.passing


def test_the_page_of_errors_names_them() -> None:
    text = page(erring(ERRING), ERRING).replace("\u00a0", " ")
    assert 'id="fig-yield-error"' in text
    assert "accuracy" not in text.lower()
    assert "has no more than an error of 3 %, the ideal model&#39;s 2 % plus 1 point" in text
    assert "passes up to 3 %" in text
    worst, deviation = re.search(
        r'error, worst chip</div><div class="value">(.*?)</div>.*?deviation (.*?)<', text
    ).groups()
    assert (worst, deviation) == ("7 %", "1.58 %")


def test_an_error_has_its_unit() -> None:
    text = page(erring(ERRING, unit="V"), ERRING).replace("\u00a0", " ")
    assert "an error of 30.0 mV, the ideal model&#39;s 20.0 mV plus 1 % of the targets&#39; root mean square" in text
    assert "passes up to 30.0 mV" in text
