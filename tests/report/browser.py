"""A report's page in headless Chromium: what is drawn where, and what lies on what."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from equilog.runs import RunFolder

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

MEASURE = """
<pre id="measured"></pre><script>
const box = e => { const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; };
const size = e => { try { const b = e.getBBox(); return b.width + b.height; } catch (_) { return 0; } };
const figures = {};
for (const f of document.querySelectorAll("figure")) figures[f.id] = {
  box: box(f),
  svgs: [...f.querySelectorAll("svg")].map(s => ({
    id: s.id, box: box(s),
    drawn: [...s.querySelectorAll("path, use, image, circle")].filter(e => !e.closest("defs") && size(e) > 0).length,
    texts: [...s.querySelectorAll("text")].filter(e => e.textContent.trim()).map(e => [e.textContent, box(e)]),
  })),
  caption: f.querySelector("figcaption").textContent,
};
const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
document.getElementById("measured").textContent = JSON.stringify({
  figures, twice: ids.filter((id, k) => ids.indexOf(id) !== k),
  dangling: [...document.querySelectorAll("use")].map(u => u.getAttribute("xlink:href") || u.getAttribute("href"))
    .filter(h => !document.getElementById(h.slice(1))),
  fetched: performance.getEntriesByType("resource").map(r => r.name),
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
});
</script>
"""


def chromium(profile: Path, *arguments: str) -> str:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed")
    done = subprocess.run(
        [program, *FLAGS, f"--user-data-dir={profile}", *arguments],
        capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.stdout


def measure(folder: RunFolder, scratch: Path, width: int) -> dict[str, Any]:
    """Return what the browser says of the page's figures; a script is let in for that, into a copy."""
    page = folder.report.read_text(encoding="utf-8")
    policy = re.search(r'<meta http-equiv="Content-Security-Policy"[^>]*>', page)
    assert policy is not None
    copied = scratch / "measured.html"
    copied.write_text(page.replace(policy.group(0), "").replace("</body>", MEASURE + "</body>"), encoding="utf-8")
    dom = chromium(scratch / "profile", f"--window-size={width},1200", "--dump-dom", copied.as_uri())
    found = re.search(r'<pre id="measured">(\{.*?\})</pre>', dom, re.DOTALL)
    assert found is not None, "the page did not come up"
    measured: dict[str, Any] = json.loads(html.unescape(found.group(1)))
    return measured


def overlaps(texts: list[tuple[str, list[float]]]) -> list[tuple[str, str]]:
    """Return pairs of labels that lie on each other by more than a hair."""
    pairs = []
    for k, (one, (x, y, w, h)) in enumerate(texts):
        for other, (x2, y2, w2, h2) in texts[k + 1 :]:
            across = min(x + w, x2 + w2) - max(x, x2)
            down = min(y + h, y2 + h2) - max(y, y2)
            # A line's box is taller than its letters: neighbouring lines touch without being in the way.
            if across > 1 and down > 0.35 * min(h, h2):
                pairs.append((one, other))
    return pairs


def check_figures(seen: dict[str, Any], expected: list[str]) -> None:
    """Assert that every figure is there, drawn, legible and in nobody's way, and that nothing was fetched."""
    assert sorted(seen["figures"]) == sorted(expected)
    for name, figure in seen["figures"].items():
        assert figure["svgs"], name
        assert len(figure["caption"]) > 40, name
        for svg in figure["svgs"]:
            where = svg["id"]
            assert svg["box"][2] > 250, where
            assert svg["box"][3] > 80, where
            assert svg["drawn"] >= 5, where
            assert len(svg["texts"]) >= 4, where
            assert overlaps(svg["texts"]) == [], where
    assert seen["twice"] == []
    assert seen["dangling"] == []
    assert seen["fetched"] == []
    assert seen["overflow"] <= 0, "the page is wider than the window"
