"""The HTML report of a finished run: one file, every figure in it, nothing fetched from anywhere.

Drawing needs matplotlib, jinja2 and schemdraw, an optional extra; nothing of it is imported before it is used.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from equilog.names import UserError

if TYPE_CHECKING:
    from equilog.runs.folder import RunFolder

NEEDED = ("matplotlib", "jinja2", "schemdraw")

__all__ = ["check_installed", "write_report"]


def check_installed() -> None:
    """Raise ``UserError`` unless the drawing libraries are there; asked before hours of training, not after."""
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        raise UserError(f"the report needs {', '.join(NEEDED)}: pip install 'equilog[report]'")


def write_report(folder: RunFolder) -> Path:
    """Draw a finished run and write ``report.html`` into its folder.

    The same run gives the same file, byte for byte.

    Returns:
        the path of the report.

    Raises:
        UserError: if the run is not finished, or the drawing libraries are not installed.
    """
    check_installed()
    from equilog.report.html import render  # noqa: PLC0415  (an optional extra)

    folder.save_report(render(folder))
    return folder.report
