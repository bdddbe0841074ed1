"""Read a series of several channels from a CSV file: a row a time, perhaps with its date, a column a channel."""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equilog.names import UserError
from equilog.tasks.damage import DamagedError, Skipped
from equilog.tasks.files.store import open_store

SHORT, NO_NUMBER, NO_DATE = "row of another length", "value that is no finite number", "unreadable date"
OUT_OF_STEP = "row that is not one step after the one before"


@dataclass(frozen=True)
class Layout:
    """What the rows of a file are.

    Attributes:
        channels: names of the columns of numbers.
        step: from row to row; the first column is then a date, ``2016-07-01 00:00:00``. None without dates.
        header: whether the first line names the columns; without one, it may still number them from 0.
    """

    channels: Sequence[str]
    step: timedelta | None = None
    header: bool = True

    @property
    def columns(self) -> list[str]:
        """Names of all columns."""
        return ([] if self.step is None else ["date"]) + list(self.channels)


def read_series(place: Path, names: Sequence[str], layout: Layout, skipped: Skipped, hint: str) -> NDArray[np.float64]:
    """Return the numbers of a file, shape ``(rows, channels)``.

    A row that cannot be used keeps its place in time where damage is skipped: it holds the values of the row before it,
    of the row after it at the beginning.

    Args:
        place: the file itself, or a folder or archive that holds it.
        names: of the file; the first that is there is read. One that ends in .gz is unpacked.
        layout: of its rows.
        skipped: counts rows of another length, with a value that is no finite number, or with a date that is unreadable
            or not one step after the row before.
        hint: how to get the data, added to the message if nothing is there.

    Raises:
        UserError: for such rows, by line, where damage is refused; if there is no such file, no row in it can be used,
            or its header is another.
    """
    where, content = open_store(place, files=names, hint=hint).content_of(names, hint)
    try:
        text = (gzip.decompress(content) if where.endswith(".gz") else content).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{where} is no whole text file ({error})") from None
    lines = list(csv.reader(io.StringIO(text)))
    first = _without_header(lines, layout, where)
    found = np.full((len(lines) - first, len(layout.channels)), np.nan)
    count, before = 0, None
    for number, line in enumerate(lines[first:], first + 1):
        if not line:
            continue
        expected = None if before is None or layout.step is None else before + layout.step
        try:
            row, before = _row(line, layout, expected)
        except DamagedError as damage:
            skipped.found(f"{where}, line {number}", damage)
            row, before = None, expected
        if row is not None:
            found[count] = row
        count += 1
    return _held(found[:count], where, skipped)


def _without_header(lines: list[list[str]], layout: Layout, where: str) -> int:
    top = [name.strip() for name in lines[0]] if lines else []
    if layout.header:
        if top != layout.columns:
            raise UserError(f"{where}: the first line is {','.join(top)[:80]!r}, expected {','.join(layout.columns)!r}")
        return 1
    # Copies that went through a data frame begin with the numbers of the columns.
    return 1 if top == [str(k) for k in range(len(layout.columns))] else 0


def _row(line: list[str], layout: Layout, expected: datetime | None) -> tuple[list[float], datetime | None]:
    columns = layout.columns
    if len(line) != len(columns):
        raise DamagedError(SHORT, f"{len(line)} columns, expected {len(columns)}")
    date = None
    if layout.step is not None:
        try:
            date = datetime.fromisoformat(line[0].strip())
        except ValueError:
            raise DamagedError(NO_DATE, repr(line[0])[:40]) from None
        if expected is not None and date != expected:
            raise DamagedError(OUT_OF_STEP, f"{date}, expected {expected}")
    row = []
    for name, text in zip(layout.channels, line[len(columns) - len(layout.channels) :]):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise DamagedError(NO_NUMBER, f"{name} = {text!r}"[:60])
        row.append(value)
    return row, date


def _held(found: NDArray[np.float64], where: str, skipped: Skipped) -> NDArray[np.float64]:
    good = np.flatnonzero(~np.isnan(found[:, 0]))
    if not len(good):
        raise UserError(f"{where}: no row can be used ({skipped})")
    return found[good[np.maximum(np.searchsorted(good, np.arange(len(found)), side="right") - 1, 0)]]
