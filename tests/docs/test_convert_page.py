"""The page on converting works as printed: its code runs, its table is the report's, its figures hold."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "convert.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    namespace: dict[str, object] = {}
    exec(code, namespace)
    return SimpleNamespace(**namespace)


@pytest.mark.ngspice
def test_the_page_holds_as_printed(page):
    assert page.ideal[0] == page.ideal[1] > 0.9
    mean, further, tuned = (sum(a) / 20 for a in (page.deployed, page.further, page.tuned))
    assert mean < page.ideal[0] - 0.01
    assert tuned > mean
    assert tuned > further + 0.003
    assert min(page.tuned) > min(page.deployed)
    assert page.same
    code = 2 / 2**8
    assert page.gap <= 1.2 * code
    table = str(page.report(page.analog)).splitlines()
    assert all(line in PAGE for line in table)
