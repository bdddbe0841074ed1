"""Decode JPEG and PNG with Pillow, whole or not at all."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from equilog.names import UserError
from equilog.tasks.damage import DamagedError

TRUNCATED = "truncated or unreadable image"
Mode = Literal["RGB", "L", "index"]
_FORMATS = ("JPEG", "PNG")


def decode(content: bytes, mode: Mode) -> NDArray[np.uint8]:
    """Return the pixels of a JPEG or PNG file.

    Args:
        content: of the file.
        mode: "RGB" ``(height, width, 3)``; "L", grey levels ``(height, width)``; "index", what a palette image or a
            greyscale one stores, ``(height, width)``: for masks, whose colours only illustrate.

    Raises:
        DamagedError: if it is no such image or not all of it is there.
        UserError: if Pillow is not installed.
    """
    image = _open(content)
    if mode == "index":
        if image.mode not in ("P", "L"):
            raise DamagedError("mask without a palette", f"colour mode {image.mode}, expected P or L")
        return np.array(image, dtype=np.uint8)
    return np.array(image.convert(mode), dtype=np.uint8)


def resized(pixels: NDArray[np.uint8], width: int, height: int, *, smooth: bool = True) -> NDArray[np.uint8]:
    """Return an image or mask at another size: bilinear with antialiasing, or the nearest pixel."""
    from PIL import Image  # noqa: PLC0415

    how = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    return np.array(Image.fromarray(pixels).resize((width, height), how), dtype=np.uint8)


def _open(content: bytes) -> Any:
    try:
        from PIL import Image  # noqa: PLC0415  (an optional extra, and only images need it)
    except ImportError:
        raise UserError("decoding images needs Pillow: pip install 'equilog[data]'") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=_FORMATS)
            image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DamagedError("image too large", "more pixels than Pillow's limit") from None
    # Pillow raises what its plugins raise: SyntaxError for a broken PNG chunk, struct.error for a short header.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error) as error:
        raise DamagedError(
            TRUNCATED, str(error).replace("<_io.BytesIO object", "<file") or type(error).__name__
        ) from None
    return image
