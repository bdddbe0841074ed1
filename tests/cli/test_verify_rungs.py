"""equilog verify --rung: names, exit codes, what stays in the run folder, and Ctrl-C."""

import json
import re
from pathlib import Path

import pytest
import torch
from builders import generator
from typer.testing import CliRunner

from equilog.circuit import NgspiceError
from equilog.cli import app
from equilog.devices import ladder
from equilog.devices.ladder import Ladder
from equilog.devices.ladder_report import IN_TIME, RUNGS, TRANSISTORS, Rung, TransistorFindings
from equilog.devices.transistor_rung import TransistorOutputs
from equilog.hardware import load_spec
from equilog.names import UserError
from equilog.pipeline import verify as verifying
from equilog.runs import RunConfig, RunFolder
from equilog.tasks import Data, get_task

SETTINGS = {
    "samples": 16,
    "model": {"states": 4, "drives": 3},
    "verify": {"rest_samples": 3, "settle_samples": 1, "chain_samples": 1, "chips": 1},
}


@pytest.fixture
def data(monkeypatch) -> Data:
    x = torch.rand(4, 1, 8, 8, generator=generator(0))
    y = torch.zeros(4, dtype=torch.int64)
    given = Data(x, y, x, y, "test")
    monkeypatch.setattr(verifying, "load_data", lambda _config: given)
    return given


@pytest.fixture
def folder(tmp_path: Path, data: Data) -> RunFolder:
    """A run as it is after training, with a model that has not learnt anything."""
    config = RunConfig.for_task("digits", SETTINGS)
    folder = RunFolder(tmp_path / "run")
    folder.begin(config, load_spec("rram"))
    torch.manual_seed(0)
    folder.save_model(get_task("digits").build(config.model))
    return folder


def invoke(*words: object):
    return CliRunner().invoke(app, ["verify", *map(str, words)], env={"COLUMNS": "200"})


def rows(folder: RunFolder) -> list[str]:
    return [row.rung for row in folder.ladder().report.rungs]


def test_help_lists_every_rung():
    said = re.sub(r"[^\w:.]+", " ", invoke("--help").stdout)
    assert all(re.search(rf"\b{name}\b", said) for name in RUNGS)


def test_an_unknown_rung_names_the_nearest_and_changes_nothing(folder):
    done = invoke(folder.path, "--rung", "rest", "--rung", "chian")
    assert isinstance(done.exception, UserError)
    assert "unknown rung 'chian' (did you mean 'chain'?)" in str(done.exception)
    assert not (folder.path / "verify.json").exists()


@pytest.mark.ngspice
def test_rungs_one_by_one_add_up_to_the_ladder(folder):
    first = invoke(folder.path, "--rung", "rest")
    assert first.exit_code == 0, first.output
    metrics = folder.metrics()
    assert metrics["verified"] is True
    assert metrics["max_error_in_time"] is None
    done = invoke(folder.path, "--rung", "time", "--rung", "chain", "--json")
    assert done.exit_code == 0, done.output
    climbed = rows(folder)
    assert climbed == [row for name in ("twin", "rest", "time", "chain") for row in RUNGS[name]]
    assert [row["rung"] for row in json.loads(done.stdout)["rungs"]] == climbed
    added = folder.metrics()
    assert added["max_error_in_time"] <= 1e-4
    assert {key for key in metrics if metrics[key] != added[key]} == {"max_error_in_time", "ngspice_transients"}
    assert "ngspice, whole chain" in folder.report.read_text(encoding="utf-8")
    assert {"op.cir", "settle_0.cir"} <= {path.name for path in folder.circuit.iterdir()}


@pytest.mark.ngspice
@pytest.mark.parametrize("stop", [KeyboardInterrupt(), NgspiceError("it broke")])
def test_what_is_cut_short_leaves_the_former_ladder_whole(folder, monkeypatch, stop):
    assert invoke(folder.path, "--rung", "rest").exit_code == 0
    names = ("verify.json", "metrics.json", "report.html")
    before = {name: (folder.path / name).read_bytes() for name in names}

    def fail(*_args: object) -> None:
        raise stop

    monkeypatch.setattr(ladder, "simulate", fail)
    assert invoke(folder.path, "--rung", "time").exit_code != 0
    assert {name: (folder.path / name).read_bytes() for name in names} == before
    assert not [path for path in folder.path.iterdir() if path.name.startswith(".")]


@pytest.mark.ngspice
def test_a_simulator_that_fails_is_a_mistake_that_says_what_is_kept(folder, monkeypatch):
    def fail(*_args: object) -> None:
        raise NgspiceError("did not finish op.cir within 62 s")

    monkeypatch.setattr(ladder, "simulate", fail)
    done = invoke(folder.path, "--rung", "rest")
    assert isinstance(done.exception, UserError)
    assert "did not finish op.cir within 62 s" in str(done.exception)
    assert f"kept in {folder.path}" in str(done.exception)
    assert (folder.path / "model.safetensors").is_file()


def test_without_a_simulator_a_rung_of_it_is_exit_3_and_changes_nothing(folder, monkeypatch):
    monkeypatch.setenv("EQUILOG_NGSPICE", "no-such-ngspice")
    done = invoke(folder.path, "--rung", "rest")
    assert done.exit_code == 3
    assert not (folder.path / "verify.json").exists()
    assert invoke(folder.path, "--rung", "twin").exit_code == 0
    assert rows(folder) == list(RUNGS["twin"])


@pytest.mark.ngspice
def test_a_rung_that_disagrees_is_exit_4(folder, monkeypatch):
    monkeypatch.setattr(ladder, "TOLERANCE_IN_TIME", 1e-30)
    assert invoke(folder.path, "--rung", "time").exit_code == 4


@pytest.mark.ngspice
def test_a_ladder_that_cannot_be_read_is_climbed_anew(folder):
    (folder.path / "verify.json").write_text("{")
    assert invoke(folder.path, "--rung", "rest").exit_code == 0
    assert rows(folder) == [*RUNGS["twin"], *RUNGS["rest"]]


def test_the_configuration_says_how_many_samples_each_rung_takes(folder, data, monkeypatch):
    asked = {}

    def record(*_args: object, **given: object) -> Ladder:
        asked.update(given)
        raise KeyboardInterrupt

    monkeypatch.setattr(verifying, "verify", record)
    with pytest.raises(KeyboardInterrupt):
        verifying.verify_run(folder, data, rungs=["chain"])
    assert (asked["settle_samples"], asked["chain_samples"], asked["transistor_samples"]) == (1, 1, 0)
    assert RunConfig.for_task("digits").verify.transistor_samples == 0
    with pytest.raises(UserError, match=r"'verify.transistor_sample' \(did you mean 'transistor_samples'\?\)"):
        RunConfig.for_task("digits", {"verify": {"transistor_sample": 3}})


@pytest.mark.ngspice
def test_the_outputs_of_transistors_are_kept_and_drawn(folder, data):
    verifying.verify_run(folder, data, rungs=["rest"])
    found = folder.ladder()
    rung = Rung.of(TRANSISTORS, compared_with="twin of its blocks", max_error=0.004, rms_error=1e-3, tolerance=0.01)
    findings = TransistorFindings(
        technology="sky130-transistors", chip_seed=1, samples=3, neurons=4, transistors=108, same_class=3,
        amplifier_max_error=0.05, amplifier_rms_error=0.01,
    )  # fmt: skip
    twin = torch.linspace(-1, 1, 12, dtype=torch.float64).view(3, 4)
    outputs = TransistorOutputs(twin, twin + 0.004)
    report = found.report.model_copy(update={"rungs": [*found.report.rungs, rung], "transistors": findings})
    folder.save_ladder(Ladder(report, found.waveforms, outputs))
    again = folder.ladder()
    assert again.report == report
    assert torch.equal(again.transistors.ngspice, outputs.ngspice)
    # A climb of another rung keeps it, in the files and on the page.
    verifying.verify_run(folder, data, rungs=["time"])
    assert rows(folder)[-2:] == [IN_TIME, TRANSISTORS]
    assert folder.metrics()["max_error_transistors"] == 0.004
    assert 'id="fig-transistors"' in folder.report.read_text(encoding="utf-8")
    folder.save_ladder(found)
    assert folder.ladder().transistors is None
    folder.clear()
    assert not list(folder.path.iterdir())
