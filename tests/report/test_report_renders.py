"""The report of a tiny run, opened in a real browser: every figure is there, drawn, legible and harmless."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import check_figures, chromium, measure

from equilog.cost import CostReport
from equilog.devices.ladder import Ladder
from equilog.hardware import load_spec
from equilog.names import UserError
from equilog.pipeline import load_data, verify_run
from equilog.runs import RunConfig, RunFolder
from equilog.tasks import get_task

pytest.importorskip("matplotlib", reason="the report is an optional extra")
pytest.importorskip("jinja2", reason="the report is an optional extra")
pytest.importorskip("schemdraw", reason="the report is an optional extra")
pytest.importorskip("sklearn", reason="the digits come with scikit-learn")

from equilog.drawing.units import MISSING
from equilog.hardware.technology.sheet import polynomial, rows
from equilog.report import write_report

ALWAYS = [
    "fig-ladder", "fig-accuracy", "fig-settling", "fig-stability", "fig-energy", "fig-energy-shares", "fig-latency",
    "fig-training", "fig-schematic", "fig-weights",
]  # fmt: skip
HOSTILE = '<script>alert(1)</script> & "<img src=x onerror=alert(2)>" $\\frac{1}{2}$ {{ 7*7 }}'


def make_run(path: Path) -> RunFolder:
    """Return a finished run of an untrained model: everything but the learning is real."""
    config = RunConfig.for_task(
        "digits",
        {
            "samples": 40,
            "model": {"states": 4, "drives": 3},
            "verify": {"rest_samples": 8, "settle_samples": 2, "chips": 3},
        },
    )
    folder = RunFolder(path)
    folder.begin(config, load_spec("rram"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        folder.save_model(get_task("digits").build(config.model))
    folder.save_training(
        [
            {"epoch": k, "stage": "ideal" if k < 3 else "twin", "loss": 2.3 / (k + 1), "accuracy": 0.1 + 0.1 * k}
            | ({"test_accuracy_ideal": 0.3} if k == 2 else {})
            for k in range(6)
        ]
    )
    verify_run(folder, load_data(config))
    return folder


@pytest.fixture(scope="module")
def unverified(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EQUILOG_NGSPICE", "no-such-program")
        return make_run(tmp_path_factory.mktemp("unverified"))


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    if shutil.which(os.environ.get("EQUILOG_NGSPICE", "ngspice")) is None:
        pytest.skip("ngspice is not installed")
    return make_run(tmp_path_factory.mktemp("verified"))


@pytest.fixture
def copy(unverified: RunFolder, tmp_path: Path) -> RunFolder:
    """Return the unverified run to be tampered with."""
    shutil.copytree(unverified.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def rewrite_ladder(folder: RunFolder, **changes: Any) -> None:
    ladder = folder.ladder()
    folder.save_ladder(Ladder(ladder.report.model_copy(update=changes), ladder.waveforms))


def rewrite_metrics(folder: RunFolder, **changes: Any) -> None:
    folder.save_metrics(folder.metrics() | changes)


def read(folder: RunFolder) -> str:
    return write_report(folder).read_text(encoding="utf-8")


def banner(page: str) -> tuple[str, str]:
    """Return the banner's class and its text."""
    found = re.search(r'<div id="verdict" class="verdict (\w+)">(.*?)</div>', page, re.DOTALL)
    assert found is not None
    return found.group(1), html.unescape(re.sub(r"<[^>]+>", " ", found.group(2)))


class Tags(HTMLParser):
    """Collects every element and attribute of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]


# --- in the browser ------------------------------------------------------------------------------------------


@pytest.mark.browser
@pytest.mark.ngspice
@pytest.mark.slow
@pytest.mark.parametrize("width", [1300, 420])
def test_every_figure_is_drawn_in_the_browser(verified: RunFolder, tmp_path: Path, width: int) -> None:
    seen = measure(verified, tmp_path, width)
    check_figures(seen, [*ALWAYS, "fig-waveforms"])
    assert len(seen["figures"]["fig-waveforms"]["svgs"]) == 2


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("width", [1300, 420])
def test_screenshot_is_not_blank(unverified: RunFolder, tmp_path: Path, width: int) -> None:
    from matplotlib.image import imread

    picture = tmp_path / "page.png"
    chromium(tmp_path / "profile", f"--window-size={width},4000", f"--screenshot={picture}", unverified.report.as_uri())
    pixels = imread(picture)[..., :3]
    assert pixels.shape[:2] == (4000, width)
    for part in range(4):
        assert pixels[1000 * part : 1000 * (part + 1)].std() > 0.02, f"part {part} is one colour"
    # The red banner is in the first screen, in its own colour.
    red = (pixels[:900, :, 0] - pixels[:900, :, 1] > 0.4).sum()
    assert red > 200


# --- what it says ---------------------------------------------------------------------------------------------


@pytest.mark.ngspice
def test_verified_run_says_so(verified: RunFolder) -> None:
    page = verified.report.read_text(encoding="utf-8")
    colour, text = banner(page)
    assert colour == "good"
    assert re.search(r"Verified in ngspice \d+: 8 samples at rest, 2 in time", text)
    for phrase in ("Wan et al.", "unshuffled", "equilog run digits --hardware rram --seed 0 --chip-seed 1"):
        assert phrase in page
    assert "samples = 40" in page, "departures from the defaults are named"
    assert len(page) < 2_000_000


def section(page: str, name: str) -> str:
    """Return what stands under a heading, up to the next."""
    return page[page.index(f'<h2 id="{name}">') :].split("<h2", 2)[1]


def test_every_block_of_the_chip_is_listed(unverified: RunFolder) -> None:
    text = section(unverified.report.read_text(encoding="utf-8"), "parts")
    table, folded = text.split("<details>")
    for name in (
        "crossbar devices", "summing integrators", "activations", "DACs", "sample-and-holds", "ADCs",
        "detector comparators", "references",
    ):  # fmt: skip
        row = re.search(rf"<tr[^>]*><td>{name}</td>(.*?)</tr>", table)
        assert row is not None, name
        assert MISSING not in row.group(1), name
        assert f"<td>{name}</td>" in folded
    assert "in all" in table
    assert "m²" in table
    assert "assumption: two-stage op-amp" in folded
    assert "assumption: two-stage op-amp" not in table


def test_a_run_from_before_blocks_were_counted_says_how_to_get_them(copy: RunFolder) -> None:
    metrics = copy.metrics()
    del metrics["parts"]
    copy.save_metrics(metrics)
    text = section(read(copy), "parts")
    assert "equilog verify" in text
    assert "<table" not in text


def test_the_technology_is_the_sheet_of_the_command(unverified: RunFolder) -> None:
    text = html.unescape(section(unverified.report.read_text(encoding="utf-8"), "technology"))
    table, folded = text.split("<details>")
    spec = unverified.spec()
    for row in rows(spec):
        assert f"<code>{row.name}</code>" in table
        assert f"<code>{row.name}</code>" in folded
        assert row.source in folded
        assert row.valid in folded
    # Laws are shown as formulas, all of them: not programming_sigma alone.
    assert spec.crossbar.relaxation is not None
    law = polynomial(spec.crossbar.relaxation.sigma).replace("G_max", "G<sub>max</sub>")
    assert law in table
    assert "Wan et al." not in table


def test_without_ngspice_it_says_in_red_how_to_get_it(unverified: RunFolder) -> None:
    page = unverified.report.read_text(encoding="utf-8")
    colour, text = banner(page)
    assert colour == "bad"
    assert "Not verified: no-such-program is not on this machine" in text
    assert "apt-get install ngspice" in text
    assert "Verified in" not in page
    assert 'id="fig-waveforms"' not in page


def test_failing_rung_is_named(copy: RunFolder) -> None:
    report = copy.ladder().report
    rungs = [
        r.model_copy(update={"agrees": False, "max_error": 3e-3}) if r.rung == "twin in time" else r
        for r in report.rungs
    ]
    rewrite_ladder(copy, rungs=rungs, simulator="ngspice 39", not_verified_because=None)
    colour, text = banner(read(copy))
    assert colour == "bad"
    assert "Disagrees: twin in time" in text
    assert "3.0 × 10⁻³" in text.replace("\u00a0", " ")


def test_unstable_circuit_that_never_rests_still_gives_a_report(copy: RunFolder) -> None:
    report = copy.ladder().report
    settling = report.settling.model_copy(
        update={"spectral_abscissa_per_second": 2e6, "time_second": [float("inf")] * report.samples}
    )
    rewrite_ladder(copy, settling=settling)
    rewrite_metrics(copy, cost=None, cost_verdict=None, settling_time_median_second=None, settling_time_max_second=None)
    copy.save_training([])
    page = read(copy)
    colour, text = banner(page)
    assert colour == "bad"
    assert "Unstable" in text
    assert "8 of 8 samples did not come to rest" in text
    assert "not verified in a circuit simulator" in text
    assert "There is no estimate" in page
    assert 'id="fig-training"' not in page
    assert 'id="fig-settling"' not in page
    assert 'id="fig-stability"' in page


def test_hostile_text_stays_text(copy: RunFolder) -> None:
    spec = copy.spec()
    amplifier = spec.amplifier.model_copy(update={"dc_gain": type(spec.amplifier.dc_gain)(1e4, HOSTILE, valid=HOSTILE)})
    config = copy.config().model_copy(update={"hardware": f"./{HOSTILE}.yaml", "data": HOSTILE})
    copy.begin(config, spec.model_copy(update={"summary": HOSTILE, "amplifier": amplifier}))
    rewrite_ladder(copy, not_verified_because=HOSTILE)
    cost = copy.cost()
    assert isinstance(cost, CostReport)
    energy = cost.hybrid_energy_joule | {HOSTILE: cost.hybrid_energy_joule["ADC"]}
    hostile = cost.model_copy(update={"hybrid_energy_joule": energy, "digital_target": HOSTILE})
    rewrite_metrics(copy, cost=hostile.model_dump(), cost_verdict=HOSTILE)
    page = read(copy)
    parsed = Tags()
    parsed.feed(page)
    assert not parsed.tags & {"script", "img", "iframe", "object", "embed", "link", "foreignobject"}
    assert not [a for a in parsed.attributes if a[1].startswith("on")]
    outside = [v for _, name, v in parsed.attributes if name in ("href", "xlink:href", "src") and v]
    assert all(v.startswith(("#", "data:image/png")) for v in outside)
    assert page.count("&lt;script&gt;alert(1)") >= 6
    assert "{{ 7*7 }}" in page


def test_same_run_gives_the_same_bytes(unverified: RunFolder) -> None:
    first = unverified.report.read_bytes()
    # Another process, other hashes, another's matplotlib settings.
    (unverified.path / "matplotlibrc").write_text("lines.linewidth: 9\nsvg.fonttype: path\n")
    code = (
        "import sys; from pathlib import Path; from equilog.runs import RunFolder; "
        "from equilog.report import write_report; write_report(RunFolder(Path(sys.argv[1])))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7", "MATPLOTLIBRC": str(unverified.path / "matplotlibrc")}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    subprocess.run([sys.executable, "-c", code, str(unverified.path)], check=True, timeout=120, env=environment)
    assert unverified.report.read_bytes() == first


def test_missing_libraries_are_named(unverified: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "schemdraw", None)
    with pytest.raises(UserError, match=r"pip install 'equilog\[report\]'"):
        write_report(unverified)
