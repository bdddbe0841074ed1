"""Official files by checksummed download into the user's cache."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from equilog.names import UserError


def download(name: str, base: str, files: Mapping[str, str], how_to_get: str) -> Path:
    """Return the folder of the cache that holds the files, fetched where they are not there yet.

    Args:
        name: of the data set, and of its folder.
        base: address that files are below.
        files: checksums as pooch takes them, ``md5:…``, by name.
        how_to_get: what the user can do instead.

    Raises:
        UserError: if pooch is not installed or a file cannot be had, saying what to do.
    """
    try:
        import pooch  # noqa: PLC0415  (only needed where the data are not on the machine)
    except ImportError:
        raise UserError(f"{name} is not on this machine; {how_to_get}, or pip install 'equilog[data]'") from None
    store = pooch.create(pooch.os_cache("equilog") / name, base, registry=dict(files), retry_if_failed=1)
    try:
        paths = [store.fetch(file) for file in files]
    except Exception as error:  # pooch passes on whatever its transport raises
        raise UserError(f"{name} is not on this machine and could not be downloaded ({error}); {how_to_get}") from None
    return Path(paths[0]).parent
