"""The command line in a process of its own: what it prints, where, and with which exit code."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from equilog.tasks import task_names

TINY = {
    "samples": 64,
    "model": {"states": 4, "drives": 3},
    "training": {"stages": {"ideal": {"epochs": 1}, "ramp": {"epochs": 0}, "twin": {"epochs": 1}}},
    "verify": {"rest_samples": 4, "settle_samples": 1, "chips": 2},
}


def equilog(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "NO_COLOR": "1"} | environment
    command = [sys.executable, "-m", "equilog.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=240, check=False)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


@pytest.fixture(scope="module")
def finished(settings: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = settings.parent / "run"
    return folder, equilog("run", "digits", "--config", settings, "--out", folder)


@pytest.mark.ngspice
def test_run_prints_the_ladder_and_where_the_report_is(finished: tuple) -> None:
    folder, done = finished
    assert done.returncode == 0, done.stderr
    assert "ngspice at rest" in done.stdout
    assert "DISAGREES" not in done.stdout
    assert f"report: {folder / 'report.html'}" in done.stdout
    assert (folder / "report.html").stat().st_size > 10_000


@pytest.mark.ngspice
def test_run_refuses_to_overwrite(finished: tuple, settings: Path) -> None:
    folder, _ = finished
    again = equilog("run", "digits", "--config", settings, "--out", folder)
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert again.stdout == ""


@pytest.mark.ngspice
def test_verify_json_is_json_and_nothing_else(finished: tuple) -> None:
    folder, _ = finished
    done = equilog("verify", folder, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["verified"] is True
    errors = [row["error"] for row in report["nodes"]]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.ngspice
def test_compile_and_report_write_again_what_is_missing(finished: tuple) -> None:
    folder, _ = finished
    before = (folder / "circuit" / "crossbar.inc").read_text()
    (folder / "circuit" / "crossbar.inc").unlink()
    (folder / "report.html").unlink()
    assert equilog("compile", folder).returncode == 0
    assert (folder / "circuit" / "crossbar.inc").read_text() == before
    assert equilog("report", folder).returncode == 0
    assert (folder / "report.html").exists()


@pytest.mark.ngspice
def test_without_a_simulator_the_run_completes_and_says_it_is_not_verified(settings: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = equilog("run", "digits", "--config", settings, "--out", folder, EQUILOG_NGSPICE="no-such-ngspice")
    assert done.returncode == 0, done.stderr
    assert "not verified" in done.stderr
    assert "apt-get install ngspice" in done.stderr
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["verified"] is False
    assert metrics["accuracy_ngspice"] is None
    assert (folder / "circuit" / "op.cir").exists()
    again = equilog("verify", folder, EQUILOG_NGSPICE="no-such-ngspice")
    assert again.returncode == 3
    # Once a simulator is there, verifying turns metrics and report round.
    assert equilog("verify", folder).returncode == 0
    assert json.loads((folder / "metrics.json").read_text())["verified"] is True
    assert "Verified in ngspice" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.ngspice
@pytest.mark.slow
def test_ctrl_c_leaves_state_from_which_resume_goes_on(settings: Path, tmp_path: Path) -> None:
    long = yaml.safe_load(settings.read_text())
    long["training"] = {"stages": {"ideal": {"epochs": 40}, "ramp": {"epochs": 0}, "twin": {"epochs": 0}}}
    path = tmp_path / "long.yaml"
    path.write_text(yaml.safe_dump(long))
    folder = tmp_path / "run"
    arguments = ["run", "digits", "--config", str(path), "--out", str(folder)]
    # A shell that runs tests in the background lets its children ignore Ctrl-C; a terminal does not.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{heed}; from equilog.cli import main; main()", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    checkpoint = folder / "state" / "last.ckpt"
    deadline = time.monotonic() + 60
    while not checkpoint.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "--resume" in said
    assert "Traceback" not in said
    assert checkpoint.exists()
    assert not (folder / "metrics.json").exists()
    done = equilog(*arguments, "--resume")
    assert done.returncode == 0, done.stderr
    epochs = [line.split(",")[0] for line in (folder / "training.csv").read_text().splitlines()[1:]]
    assert epochs == [str(k) for k in range(40)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "digitz"], r"unknown task 'digitz' \(did you mean 'digits'\?\)"),
        (["run", "digits", "--hardware", "rrram"], r"unknown hardware preset 'rrram' \(did you mean 'rram'\?\)"),
        (["hardware", "bord"], r"did you mean 'board'"),
        (["hardware", "nowhere.yaml"], r"nowhere.yaml: No such file"),
        (["verify", "nowhere"], r"nowhere is not a run folder"),
        (["report", "nowhere"], r"nowhere is not a run folder"),
        (["compile", "nowhere"], r"nowhere is not a run folder"),
        (["run", "digits", "--data", "somewhere"], r"digits come with scikit-learn"),
        (["run", "fashion-mnist", "--data", "nowhere"], r"apt-get install dataset-fashion-mnist"),
        (["run", "digits", "--config", "nowhere.yaml"], r"nowhere.yaml: No such file"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    extra = ["--out", str(folder)] if arguments[0] == "run" else []
    done = equilog(*arguments, *extra)
    assert done.returncode == 2
    assert re.search(message, done.stderr)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not folder.exists()


def test_unknown_key_in_a_configuration_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("model: {state: 8}")
    done = equilog("run", "digits", "--config", path, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "'model.state' (did you mean 'states'?)" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["run", "tasks", "hardware", "compile", "verify", "report"])
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    done = equilog(command, "--help")
    assert done.returncode == 0
    assert "Example" in done.stdout
    assert f"equilog {command}" in done.stdout


def test_listings_are_json_where_a_program_reads_them() -> None:
    names = [row["name"] for row in json.loads(equilog("tasks", "--json").stdout)]
    assert names == task_names()
    presets = [row["name"] for row in json.loads(equilog("hardware", "--json").stdout)]
    assert "rram" in presets
    spec = json.loads(equilog("hardware", "rram", "--json").stdout)
    assert spec["crossbar"]["g_max_siemens"]["value"] == 4e-5
    assert "Wan" in spec["crossbar"]["g_max_siemens"]["source"]
