"""`equilog cost` as a user runs it: both sides as text that fits a terminal and as JSON, mistakes in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from builders import CONTINUOUS
from test_compile_targets import untrained
from typer.testing import CliRunner, Result

from equilog import pipeline
from equilog.cli import app
from equilog.names import UserError
from equilog.runs import RunFolder


@pytest.fixture
def verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """An untrained run; what a ladder would have said of its settling is put in its place."""
    folder, data = untrained(tmp_path, CONTINUOUS)

    class Said:
        class report:
            samples = 4

            class settling:
                time_second = (1e-6, 2e-6)

    monkeypatch.setattr(RunFolder, "ladder", lambda _self: Said)
    monkeypatch.setattr(pipeline.verify, "load_data", lambda _config: data)
    return folder


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["cost", *map(str, arguments)], env={"COLUMNS": "80", "NO_COLOR": "1"})


def test_both_sides_in_text(verified: RunFolder) -> None:
    done = run(verified.path)
    assert done.exit_code == 0, done.output
    for words in ("energy", "latency", "hybrid", "all digital", "amplifiers", "settling", "edge-npu-fp16", "mm²"):
        assert words in done.stdout
    assert max(map(len, done.stdout.split("At typical")[0].splitlines())) <= 80


def test_json_holds_the_report_and_its_verdicts(verified: RunFolder) -> None:
    small = json.loads(run(verified.path, "--json").stdout)
    assert {"verdict", "latency_verdict", "area_m2", "hybrid_energy_joule"} <= set(small)
    assert small["hybrid_latency_second"]["settling"]["typical"] == 2e-6
    other = json.loads(
        run(verified.path, "--json", "--target", "cpu-fp32@28nm", "--batch", "8", "--readings", "4").stdout
    )
    assert other["digital_target"].startswith("cpu-fp32@28nm")
    assert other["use"]["batch"] == 8
    assert other["hybrid_energy_joule"]["ADC"]["typical"] == pytest.approx(
        4 * small["hybrid_energy_joule"]["ADC"]["typical"]
    )


def test_an_unknown_target_names_the_nearest(verified: RunFolder) -> None:
    done = run(verified.path, "--target", "cpu-fp23")
    assert isinstance(done.exception, UserError)
    assert "did you mean 'cpu-fp32'" in str(done.exception)


def test_a_run_that_was_not_verified_says_how(tmp_path: Path) -> None:
    folder, _ = untrained(tmp_path, CONTINUOUS)
    done = run(folder.path)
    assert isinstance(done.exception, UserError)
    assert "equilog verify" in str(done.exception)
