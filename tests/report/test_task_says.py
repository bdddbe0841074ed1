"""What a task measures and draws reaches the page, and nothing that lies in the folder can do harm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="the report is an optional extra")

from matplotlib.figure import Figure

from equilog.drawing.style import document, drawing, framed
from equilog.drawing.units import MISSING
from equilog.names import UserError
from equilog.report.task_says import measure_rows
from equilog.runs import RunFolder
from equilog.tasks import Measure

ABOUT = {"key": "waves", "title": "Waves", "caption": "both are flat"}


def line(figure: Figure) -> None:
    figure.subplots().plot([0, 1], [0, 1])


def test_the_same_drawing_gives_the_same_file() -> None:
    made = []
    for _ in range(2):
        with drawing("waves"):
            made.append(document((3, 2), line))
    assert made[0] == made[1]
    assert "<svg" in made[0]


def test_pictures_come_back_as_they_were_written_and_go_with_the_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.pictures() == []
    folder.save_pictures([(ABOUT, "<svg>one</svg>"), (ABOUT | {"key": "other"}, "<svg>two</svg>")])
    assert [svg for _, svg in folder.pictures()] == ["<svg>one</svg>", "<svg>two</svg>"]
    folder.save_pictures([(ABOUT, "<svg>new</svg>")])
    assert folder.pictures() == [(ABOUT, "<svg>new</svg>")]
    assert not (tmp_path / "pictures" / "other.svg").exists()
    folder.clear()
    assert not (tmp_path / "pictures").exists()


@pytest.mark.parametrize("listed", ["{", '[{"key": "gone"}]', '[{"title": "no key"}]', "[1]"])
def test_a_list_that_does_not_fit_is_refused_by_name(tmp_path: Path, listed: str) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "pictures.json").write_text(listed, encoding="utf-8")
    with pytest.raises(UserError, match=r"pictures\.json does not fit"):
        RunFolder(tmp_path).pictures()


def test_a_key_never_leads_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "secret.svg").write_text("secret", encoding="utf-8")
    listed = json.dumps([ABOUT | {"key": "../secret"}])
    (tmp_path / "pictures" / "pictures.json").write_text(listed, encoding="utf-8")
    with pytest.raises(UserError):
        RunFolder(tmp_path).pictures()


def test_a_script_in_a_drawing_stays_in_the_image() -> None:
    page = framed("<svg><script>alert(1)</script></svg>", '"><script>')
    assert "<script" not in page
    assert page.startswith('<img alt="')


def test_rows_pair_the_ideal_model_and_the_chip() -> None:
    both = Measure(name="error", value=0.5, reference=0.25, unit="V", note="rms")
    only = Measure(name="drop", value=None, note="it fell")
    metrics = {
        "measures": {
            "ideal": [both.model_dump(), only.model_dump()],
            "twin": [both.model_copy(update={"value": 0.75, "note": "on the chip"}).model_dump()],
        }
    }
    assert measure_rows(metrics) == [
        ["error", "V", "0.5", "0.75", "0.25", "rms; on the chip"],
        ["drop", "", MISSING, MISSING, MISSING, "it fell"],
    ]
    assert measure_rows({}) == []
