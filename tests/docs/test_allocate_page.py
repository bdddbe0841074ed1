"""The page on allocation works as printed: its code runs, what it prints is near what is printed there."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "allocate.md").read_text(encoding="utf-8")


def test_the_page_holds_as_printed():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    namespace: dict[str, object] = {}
    exec(code, namespace)
    page = SimpleNamespace(**namespace)
    assert str(page.found.kinds) in PAGE
    chosen, digital = page.found.optimum.cost.energy_joule, page.found.digital.energy_joule
    printed = re.search(r"([\d.]+) nJ, all digital ([\d.]+) nJ", PAGE)
    assert printed is not None
    assert 1e9 * chosen == pytest.approx(float(printed[1]), rel=0.1)
    assert 1e9 * digital == pytest.approx(float(printed[2]), rel=0.01)
    assert page.ran.same_chip.energy_joule.typical == pytest.approx(chosen, rel=1e-6)
    assert page.ran.happened.mean == pytest.approx(page.ran.predicted, abs=0.01)
    assert page.split is not page.net
