"""Put small files into a folder, a zip or a tar archive."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path


def in_folder(place: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return place


def in_zip(place: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(place, "w") as made:
        for name, content in files.items():
            made.writestr(name, content)
    return place


def in_tar(place: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(place, "w:gz" if place.suffix == ".gz" else "w") as made:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return place
