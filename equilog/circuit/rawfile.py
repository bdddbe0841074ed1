"""Read ngspice's binary raw files as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class RawFileError(ValueError):
    """The file is not a complete binary raw file."""


@dataclass(frozen=True)
class Plot:
    """One analysis: named vectors of equal length.

    Attributes:
        title: plot name as ngspice gives it, e.g. ``Operating Point``.
        names: vector names in lower case, e.g. ``v(v0)`` and ``time``.
        data: shape ``(points, len(names))``, float64.
    """

    title: str
    names: tuple[str, ...]
    data: NDArray[np.float64]

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """Return the vector called `name`; raises ``KeyError`` naming it."""
        try:
            column: NDArray[np.float64] = self.data[:, self.names.index(name.lower())]
        except ValueError:
            raise KeyError(f"no vector {name!r} in plot {self.title!r}") from None
        return column


def read_raw(path: Path) -> list[Plot]:
    """Return all plots of a raw file, in order.

    Raises:
        RawFileError: if the file is truncated, is not a binary real raw file, or holds no plot.
    """
    content = path.read_bytes()
    plots, position = [], 0
    while position < len(content):
        marker = content.find(b"Binary:\n", position)
        if marker < 0:
            if content[position:].strip():
                raise RawFileError(f"{path}: no binary section after byte {position}")
            break
        plot, position = _read_plot(path, content, position, marker)
        plots.append(plot)
    if not plots:
        raise RawFileError(f"{path}: holds no plot")
    return plots


def _read_plot(path: Path, content: bytes, start: int, marker: int) -> tuple[Plot, int]:
    fields: dict[str, str] = {}
    names: list[str] = []
    in_variables = False
    for line in content[start:marker].decode("utf-8", "replace").splitlines():
        if in_variables and line.startswith("\t"):
            parts = line.split()
            if len(parts) < 2:
                raise RawFileError(f"{path}: malformed variable line {line!r}")
            names.append(parts[1].lower())
            continue
        key, _, value = line.partition(":")
        in_variables = key == "Variables"
        fields[key.strip()] = value.strip()
    try:
        count, points = int(fields["No. Variables"]), int(fields["No. Points"])
    except (KeyError, ValueError):
        raise RawFileError(f"{path}: header lacks the number of variables or points") from None
    if "complex" in fields.get("Flags", ""):
        raise RawFileError(f"{path}: complex data, expected real")
    if len(names) != count:
        raise RawFileError(f"{path}: header announces {count} variables and names {len(names)}")
    begin = marker + len(b"Binary:\n")
    end = begin + 8 * count * points
    if end > len(content):
        raise RawFileError(f"{path}: truncated, {end - len(content)} bytes are missing")
    data = np.frombuffer(content, dtype="<f8", count=count * points, offset=begin).reshape(points, count)
    return Plot(fields.get("Plotname", ""), tuple(names), data), end
