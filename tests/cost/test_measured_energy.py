"""Energy counters: read where there are any, wrapped round right, and their absence explained."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from equilog.cost import measured
from equilog.cost.measured import measure_energy, meters, missing


def zone(folder: Path, name: str, joule: float, wraps: float = 100.0) -> Path:
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{int(joule * 1e6)}\n")
    (folder / "max_energy_range_uj").write_text(f"{int(wraps * 1e6)}\n")
    return folder


@pytest.fixture(autouse=True)
def no_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "_nvml", list)


def test_packages_are_read_and_their_parts_are_not(tmp_path: Path) -> None:
    zone(tmp_path / "intel-rapl:0", "package-0", 12.5)
    zone(tmp_path / "intel-rapl:0:0", "core", 5.0)
    (meter,) = meters(tmp_path)
    assert meter.name == "RAPL package-0"
    assert meter.joule() == pytest.approx(12.5)
    assert missing(tmp_path) == ""


def test_a_count_that_wraps_round_goes_on(tmp_path: Path) -> None:
    folder = zone(tmp_path / "intel-rapl:0", "package-0", 99.0, wraps=100.0)
    found, count = meters(tmp_path), [99.0]

    def work() -> None:
        count[0] = (count[0] + 0.5) % 100
        (folder / "energy_uj").write_text(f"{int(count[0] * 1e6)}\n")

    result = measure_energy(work, 0.02, found)
    assert result.joule["RAPL package-0"] == pytest.approx(
        0.5 - 100 / result.calls * ((0.5 * result.calls) // 100), rel=1e-3
    )
    assert result.idle_joule["RAPL package-0"] == 0


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    assert "no RAPL" in missing(tmp_path)
    assert "NVML" in missing(tmp_path)
    with pytest.raises(OSError, match=r"cannot be measured here|no meters were given"):
        measure_energy(lambda: None, 0.01, [])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_counters_for_root_only_are_named(tmp_path: Path) -> None:
    folder = zone(tmp_path / "intel-rapl:0", "package-0", 1.0)
    (folder / "energy_uj").chmod(0)
    assert "only be read by root" in missing(tmp_path)
