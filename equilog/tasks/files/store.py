"""Files of a data set, read alike from a folder, a zip or a tar archive; nothing is ever unpacked to disk."""

from __future__ import annotations

import hashlib
import os
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from equilog.names import UserError
from equilog.tasks.damage import DamagedError

MISSING = "missing file"
UNREADABLE = "unreadable file"
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, NotImplementedError, RuntimeError)


class Store(ABC):
    """Some files by name; names are relative and have forward slashes.

    Attributes:
        place: the folder or archive.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.names = sorted(self._names())
        self._known = frozenset(self.names)

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            DamagedError: if it is not there, or cannot be read.
        """
        if name not in self._known:
            raise DamagedError(MISSING)
        try:
            return self._read(name)
        except OSError as error:
            raise DamagedError(UNREADABLE, error.strerror or str(error)) from None
        except _BROKEN as error:
            raise DamagedError(UNREADABLE, str(error)) from None

    def in_order(self) -> list[str]:
        """Return the names in the order in which files are quickest to read, all of them: that of the archive."""
        return self.names

    def where(self, name: str) -> str:
        """Return what people call a file: the path of folder or archive, and the name within."""
        return f"{self.place}/{name}"

    def ending(self, tail: str) -> str | None:
        """Return the file whose path ends in `tail`, whole components; the one nearest to the top if there are more."""
        parts = PurePosixPath(tail).parts
        found = [name for name in self.names if PurePosixPath(name).parts[-len(parts) :] == parts]
        return min(found, key=lambda name: (name.count("/"), name), default=None)

    def content_of(self, names: Sequence[str], how_to_get: str) -> tuple[str, bytes]:
        """Return a file under the first of its names that is there: what people call it, and its bytes.

        Raises:
            UserError: for a file that is not there or cannot be read.
        """
        found = next((inner for name in names if (inner := self.ending(name))), None)
        if found is None:
            raise UserError(f"{self.place} holds no {' or '.join(names)}; {how_to_get}")
        try:
            return self.where(found), self.read(found)
        except DamagedError as damage:
            raise UserError(f"{self.where(found)}: {damage}") from None

    @abstractmethod
    def identity(self) -> str:
        """Return what changes when the files change: sizes and times of modification, hashed."""

    @abstractmethod
    def _names(self) -> Iterable[str]: ...

    @abstractmethod
    def _read(self, name: str) -> bytes: ...


class FolderStore(Store):
    """A folder and all below it; links out of it are followed as the file system does."""

    def identity(self) -> str:
        """Return a hash over all files' names, sizes and times."""
        return _hash(self.place, (f"{n} {_stamp(self.place / n)}" for n in self.names))

    def _names(self) -> Iterable[str]:
        for folder, _, files in os.walk(self.place):
            inner = Path(folder).relative_to(self.place)
            yield from ((inner / name).as_posix() for name in files)

    def _read(self, name: str) -> bytes:
        return (self.place / name).read_bytes()


class FileStore(FolderStore):
    """One file of a folder.

    Args:
        file: its path.
    """

    def __init__(self, file: Path) -> None:
        self._name = file.name
        super().__init__(file.parent)

    def _names(self) -> Iterable[str]:
        return (self._name,)


class ZipStore(Store):
    """A zip archive."""

    def __init__(self, place: Path) -> None:
        self._zip = zipfile.ZipFile(place)
        super().__init__(place)

    def identity(self) -> str:
        """Return a hash over the archive's path, size and time."""
        return _hash(self.place, [_stamp(self.place)])

    def _names(self) -> Iterable[str]:
        return (info.filename for info in self._zip.infolist() if not info.is_dir())

    def _read(self, name: str) -> bytes:
        return self._zip.read(name)


class TarStore(Store):
    """A tar archive, plain or compressed."""

    def __init__(self, place: Path) -> None:
        self._tar = tarfile.open(place)  # noqa: SIM115  (stays open as long as it is read from)
        # Links within the archive are not followed: a data set has none.
        self._members = {member.name.removeprefix("./"): member for member in self._tar if member.isreg()}
        super().__init__(place)

    def in_order(self) -> list[str]:
        """Return the names in the order of the archive: compressed as a whole, it is unpacked anew for a step back."""
        return list(self._members)

    def identity(self) -> str:
        """Return a hash over the archive's path, size and time."""
        return _hash(self.place, [_stamp(self.place)])

    def _names(self) -> Iterable[str]:
        return self._members

    def _read(self, name: str) -> bytes:
        file = self._tar.extractfile(self._members[name])
        content = b"" if file is None else file.read()
        if len(content) != self._members[name].size:
            raise EOFError("the archive ends within it")
        return content


def open_store(place: Path, archives: Iterable[str] = (), *, files: Iterable[str] = (), hint: str = "") -> Store:
    """Return the files of a folder or an archive, or one file alone.

    Args:
        place: a folder, a .zip, a .tar, .tar.gz, …, or one of `files`.
        archives: names of official archives; a folder that holds one stands for it.
        files: names of files that the set is, each by itself.
        hint: how to get the data, added to the message if nothing is there.

    Raises:
        UserError: if there is no such place, or the archive cannot be read.
    """
    if place.is_dir():
        inner = next((place / name for name in archives if (place / name).is_file()), None)
        if inner is None:
            return FolderStore(place)
        place = inner
    if not place.is_file():
        raise UserError(f"no folder or archive {place}{'; ' + hint if hint else ''}")
    if place.name in files:
        return FileStore(place)
    try:
        if zipfile.is_zipfile(place):
            return ZipStore(place)
        if tarfile.is_tarfile(place):
            return TarStore(place)
    except (OSError, *_BROKEN) as error:
        raise UserError(f"{place}: damaged archive ({error})") from None
    raise UserError(f"{place} is neither a folder nor a zip or tar archive that can be read; it may be truncated")


def _stamp(path: Path) -> str:
    found = path.stat()
    return f"{found.st_size} {found.st_mtime_ns}"


def _hash(place: Path, lines: Iterable[str]) -> str:
    found = hashlib.sha256(str(place.resolve()).encode())
    for line in lines:
        found.update(b"\n" + line.encode("utf-8", "surrogateescape"))
    return found.hexdigest()
