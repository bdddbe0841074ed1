"""``chips.csv``: grows by whole chunks, survives being killed at any moment, and goes on only with the same study.

A chunk is appended and synced. Whatever a kill leaves of a last line is cut off when the table is opened again, so an
interrupted table ends up byte for byte as one that was not.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from equilog.names import UserError
from equilog.yields.rows import COLUMNS, ChipRow

try:
    import fcntl
except ImportError:  # not on Windows: there two studies of one folder are the user's own affair
    fcntl = None  # type: ignore[assignment]

_HEADER = ",".join(COLUMNS) + "\n"


class ChipTable:
    """The open table of one study. Make one with :func:`open_table`."""

    def __init__(self, file: IO[bytes], rows: list[ChipRow]) -> None:
        self._file = file
        self.rows = rows

    def append(self, rows: Sequence[ChipRow]) -> None:
        """Add chips; they are on the disk when this returns."""
        self._file.write("".join(row.line() for row in rows).encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.rows.extend(rows)


@contextlib.contextmanager
def open_table(folder: Path, identity: dict[str, Any]) -> Iterator[ChipTable]:
    """Open the table of a study, new or begun earlier.

    Args:
        folder: of the study; made if it is not there.
        identity: all that decides the numbers; ``first_seed`` is the seed of the first row.

    Raises:
        UserError: if another study lies there (naming what differs), something that is no study, a damaged table, or if
            another process is writing it.
    """
    _claim(folder, identity)
    path = folder / "chips.csv"
    with path.open("a+b") as file:
        _lock(file, folder)
        file.seek(0)
        whole = file.read()
        whole = whole[: whole.rfind(b"\n") + 1]
        file.truncate(len(whole))
        if not whole:
            file.write(_HEADER.encode())
            file.flush()
        yield ChipTable(file, _parse(whole.decode("utf-8", "replace"), path, int(identity["first_seed"])))


def write_text(path: Path, text: str) -> None:
    """Write beside the final name and rename: readers see the old file or the new one, whole."""
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(scratch, 0o644)
        os.replace(scratch, path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def _claim(folder: Path, identity: dict[str, Any]) -> None:
    """Write down what study this folder holds, or see that it is the same."""
    path = folder / "study.json"
    if not path.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{folder} holds something other than a yield study; choose another --out")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(identity, indent=1) + "\n")
        except OSError as error:
            raise UserError(f"{folder}: {error.strerror}") from None
        return
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if there == identity:
        return
    there = there if isinstance(there, dict) else {}
    differ = [key for key in {**identity, **there} if there.get(key) != identity.get(key)]
    told = ", ".join(f"{key} ({there.get(key)} there, {identity.get(key)} here)" for key in differ)
    raise UserError(f"{folder} holds another study, which differs in {told}; choose another --out")


def _lock(file: IO[bytes], folder: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"{folder} is being written by another process; wait for it, or choose another --out") from None
    except OSError:
        return  # a file system without locks


def _parse(text: str, path: Path, first_seed: int) -> list[ChipRow]:
    lines = text.splitlines()
    if lines and lines[0] + "\n" != _HEADER:
        raise UserError(f"{path} has other columns than this version writes; delete its folder to begin anew")
    rows = []
    for k, line in enumerate(lines[1:]):
        try:
            row = ChipRow.parse(line)
            if row.seed != first_seed + k:
                raise ValueError(f"seed {row.seed} where {first_seed + k} belongs")
        except ValueError as error:
            raise UserError(f"{path} is damaged in line {k + 2}: {error}; delete its folder to begin anew") from None
        rows.append(row)
    return rows
