"""A study killed at any moment goes on to the same file; another study is never mixed into it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import spec_with, tiny_data, tiny_model

from equilog.hardware import load_spec
from equilog.names import UserError
from equilog.yields import Standing, Study, StudyConfig, study
from equilog.yields import bench as bench_module
from equilog.yields.rows import ChipRow
from equilog.yields.table import open_table

FILES = ["chips.csv", "study.json", "yield.html", "yield.json"]


@pytest.fixture(autouse=True, scope="module")
def _small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_module, "_MOST_CHIPS", 3)
        yield


def run(folder: Path, chips: int = 8, **kwargs: object) -> Study:
    config = StudyConfig(**{"settle_samples": 1, **kwargs.pop("config", {})})
    kwargs.setdefault("spec", load_spec("rram"))
    return study(tiny_model(), kwargs.pop("spec"), *tiny_data(), folder, config, chips=chips, **kwargs)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("study") / "whole").folder


def same(a: Path, b: Path) -> bool:
    return all((a / name).read_bytes() == (b / name).read_bytes() for name in FILES)


def test_a_study_leaves_its_files(reference: Path) -> None:
    assert sorted(p.name for p in reference.iterdir()) == FILES
    assert len((reference / "chips.csv").read_text().splitlines()) == 9


@pytest.mark.parametrize("after", [0, 3, 6])
def test_interrupted_and_called_again_it_ends_with_the_same_files(after: int, reference: Path, tmp_path: Path) -> None:
    def stop(done: int, _of: int) -> None:
        if done >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "s", progress=stop)
    assert not (tmp_path / "s" / "yield.json").exists()
    told: list[int] = []
    done = run(tmp_path / "s", progress=lambda n, _of: told.append(n))
    assert told[0] == after
    assert done.measured == 8 - after
    assert same(tmp_path / "s", reference)


def test_killed_within_a_line_it_ends_with_the_same_files(reference: Path, tmp_path: Path) -> None:
    """The process dies as a power cut would have it: half of a chunk's text is on the disk, no handler runs."""
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import torch; torch.set_num_threads(1)
from pathlib import Path
from builders import tiny_data, tiny_model
from equilog.hardware import load_spec
from equilog.yields import StudyConfig, bench, study, table
bench._MOST_CHIPS = 3
whole = table.ChipTable.append
def half_and_die(self, rows):
    if self.rows:
        text = "".join(row.line() for row in rows).encode()
        self._file.write(text[: len(text) // 2 + 1])
        self._file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    whole(self, rows)
table.ChipTable.append = half_and_die
study(tiny_model(), load_spec("rram"), *tiny_data(), {str(tmp_path / "s")!r}, StudyConfig(settle_samples=1), chips=8)
"""
    died = subprocess.run([sys.executable, "-c", script], env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
    assert died.returncode == -signal.SIGKILL
    left = (tmp_path / "s" / "chips.csv").read_bytes()
    assert not left.endswith(b"\n")
    assert (reference / "chips.csv").read_bytes().startswith(left)
    assert 8 - run(tmp_path / "s").measured == len(left.splitlines()) - 2
    assert same(tmp_path / "s", reference)


def test_more_chips_are_added_and_fewer_are_the_first(reference: Path, tmp_path: Path) -> None:
    run(tmp_path / "s", chips=2)
    assert run(tmp_path / "s", chips=8).measured == 6
    assert same(tmp_path / "s", reference)
    few = run(tmp_path / "s", chips=5)
    assert few.measured == 0
    assert [row.seed for row in few.rows] == [1_000_000 + k for k in range(5)]
    assert few.report.chips == 5
    assert (tmp_path / "s" / "chips.csv").read_bytes() == (reference / "chips.csv").read_bytes()


def test_another_threshold_measures_nothing_anew(tmp_path: Path) -> None:
    accuracies = [row.score for row in run(tmp_path / "s").rows]
    limit = sorted(accuracies)[4]
    done = run(tmp_path / "s", threshold=limit)
    assert done.measured == 0
    assert done.report.passing == sum(a >= limit for a in accuracies)
    assert 0 < done.report.passing <= 8
    assert json.loads((tmp_path / "s" / "yield.json").read_text())["passing"] == done.report.passing


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"config": {"age_second": 60.0}}, r"age_second \(None there, 60.0 here\)"),
        ({"config": {"without": ("levels",)}}, r"technology .* without"),
        ({"spec": spec_with("rram", {"amplifier.dc_gain": 5e3})}, "technology"),
        ({"config": {"settle_samples": 2}}, r"settle_samples \(1 there, 2 here\)"),
    ],
)
def test_another_study_is_refused_and_nothing_touched(change: dict, told: str, reference: Path) -> None:
    before = {p: p.read_bytes() for p in reference.iterdir()}
    with pytest.raises(UserError, match=told):
        run(reference, **change)
    assert {p: p.read_bytes() for p in reference.iterdir()} == before


def test_other_weights_and_other_samples_are_other_studies(reference: Path) -> None:
    config, spec = StudyConfig(settle_samples=1), load_spec("rram")
    x, y = tiny_data()
    with pytest.raises(UserError, match="differs in model"):
        study(tiny_model(seed=1), spec, x, y, reference, config, chips=8)
    with pytest.raises(UserError, match="differs in data"):
        study(tiny_model(), spec, x + 1, y, reference, config, chips=8)


def test_without_a_folder_every_study_has_one_of_its_own(tmp_path: Path) -> None:
    folders = {
        run(None, 1, within=tmp_path, config=c).folder.name
        for c in (
            {},
            {"age_second": 2592000.0},
            {"temperature_kelvin": 350.0, "read_seed": 4},
            {"without": ("levels",)},
        )
    }
    assert len(folders) == 4
    stems = sorted(name.rpartition("-")[0] for name in folders)
    assert stems == ["rram", "rram-30d", "rram-350K-read4", "rram-without-levels"]


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="something other than a yield study"):
        run(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("line", "told"), [("1000001,settles,1", "damaged in line 3: 3 columns"), ("", "damaged in line 3")]
)
def test_a_damaged_line_is_named(line: str, told: str, tmp_path: Path) -> None:
    run(tmp_path / "s", chips=3)
    path = tmp_path / "s" / "chips.csv"
    lines = path.read_text().splitlines()
    lines[2] = line
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=told):
        run(tmp_path / "s")


def test_a_line_that_went_missing_is_noticed(tmp_path: Path) -> None:
    run(tmp_path / "s", chips=3)
    path = tmp_path / "s" / "chips.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:1] + lines[2:]) + "\n")
    with pytest.raises(UserError, match="seed 1000001 where 1000000 belongs"):
        run(tmp_path / "s")


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="no locks on this system")
    identity = {"first_seed": 5}
    with (
        open_table(tmp_path, identity),
        pytest.raises(UserError, match="another process"),
        open_table(tmp_path, identity),
    ):
        pass


@pytest.mark.parametrize(
    ("kwargs", "told"),
    [
        ({"chips": 0}, "0 chips"),
        ({"threshold": 97.0}, "97: expected accuracy as a fraction"),
        ({"threshold": 0.0}, "expected accuracy as a fraction"),
        ({"config": {"without": ("drifft",)}}, "did you mean 'drift'"),
    ],
)
def test_mistakes_are_found_before_any_file_is_made(kwargs: dict, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told):
        run(tmp_path / "s", **kwargs)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    "row",
    [
        ChipRow(3, Standing.SETTLES, 1 / 3, 0, 0, 0.1, -1.5e7, 1.1e-7, 0.1 + 0.2),
        ChipRow(4, Standing.NO_REST, None, 2, 1, 0.0, None, None, None),
        ChipRow(5, Standing.UNSTABLE, None, 0, 0, 0.0, float("inf"), None, None),
    ],
)
def test_a_line_reads_back_as_the_chip(row: ChipRow) -> None:
    assert ChipRow.parse(row.line()) == row
