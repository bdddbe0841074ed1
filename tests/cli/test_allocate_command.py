"""`equilog allocate` as a user runs it: on a model of their own, on a run, and with mistakes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from equilog import cli
from equilog.hardware import load_spec
from equilog.report.allocation import allocation_section
from equilog.runs import RunConfig, RunFolder
from equilog.tasks import get_task

pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
pytest.importorskip("matplotlib", reason="pictures are an optional extra")

Call = Callable[..., tuple[int, str, str]]
MODEL = """
import torch
from torch import nn


class Zoo:
    @staticmethod
    def make():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(40, 60), nn.ReLU(), nn.Linear(60, 3))
        return model, torch.randn(60, 40)


def labelled():
    model, x = Zoo.make()
    with torch.no_grad():
        return model, x, model(x).argmax(1)


def broken():
    raise ValueError("no data today")


def nothing():
    return 3


model = nn.Linear(2, 2)
"""


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """The command within this process, which saves importing everything: exit code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(sys, "path", list(sys.path))

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["equilog", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as left:
            code = int(left.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the user's module, where the command is run."""
    (tmp_path / "zoo_of_mine.py").write_text(MODEL, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "zoo_of_mine", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never trained: its answers are poor, and its costs as real as any."""
    config = RunConfig.for_task("digits", {"model": {"states": 4, "drives": 3}})
    made = RunFolder(tmp_path_factory.mktemp("allocate") / "run")
    made.begin(config, load_spec("rram"))
    torch.manual_seed(0)
    made.save_model(get_task("digits").build(config.model))
    return made.path


def test_a_model_of_ones_own(folder: Path, here: Call) -> None:
    code, said, told = here(
        "allocate", "zoo_of_mine:Zoo.make", "--target", "gpu-fp16", "--budget-accuracy", "0.2",
        "--chips", 2, "--run-chips", 2,
    )  # fmt: skip
    assert code == 0, told
    rows = {line.split("│")[1].strip(): line for line in said.splitlines() if line.count("│") > 3}
    assert "product" in rows["0"]
    assert "digital" in rows["1"]
    for words in (
        "ADC for 0",
        "all digital: ",
        "optimal: energy_joule",
        "HiGHS, gap",
        "on 2 unseen chips",
        "predicted",
    ):
        assert words in said
    assert "measuring 0 as product on 2 chips" in told
    written = sorted(p.name for p in (folder / "allocate-zoo_of_mine").iterdir())
    assert written == ["allocation.json", "energy.svg", "front.svg", "graph.svg"]
    assert all(p.stat().st_size > 1000 for p in (folder / "allocate-zoo_of_mine").iterdir())
    assert (folder / "allocate-zoo_of_mine" / "graph.svg").read_text(encoding="utf-8").startswith("<svg")


def test_json_pins_limits_and_another_folder(folder: Path, here: Call) -> None:
    code, said, told = here(
        "allocate", "zoo_of_mine:labelled", "--pin", "0=digital", "--pin", "2=product", "--budget-accuracy", 0.5,
        "--max-latency", 1000, "--max-area", 100, "--max-energy", 1e6, "--tiles", 3, "--tile-size", "2x64",
        "--hardware", "cmos-sky130", "--minimise", "latency", "--chips", 1, "--run-chips", 1, "--samples", 20,
        "--out", "elsewhere", "--json",
    )  # fmt: skip
    assert code == 0, told
    data = json.loads(said)
    assert data == json.loads((folder / "elsewhere" / "allocation.json").read_text(encoding="utf-8"))
    kinds = {row["name"]: row["kind"] for row in data["layers"]}
    assert (kinds["0"], kinds["2"]) == ("digital", "product")
    assert data["chosen"]["tiles"] == 2  # three outputs on tiles of two
    assert data["hardware"] == "cmos-sky130"
    assert data["minimised"] == "latency_second"
    assert data["limits"] == pytest.approx(
        {"energy_joule": 1e-3, "latency_second": 1e-3, "area_m2": 1e-4, "loss": 0.5, "tiles": 3}
    )
    assert data["samples_measured"] == data["outcome"]["samples"] == 10
    counted = data["outcome"]["same_chip"]["energy_joule"]["typical"]
    assert counted == pytest.approx(data["chosen"]["energy_joule"]["typical"], rel=1e-6)
    assert data["proof"]["bound"] == pytest.approx(data["chosen"]["latency_second"]["typical"], rel=1e-6)


def test_a_run_and_its_report(run: Path, here: Call) -> None:
    code, said, told = here("allocate", run, "--chips", 1, "--run-chips", 2, "--samples", 60, "--json")
    assert code == 0, told
    data = json.loads(said)
    names = [row["name"] for row in data["layers"]]
    assert "equilibrium" in names
    assert "readout" in names
    assert data["hardware"] == "rram"
    assert f"equilog report {run}" in told
    section = allocation_section(run)
    assert section is not None
    assert [p.id for p in section.plates] == ["fig-allocate-graph", "fig-allocate-energy", "fig-allocate-front"]
    assert all("data:image/svg+xml;base64," in p.drawings[0] for p in section.plates)
    assert "HiGHS" in " ".join(section.sentences)
    # Of other weights it says nothing.
    RunFolder(run).save_model(get_task("digits").build(RunFolder(run).config().model))
    assert allocation_section(run) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], r"nowhere: there is no such run folder; a model of your own is given as MODULE:FACTORY"),
        (["no_such_module:make"], r"there is no module 'no_such_module'"),
        (["zoo_of_mine:lebelled"], r"has no 'lebelled' \(did you mean 'labelled'\?\)"),
        (["zoo_of_mine:broken"], r"broken\(\) failed: ValueError: no data today \(.*zoo_of_mine\.py, line \d+\)"),
        (["zoo_of_mine:nothing"], r"returned a int: a factory returns \(model, inputs\)"),
        (["zoo_of_mine:model"], r"is a Linear: a factory returns"),
        (["zoo_of_mine:2+2"], r"expected a run folder, or MODULE:FACTORY"),
        (["zoo_of_mine:labelled", "--budget-accuracy", "1.5"], r"--budget-accuracy 1.5: expected a fraction"),
        (["zoo_of_mine:labelled", "--max-latency", "-1"], r"--max-latency -1.0: expected a number of 0 or more"),
        (["zoo_of_mine:labelled", "--tile-size", "128"], r"--tile-size '128': expected OUTPUTSxINPUTS"),
        (["zoo_of_mine:labelled", "--pin", "0"], r"--pin '0': expected LAYER=KIND"),
        (["zoo_of_mine:labelled", "--pin", "3=digital"], r"unknown layer to pin '3'"),
        (["zoo_of_mine:labelled", "--hardware", "rrram"], r"unknown hardware preset 'rrram' \(did you mean 'rram'"),
        (["zoo_of_mine:labelled", "--target", "cpu-fp23"], r"did you mean 'cpu-fp32'"),
        (["zoo_of_mine:labelled", "--minimise", "money"], r"unknown objective 'money'"),
        (["zoo_of_mine:labelled", "--chips", "1", "--max-energy", "0"], r"no split: energy ≤ 0 nJ .* binds"),
    ],
)  # fmt: skip
def test_a_mistake_is_a_sentence_and_exit_code_2(arguments: list[str], message: str, folder: Path, here: Call) -> None:
    code, said, told = here("allocate", *arguments)
    assert code == 2
    assert re.search(message, " ".join(told.split()))
    assert "Traceback" not in told
    assert said == ""
    assert sorted(p.name for p in folder.iterdir() if p.name != "__pycache__") == ["zoo_of_mine.py"]


def test_help_has_examples(here: Call) -> None:
    code, said, _ = here("allocate", "--help")
    assert code == 0
    assert "equilog allocate runs/digits-rram" in said
    assert "--budget-accuracy" in said
