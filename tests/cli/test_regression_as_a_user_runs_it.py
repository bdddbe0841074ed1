"""A task whose targets are numbers, from the command line: run, verify, yield and front, in terms of an error."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from equilog import cli
from equilog.runs import RunFolder

TINY = {
    "samples": 64,
    "model": {"states": 8, "prior": False},
    "training": {"batch_size": 8, "stages": {"ideal": {"epochs": 6}, "twin": {"epochs": 2}}},
    "adaptation": {"device": "twin", "epochs": 1, "samples": 64, "identify_settles": 120},
    "verify": {"rest_samples": 4, "settle_samples": 1, "chips": 2},
}
Call = Callable[..., tuple[int, str, str]]


def call(
    monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["equilog", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    said = capture.readouterr()
    return int(left.value.code or 0), said.out, said.err


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The command within this process: exit code, stdout and stderr."""
    return lambda *arguments: call(monkeypatch, capsys, *arguments)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("regression")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    return folder


@pytest.mark.ngspice
def test_a_run_is_verified_and_measured_by_its_error(place: Path, here: Call) -> None:
    code, said, complained = here("run", "linear-system", "--config", place / "tiny.yaml", "--out", place / "run")
    assert code == 0, complained
    assert re.search(r"error on 64 test samples: ideal 0\.\d+, this chip 0\.\d+, 2 unseen chips", said)
    assert "accuracy" not in said
    metrics = json.loads((place / "run" / "metrics.json").read_text())
    assert metrics["verified"]
    assert metrics["score"] == {"name": "error", "higher_is_better": False, "unit": None}
    assert metrics["error_ngspice"] == pytest.approx(metrics["error_twin_same_samples"], rel=1e-9)
    assert metrics["transistor_samples_classified_alike"] is None
    assert not [key for key in metrics if "accuracy" in key]
    chips = metrics["error_twin_unseen_chips"]
    assert (chips["worst"], chips["best"]) == (max(chips["each"]), min(chips["each"]))
    assert 0 < metrics["error_ideal"] < metrics["error_twin_before_adaptation"] < 1
    assert 0 < metrics["error_twin"] < 0.9 * metrics["error_twin_before_adaptation"]
    refit = next(row for row in csv.DictReader((place / "run" / "adaptation.csv").open()) if row["stage"] == "refit")
    assert 0 < float(refit["error"]) < 1
    assert metrics["error_ideal_before_twin_training"] > 0
    epochs = list(csv.DictReader((place / "run" / "training.csv").open()))
    assert float(epochs[5]["loss"]) < 0.5 * float(epochs[0]["loss"])
    assert [k for k, row in enumerate(epochs) if row["test_error_ideal"]] == [5, 7]
    report = RunFolder(place / "run").ladder().report
    assert (report.score_name, report.higher_is_better, report.hits) == ("error", False, False)
    assert str(report).splitlines()[0].endswith("error")


@pytest.mark.ngspice
def test_a_rung_alone_keeps_the_others_and_their_errors(place: Path, here: Call) -> None:
    before = RunFolder(place / "run").ladder().report
    code, said, complained = here("verify", place / "run", "--rung", "rest", "--json")
    assert code == 0, complained
    assert [r["score"] for r in json.loads(said)["rungs"]] == [r.score for r in before.rungs]


@pytest.mark.ngspice
def test_yield_passes_chips_up_to_an_error(place: Path, here: Call) -> None:
    options = ["yield", place / "run", "--chips", 5, "--settle-samples", 1, "--out", place / "study"]
    code, said, complained = here(*options, "--json")
    assert code == 0, complained
    found = json.loads(said)
    assert found["threshold"] == pytest.approx(found["score_ideal"] + 0.01)
    errors = sorted(float(row["score"]) for row in csv.DictReader((place / "study" / "chips.csv").open()))
    metrics = json.loads((place / "run" / "metrics.json").read_text())
    measured = [float(row["score"]) for row in csv.DictReader((place / "study" / "chips.csv").open())]
    assert measured[:2] == pytest.approx(metrics["error_twin_unseen_chips"]["each"], rel=1e-9)
    code, said, complained = here(*options, "--threshold", errors[2])
    assert code == 0, complained
    assert "3 of 5 chips" in said
    assert re.search(r"has no more than an error of \d", said)
    assert "error from" in said
    assert "chips measured" not in complained
    code, _, complained = here(*options, "--threshold", -1)
    assert code == 2
    assert (
        "threshold -1: expected the largest error that passes, above 0; a fraction of one (3 % is 0.03)" in complained
    )


def test_a_front_of_errors(place: Path, here: Call) -> None:
    code, said, complained = here(
        "front", "linear-system", "--config", place / "tiny.yaml", "--loss", "robustness", "--weights", "0,1000",
        "--chips", 2, "--out", place / "front",
    )  # fmt: skip
    assert code == 0, complained
    assert "error of linear-system on rram" in said
    front = json.loads((place / "front" / "front.json").read_text())
    assert (front["score_name"], front["higher_is_better"]) == ("error", False)
    assert all(p["score_worst"] >= p["score_mean"] > 0 for p in front["points"])
    svg = (place / "front" / "front.svg").read_text()
    assert "error on unseen chips, %" in svg


def test_data_are_not_taken_from_a_folder(place: Path, here: Call) -> None:
    code, _, complained = here("run", "linear-system", "--data", place, "--out", place / "none")
    assert code == 2
    assert "the data of linear-system are computed: leave out --data" in complained
