"""`equilog parts` as a user runs it: every block of a run's circuit, as text that fits a terminal and as JSON."""

import json

import pytest
from builders import CONTINUOUS
from test_compile_targets import untrained
from typer.testing import CliRunner

from equilog import pipeline
from equilog.circuit import sky130
from equilog.cli import app
from equilog.hardware.transient import UnstableChipError
from equilog.names import UserError
from equilog.runs import RunFolder

CHAIN = {
    "crossbar devices": 4 * 8 * 2, "summing integrators": 4, "activations": 4, "DACs": 3, "sample-and-holds": 4,
    "ADCs": 4, "detector comparators": 8, "references": 1,
}  # fmt: skip


def run(*arguments):
    return CliRunner().invoke(app, ["parts", *map(str, arguments)], env={"COLUMNS": "80", "NO_COLOR": "1"})


def counts(folder: RunFolder, *more: str) -> dict[str, int]:
    return {row["name"]: row["count"] for row in json.loads(run(folder.path, "--json", *more).stdout)}


def test_every_block_is_there_in_json_and_in_text(tmp_path):
    folder, _ = untrained(tmp_path, CONTINUOUS)
    rows = json.loads(run(folder.path, "--json").stdout)
    assert {row["name"]: row["count"] for row in rows} == CHAIN
    assert all(row["watt"]["low"] <= row["watt"]["typical"] <= row["watt"]["high"] for row in rows)
    done = run(folder.path)
    assert done.exit_code == 0
    assert all(name in done.stdout for name in (*CHAIN, "in all", "area, mm²", "power, mW"))
    assert "…\n" not in done.stdout, "a name is cut off at 80 columns"
    assert not folder.circuit.exists(), "counting leaves nothing behind"


def test_without_a_detector_it_is_the_network_alone(tmp_path):
    folder, _ = untrained(tmp_path, CONTINUOUS | {"detector": None})
    network = {
        name: number for name, number in CHAIN.items() if name not in ("sample-and-holds", "detector comparators")
    }
    assert counts(folder) == network


def test_a_chip_that_does_not_rest_is_counted_all_the_same(tmp_path, monkeypatch):
    def oscillates(*_):
        raise UnstableChipError("a pole on the right")

    monkeypatch.setattr(pipeline.build, "at_rest", oscillates)
    rows = {row.name: row for row in pipeline.parts_of_run(*untrained(tmp_path, CONTINUOUS))}
    assert {name: row.count for name, row in rows.items()} == CHAIN
    assert rows["crossbar devices"].watt is None


@pytest.mark.ngspice
def test_transistors_are_settled_in_ngspice(tmp_path, simulator):
    try:
        sky130.require()
    except sky130.Sky130MissingError as missing:
        pytest.skip(str(missing))
    folder, _ = untrained(tmp_path)
    rows = {row["name"]: row for row in json.loads(run(folder.path, "--target", "transistors", "--json").stdout)}
    assert sum(row["components"].get("transistors", 0) for row in rows.values()) == 26 * 4 + 4
    assert f"in ngspice {simulator.version}" in rows["activations"]["watt_source"]
    assert "transistors" not in {path.name for path in folder.path.iterdir()}


def test_transistors_without_a_simulator_are_a_users_mistake(tmp_path, monkeypatch):
    monkeypatch.setenv("EQUILOG_NGSPICE", "no-such-program")
    monkeypatch.setattr(sky130, "require", lambda: None)
    folder, _ = untrained(tmp_path)
    done = run(folder.path, "--target", "transistors")
    assert isinstance(done.exception, UserError)
    assert "no-such-program" in str(done.exception)


def test_another_target_is_refused(tmp_path):
    folder, data = untrained(tmp_path)
    with pytest.raises(ValueError, match="expected one of chain, transistors"):
        pipeline.parts_of_run(folder, data, "board")
    assert run(folder.path, "--target", "board").exit_code == 2
