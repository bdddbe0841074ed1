"""A run folder is whole or visibly unfinished, never half-written, and never touched without being asked."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from equilog.names import UserError
from equilog.pipeline import compile_run, run
from equilog.runs import RunConfig, RunFolder
from equilog.runs import folder as folder_module

TINY = {
    "samples": 64,
    "model": {"states": 4, "drives": 3},
    "training": {"stages": {"ideal": {"epochs": 1}, "ramp": {"epochs": 0}, "twin": {"epochs": 1}}},
    "verify": {"rest_samples": 5, "settle_samples": 1, "chips": 2},
}


def config(**changes: object) -> RunConfig:
    return RunConfig.for_task("digits", TINY | changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(config(), tmp_path_factory.mktemp("runs") / "tiny")


@pytest.mark.ngspice
def test_a_run_leaves_everything_the_documentation_lists(finished: RunFolder) -> None:
    names = {p.name for p in finished.path.iterdir()}
    assert names == {
        "config.yaml",
        "hardware.yaml",
        "model.safetensors",
        "training.csv",
        "circuit",
        "waveforms.safetensors",
        "verify.json",
        "metrics.json",
        "report.html",
    }
    circuit = {p.name for p in finished.circuit.iterdir()}
    assert circuit == {"blocks.lib", "chain", "crossbar.inc", "layer.cir", "op.cir", "settle_0.cir"}


@pytest.mark.ngspice
def test_metrics_are_verified_and_within_tolerance(finished: RunFolder) -> None:
    metrics = finished.metrics()
    assert metrics["verified"] is True
    assert metrics["max_error_at_rest"] <= 1e-6
    assert metrics["max_error_in_time"] <= 1e-4
    assert metrics["accuracy_ngspice"] == metrics["accuracy_twin_same_samples"]
    assert metrics["ngspice_samples"] == 5
    assert len(metrics["accuracy_twin_unseen_chips"]["each"]) == 2


@pytest.mark.ngspice
def test_the_same_configuration_gives_the_same_weights_and_figures(finished: RunFolder, tmp_path: Path) -> None:
    again = run(config(), tmp_path / "again")
    assert (again.path / "model.safetensors").read_bytes() == (finished.path / "model.safetensors").read_bytes()
    assert again.metrics() == finished.metrics()


@pytest.mark.ngspice
def test_what_is_read_back_is_what_was_written(finished: RunFolder) -> None:
    assert finished.config() == config()
    ladder = finished.ladder()
    assert ladder.report.verified
    assert [w.sample for w in ladder.waveforms] == [0]
    assert ladder.waveforms[0].twin.shape == ladder.waveforms[0].ngspice.shape
    assert finished.cost() is not None


@pytest.mark.ngspice
def test_an_existing_folder_is_refused_and_not_touched(finished: RunFolder) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished.path.rglob("*")}
    with pytest.raises(UserError, match="--force"):
        run(config(), finished.path)
    assert {p: p.stat().st_mtime_ns for p in finished.path.rglob("*")} == before


@pytest.mark.ngspice
def test_resuming_with_another_configuration_is_refused(finished: RunFolder) -> None:
    with pytest.raises(UserError, match="another configuration"):
        run(config(seed=5), finished.path, resume=True)


@pytest.mark.ngspice
def test_resuming_a_finished_run_changes_nothing(finished: RunFolder) -> None:
    before = (finished.path / "metrics.json").stat().st_mtime_ns
    run(config(), finished.path, resume=True)
    assert (finished.path / "metrics.json").stat().st_mtime_ns == before


def test_force_replaces_runs_only(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="something other than a run"):
        run(config(), tmp_path, force=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_force_leaves_files_that_no_run_writes(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.begin(config(), folder_spec())
    (folder.path / "notes.txt").write_text("mine")
    (folder.path / "metrics.json").write_text("{}")
    folder.clear()
    assert [p.name for p in folder.path.iterdir()] == ["notes.txt"]


def folder_spec():
    from equilog.hardware import load_spec

    return load_spec("rram")


def test_a_write_that_fails_leaves_the_old_file_and_no_scrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    folder.save_metrics({"old": 1})

    def full_disk(*_args: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(folder_module.os, "replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        folder.save_metrics({"new": 2})
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


def test_a_folder_that_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not a run folder: no config\.yaml"):
        compile_run(RunFolder(tmp_path))


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.begin(config(), folder_spec())
    with pytest.raises(UserError, match="no trained model"):
        folder.load_model()
    (folder.path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0garbage!")
    with pytest.raises(UserError, match=r"model\.safetensors"):
        folder.load_model()


@pytest.mark.ngspice
@pytest.mark.slow
def test_a_run_killed_in_training_resumes_to_the_same_weights(finished: RunFolder, tmp_path: Path) -> None:
    script = f"""
import os, signal, sys
from pathlib import Path
from equilog.pipeline import run
from equilog.runs import RunConfig
from equilog.training.checkpoint import EpochCheckpoint
saved = EpochCheckpoint.on_train_epoch_end
def save_and_die(self, *args):
    saved(self, *args)
    os.kill(os.getpid(), signal.SIGKILL)
EpochCheckpoint.on_train_epoch_end = save_and_die
run(RunConfig.for_task("digits", {TINY!r}), Path({str(tmp_path / "killed")!r}))
"""
    died = subprocess.run([sys.executable, "-c", script], env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
    assert died.returncode == -signal.SIGKILL
    folder = RunFolder(tmp_path / "killed")
    assert not folder.trained
    assert not folder.finished
    run(config(), folder.path, resume=True)
    assert (folder.path / "model.safetensors").read_bytes() == (finished.path / "model.safetensors").read_bytes()
    assert not folder.state.exists()


@pytest.mark.ngspice
@pytest.mark.parametrize("device", ["twin", "ngspice"])
def test_a_run_that_adapts_to_its_chip(tmp_path: Path, device: str) -> None:
    asked = {"device": device, "epochs": 1, "samples": 16, "identify_settles": 20}
    done = run(config(adaptation=asked), tmp_path / "run")
    trained, adapted = done.load_model(adapted=False), done.load_model()
    assert not torch.equal(trained.cell.bias, adapted.cell.bias)
    assert not torch.equal(trained.readout.bias, adapted.readout.bias)
    metrics = done.metrics()
    assert metrics["verified"]
    assert metrics["accuracy_twin_before_adaptation"] is not None
    assert "fine-tune" in (done.path / "adaptation.csv").read_text(encoding="utf-8")
    assert not done.state.exists()
    plain = run(config(), tmp_path / "plain").metrics()
    assert metrics["accuracy_twin_unseen_chips"] == plain["accuracy_twin_unseen_chips"]
    assert run(config(adaptation=asked), tmp_path / "run", resume=True).metrics() == metrics
