"""Every example of the documentation runs, and its point is asserted; the README's example is executed as printed."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]


def example(name: str) -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(ROOT / "docs" / "examples" / f"{name}.py")))


def test_ex01_the_chord_method_converges_where_picard_diverges() -> None:
    ex = example("ex01_equilibrium")
    assert ex.norm > 3
    assert ex.picard_residual > 1
    assert ex.chord_residual < 1e-3
    assert ex.steps <= 20


def test_ex02_chips_differ_and_one_chip_repeats() -> None:
    ex = example("ex02_chip")
    assert len({round(d, 6) for d in ex.displacement}) == 5
    assert all(0.01 < d < 0.3 for d in ex.displacement)
    assert ex.repeated == ex.displacement[0]


@pytest.mark.ngspice
def test_ex03_ngspice_confirms_the_twin() -> None:
    ex = example("ex03_circuit")
    assert ex.error < 1e-6
    assert ex.same_codes


def test_ex04_fan_in_costs_bandwidth_and_gain() -> None:
    ex = example("ex04_noise_gain")
    expected = {32: (0.0033, 3.04e6), 128: (0.0127, 785e3), 512: (0.0488, 205e3)}
    for fan_in, gain_error, bandwidth in ex.rows:
        assert gain_error == pytest.approx(expected[fan_in][0], rel=0.01)
        assert bandwidth == pytest.approx(expected[fan_in][1], rel=0.01)


def readme_example() -> str:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return block


@pytest.mark.ngspice
@pytest.mark.slow
def test_the_readme_example_runs_as_printed(tmp_path: Path) -> None:
    code = readme_example()
    assert len(code.strip().splitlines()) <= 25
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # two would wait for each other on a busy machine
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ngspice at rest" in done.stdout
    assert "FAILS" not in done.stdout
    assert (tmp_path / "circuit" / "crossbar.inc").exists()


def test_links_between_pages_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
