"""How decks are written: numbers digit for digit, and files whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor


def number(value: float | Tensor) -> str:
    """Return the shortest decimal that reads back as the same float64."""
    return repr(float(value.detach() if isinstance(value, Tensor) else value))


def write_files(folder: Path, text: Mapping[str, str]) -> list[Path]:
    """Write texts under their names into a folder, made if need be; files of the same names are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in text]
    for path, content in zip(paths, text.values()):
        path.write_text(content, encoding="utf-8")
    return paths
