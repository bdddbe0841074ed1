"""What `equilog allocate` found stands in the report of the run, and nothing that lies there can do harm."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="the report is an optional extra")
pytest.importorskip("jinja2", reason="the report is an optional extra")
pytest.importorskip("schemdraw", reason="the report is an optional extra")
pytest.importorskip("sklearn", reason="the digits come with scikit-learn")

from test_report_renders import HOSTILE, make_run

from equilog.names import UserError
from equilog.report import write_report
from equilog.report.allocation import allocation_section, weights_digest
from equilog.runs import RunFolder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EQUILOG_NGSPICE", "no-such-program")
        return make_run(tmp_path_factory.mktemp("allocated"))


def found(run: RunFolder, **changes: Any) -> dict[str, Any]:
    span = {"low": 1e-9, "typical": 2e-9, "high": 4e-9}
    return {
        "hardware": "rram",
        "target": HOSTILE,
        "minimised": "energy_joule",
        "proof": {"gap": 0.0, "solver": "HiGHS by scipy.optimize.milp"},
        "layers": [{"name": "equilibrium", "kind": "equilibrium"}, {"name": HOSTILE, "kind": "product"}],
        "chosen": {"energy_joule": span, "latency_second": span},
        "digital": {"energy_joule": 7e-9, "latency_second": 8e-6},
        "outcome": {
            "samples": 30,
            "accuracy_ideal": 0.98,
            "accuracy_predicted": 0.97,
            "accuracy_unseen_chips": {"mean": 0.965, "each": [0.96, 0.97]},
        },
        "weights_sha256": weights_digest(run.path),
    } | changes


def place(run: RunFolder, data: dict[str, Any] | str) -> None:
    folder = run.path / "allocate"
    folder.mkdir(exist_ok=True)
    text = data if isinstance(data, str) else json.dumps(data)
    (folder / "allocation.json").write_text(text, encoding="utf-8")
    for name in ("graph", "energy"):
        (folder / f"{name}.svg").write_text(
            '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(3)</script></svg>', encoding="utf-8"
        )


def test_the_page_has_the_section_and_pictures_as_images(run: RunFolder) -> None:
    assert 'id="allocation"' not in run.report.read_text(encoding="utf-8")
    place(run, found(run))
    page = write_report(run).read_text(encoding="utf-8")
    text = page[page.index('<h2 id="allocation">') :].split("<h2", 2)[1].replace("\u00a0", " ")
    assert '<a href="#allocation">' in page
    for words in ("2.00 nJ (1.00 nJ to 4.00 nJ)", "7.00 nJ and 8.00 µs", "2 unseen chips", "96.5 %", "97.0 %", "HiGHS"):
        assert words in text
    images = re.findall(r'<img alt="[^"]+" src="data:image/svg\+xml;base64,([^"]+)"', text)
    assert len(images) == 2
    assert all(b"alert(3)" in base64.b64decode(image) for image in images)
    assert "<script" not in page
    assert "<img src=x" not in page


def test_other_weights_have_no_section(run: RunFolder) -> None:
    place(run, found(run, weights_sha256="0"))
    assert allocation_section(run.path) is None


@pytest.mark.parametrize("damage", ["{", "[]", '{"weights_sha256": "DIGEST"}'])
def test_a_damaged_file_is_named(run: RunFolder, damage: str) -> None:
    place(run, damage.replace("DIGEST", weights_digest(run.path)))
    with pytest.raises(UserError, match=r"allocation\.json is not what equilog allocate writes .* run it again"):
        allocation_section(run.path)


def test_nothing_is_no_section(tmp_path: Path) -> None:
    assert allocation_section(tmp_path) is None
