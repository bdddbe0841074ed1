"""A run skips what it was asked to skip, and its folder says how much that was and of what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from archives import in_folder
from vision_files import encoded, pixels

from equilog.names import UserError
from equilog.pipeline import load_data, run
from equilog.runs import RunConfig, RunFolder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = {
        f"{split}/{k % 2}/{k}.png": encoded(pixels(k, 28, 28, 1)) for split in ("train", "test") for k in range(20)
    }
    files["train/1/7.png"] = files["train/1/7.png"][:-30]
    files["test/0/4.png"] = encoded(pixels(4, 27, 28, 1))
    return in_folder(tmp_path / "set", files)


def config(place: Path, on_damage: str) -> RunConfig:
    overrides = {
        "data": str(place),
        "on_damage": on_damage,
        "model": {"states": 4, "drives": 2},
        "training": {"batch_size": 10},
        "verify": {"rest_samples": 1, "settle_samples": 0, "chain_samples": 0, "chips": 1},
    }
    return RunConfig.for_task("mnist", overrides).with_curriculum("ideal", 1)


@pytest.mark.ngspice
def test_the_counts_are_in_the_run_folder(place: Path, tmp_path: Path) -> None:
    settings = config(place, "skip")
    run(settings, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    metrics = json.loads((folder.path / "metrics.json").read_text())
    assert metrics["samples_skipped"] == {"truncated or unreadable image": 1, "image of another size": 1}
    assert metrics["data_source"] == str(place)
    assert metrics["test_samples"] == 19
    assert folder.config().on_damage == "skip"


def test_unless_asked_a_run_refuses(place: Path) -> None:
    with pytest.raises(UserError, match=r"train/1/7\.png: truncated or unreadable image"):
        load_data(config(place, "refuse"))
    assert RunConfig.for_task("mnist").on_damage == "refuse"
    with pytest.raises(UserError, match="on_damage"):
        RunConfig.for_task("mnist", {"on_damage": "ignore"})
