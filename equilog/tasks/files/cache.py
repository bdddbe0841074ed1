"""What was decoded, kept in the user's cache directory as .npy: decoding 60,000 pictures takes longer than an epoch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equilog.tasks.damage import Skipped

Arrays = dict[str, NDArray[np.generic]]
VERSION = 2
"""of what readers make of the same files; another number forgets everything decoded before"""
_ABOUT = "about.json"


def cached(identity: str, what: str, skipped: Skipped, make: Callable[[Skipped], Arrays]) -> Arrays:
    """Return arrays by name, decoded now or at an earlier call for the same files.

    Args:
        identity: of the files, see :meth:`~equilog.tasks.files.store.Store.identity`.
        what: is made of them: reader, split and size.
        skipped: takes the samples left out, of an earlier call too.
        make: decodes; is given where to count what it leaves out.
    """
    root = _root()
    if root is None:
        return make(skipped)
    key = hashlib.sha256(json.dumps([VERSION, identity, what, skipped.on_damage]).encode()).hexdigest()[:32]
    folder = root / key
    found = _read(folder)
    if found is None:
        own = Skipped(skipped.on_damage)
        found = make(own), own.counts
        _write(folder, *found)
    arrays, counts = found
    skipped.take(counts)
    return arrays


def _root() -> Path | None:
    """Where arrays are kept; None without pooch, which knows where caches belong."""
    try:
        import pooch  # noqa: PLC0415  (an optional extra)
    except ImportError:
        return None
    return Path(pooch.os_cache("equilog")) / "decoded"


def _read(folder: Path) -> tuple[Arrays, dict[str, int]] | None:
    try:
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        arrays = {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in about["arrays"]}
        counts = {str(reason): int(count) for reason, count in about["skipped"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError):
        return None  # nothing there, or not whole: it is made again
    return arrays, counts


def _write(folder: Path, arrays: Arrays, counts: dict[str, int]) -> None:
    """Write beside and rename: two runs at once never see half of it. A full or read-only disk is no reason to stop."""
    made = None
    with contextlib.suppress(OSError):
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".making-"))
        for name, array in arrays.items():
            np.save(made / f"{name}.npy", array, allow_pickle=False)
        (made / _ABOUT).write_text(json.dumps({"arrays": list(arrays), "skipped": counts}), encoding="utf-8")
        if folder.exists():  # what lies there could not be read
            shutil.rmtree(folder)
        os.replace(made, folder)
        made = None
    if made is not None:
        shutil.rmtree(made, ignore_errors=True)
