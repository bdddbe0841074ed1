"""``equilog yield`` in a process of its own: what it prints, where, and how it goes on after Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from equilog import cli
from equilog.hardware import load_spec
from equilog.runs import RunConfig, RunFolder
from equilog.tasks import get_task

pytest.importorskip("sklearn", reason="the digits come with scikit-learn")

ENV = {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "NO_COLOR": "1"}


def equilog(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "equilog.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | ENV, timeout=120, check=False)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The command within this process, which saves importing everything: exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["equilog", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return call


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never trained: enough to put chips into."""
    config = RunConfig.for_task("digits", {"model": {"states": 4, "drives": 3}})
    folder = RunFolder(tmp_path_factory.mktemp("yield") / "run")
    folder.begin(config, load_spec("rram"))
    torch.manual_seed(0)
    folder.save_model(get_task("digits").build(config.model))
    return folder.path


def test_a_study_from_the_shell(run: Path, here: Callable[..., tuple[int, str, str]]) -> None:
    options = ["--chips", 6, "--samples", 60, "--settle-samples", 1, "--age", "30d", "--without", "levels"]
    done = equilog("yield", run, *options, "--threshold", "0.05")
    assert done.returncode == 0, done.stderr
    assert re.search(r"digits on rram: Yield \d+\.\d.%: \d of 6 chips", done.stdout)
    assert "30d old" in done.stdout
    assert "accuracy from" in done.stdout
    assert "settling time from" in done.stdout
    assert "1000005" in done.stdout
    assert "6 chips measured" in done.stderr
    (folder,) = (run / "yield").glob("rram-without-levels-30d-60samples-*")
    assert str(folder) in done.stdout
    assert sorted(p.name for p in folder.iterdir()) == ["chips.csv", "study.json", "yield.html", "yield.json"]
    # Again, as JSON: nothing is measured, and stdout is the file.
    code, said, complained = here("yield", run, *options, "--threshold", "0.05", "--json")
    assert code == 0, complained
    assert json.loads(said) == json.loads((folder / "yield.json").read_text())
    assert "measured" not in complained
    page = (folder / "yield.html").read_text(encoding="utf-8")
    assert "--age 2592000 --samples 60 --settle-samples 1 --threshold 0.05" in page


def test_ctrl_c_says_how_to_go_on_and_does(
    run: Path, tmp_path: Path, here: Callable[..., tuple[int, str, str]]
) -> None:
    # A shell that runs tests in the background lets its children ignore Ctrl-C; a terminal does not.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    out = tmp_path / "study"
    arguments = ["yield", str(run), "--settle-samples", "0", "--samples", "20", "--out", str(out), "--chips"]
    process = subprocess.Popen(
        [sys.executable, "-c", f"{heed}; from equilog.cli import main; main()", *arguments, "100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | ENV,
    )
    table = out / "chips.csv"
    deadline = time.monotonic() + 60
    while not (table.exists() and table.stat().st_size > 5000):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said, complained = process.communicate(timeout=60)
    assert process.returncode == 130, complained
    found = re.search(r"interrupted after (\d+) of 100000 chips; the same command goes on", complained)
    assert found
    assert "Traceback" not in complained
    assert said == ""
    measured = len(table.read_text().splitlines()) - 1
    assert measured >= int(found[1]) > 0
    code, _, complained = here(*arguments, measured + 3)
    assert code == 0, complained
    assert "3 chips measured" in complained


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], r"nowhere is not a run folder"),
        (["RUN", "--age", "3x"], r"--age 3x: expected a time above 0"),
        (["RUN", "--age", "-1h"], r"--age -1h: expected a time above 0"),
        (["RUN", "--temperature", "warm"], r"--temperature warm: expected a temperature"),
        (["RUN", "--without", "drifft"], r"unknown effect 'drifft' \(did you mean 'drift'\?\)"),
        (["RUN", "--hardware", "bord"], r"unknown hardware preset 'bord' \(did you mean 'board'\?\)"),
        (["RUN", "--threshold", "97"], r"threshold 97: expected accuracy as a fraction .* \(97 % is 0.97\)"),
        (["RUN", "--chips", "0"], r"0 chips: a study needs at least 1"),
        (["RUN", "--samples", "0"], r"0 samples: a study needs at least 1"),
        (["RUN", "--settle-samples", "-1"], r"settle_samples: .* greater than or equal to 0, got -1"),
        (["RUN", "--read-noise", "-1"], r"read_seed: .* greater than or equal to 0, got -1"),
        (["RUN", "--out", "RUN"], r"holds something other than a yield study"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, run: Path, here: Callable[..., tuple[int, str, str]]
) -> None:
    before = {p for p in run.rglob("*") if p.is_file()}
    code, said, complained = here("yield", *(run if a == "RUN" else a for a in arguments))
    assert code == 2
    assert re.search(message, complained)
    assert len(complained.strip().splitlines()) == 1
    assert said == ""
    assert {p for p in run.rglob("*") if p.is_file()} == before


def test_help_has_an_example() -> None:
    done = equilog("yield", "--help")
    assert done.returncode == 0
    assert "equilog yield runs/digits-rram --chips 200 --age 30d --read-noise 1" in done.stdout
