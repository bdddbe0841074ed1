"""The report of a run whose score is an error: no Wilson bars, an axis that shows small errors, in a browser too."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from browser import check_figures, measure

pytest.importorskip("matplotlib", reason="the report is an optional extra")
pytest.importorskip("jinja2", reason="the report is an optional extra")
pytest.importorskip("schemdraw", reason="the report is an optional extra")

from equilog.drawing.units import score_text
from equilog.objective import Regression, Scored
from equilog.pipeline import run
from equilog.report.scores import score_plate
from equilog.runs import RunConfig, RunFolder

TINY = {
    "samples": 40,
    "model": {"prior": False},
    "training": {"stages": {"ideal": {"epochs": 3}, "twin": {"epochs": 3}}},
    "verify": {"rest_samples": 8, "settle_samples": 2, "chips": 3},
}


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    if shutil.which(os.environ.get("EQUILOG_NGSPICE", "ngspice")) is None:
        pytest.skip("ngspice is not installed")
    return run(RunConfig.for_task("linear-system", TINY), tmp_path_factory.mktemp("error") / "run")


@pytest.mark.browser
@pytest.mark.ngspice
@pytest.mark.slow
@pytest.mark.parametrize("width", [1300, 420])
def test_every_figure_is_drawn_in_the_browser(verified: RunFolder, tmp_path: Path, width: int) -> None:
    figures = [
        "fig-ladder", "fig-error", "fig-settling", "fig-stability", "fig-energy", "fig-energy-shares", "fig-latency",
        "fig-training", "fig-schematic", "fig-weights", "fig-waveforms",
    ]  # fmt: skip
    check_figures(measure(verified, tmp_path, width), figures)


@pytest.mark.ngspice
def test_the_page_speaks_of_errors(verified: RunFolder) -> None:
    page = verified.report.read_text(encoding="utf-8")
    assert '<a href="#error">Error</a>' in page
    assert '<h2 id="error">Error</h2>' in page
    assert "accuracy" not in page.lower()
    tiles = dict(re.findall(r'class="label">(.*?)</div><div class="value">(.*?)</div>', page))
    report, metrics = verified.ladder().report, verified.metrics()
    assert tiles["error, ideal"] == score_text(report, metrics["error_ideal"])
    assert tiles["error, ngspice"] == score_text(report, metrics["error_ngspice"])
    worst = score_text(report, max(metrics["error_twin_unseen_chips"]["each"]))
    assert f"mean of 3; worst {worst}" in page
    assert "Loss and error, epoch by epoch" in page


def drawn(errors: list[float], unit: str | None = None) -> str:
    objective = Regression() if unit is None else Regression(score="rms", unit=unit)
    scored = Scored.fields_of(objective)
    metrics = {
        "test_samples": 50, "error_ideal": errors[0], "error_twin": errors[1], "error_ngspice": errors[1],
        "error_twin_unseen_chips": {"chips": len(errors) - 2, "mean": errors[1], "each": errors[2:]},
    }  # fmt: skip
    report = SimpleNamespace(samples=5, **scored)
    plate = score_plate(SimpleNamespace(report=report, metrics=metrics))
    assert plate is not None
    assert "Wilson" not in plate.caption
    return plate.drawings[0]


def test_the_axis_begins_at_zero_unless_small_errors_would_vanish() -> None:
    near = drawn([0.02, 0.05, 0.06, 0.08])
    assert "logarithmic" not in near
    assert ">0<" in near
    assert ">5 %<".replace(" ", "\u00a0") in near
    far = drawn([1e-5, 0.05, 0.06, 0.08])
    assert "error, %  (logarithmic)".replace("  ", " ") in re.sub(" +", " ", far)
    assert ">0.001\u00a0%<" in far


def test_an_error_with_a_unit_is_in_it() -> None:
    text = drawn([0.002, 0.005, 0.006], unit="V")
    assert "error, mV" in text
    assert ">2.00\u00a0mV<" in text


@pytest.mark.parametrize(
    ("value", "text"), [(0.05, "5 %"), (0.012345, "1.23 %"), (3.2e-8, "3.20 × 10⁻⁸"), (12.0, "1.2e+03 %"), (None, "—")]
)
def test_errors_of_any_size_are_read(value: float | None, text: str) -> None:
    relative = Scored(**Scored.fields_of(Regression()))
    assert score_text(relative, value).replace("\u00a0", " ") == text
