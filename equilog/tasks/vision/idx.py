"""Read IDX files, the format of MNIST and its relatives (yann.lecun.com), plain or gzipped."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equilog.names import UserError

_UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the array of an IDX file of unsigned bytes.

    Raises:
        UserError: if the file cannot be read, is not IDX, is truncated or has bytes left over.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except (EOFError, zlib.error) as error:
        raise UserError(f"{path}: damaged gzip file ({error})") from None
    if len(content) < 4 or content[:2] != b"\x00\x00":
        raise UserError(f"{path} is not an IDX file: it begins with {content[:4].hex() or 'nothing'}")
    if content[2] != _UNSIGNED_BYTE:
        raise UserError(f"{path}: IDX data type 0x{content[2]:02x}, expected 0x08 (unsigned byte)")
    rank = content[3]
    header = 4 + 4 * rank
    if rank < 1 or len(content) < header:
        raise UserError(f"{path}: truncated within the IDX header")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", count=rank, offset=4))
    expected, got = header + int(np.prod(shape, dtype=object)), len(content)
    if got != expected:
        raise UserError(f"{path}: {got} bytes, but shape {shape} needs {expected}")
    try:
        return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
    except ValueError:
        raise UserError(f"{path}: no array can have the shape {shape} that the header states") from None
