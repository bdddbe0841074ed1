"""Pictures with boxes, whatever format they came in; damaged boxes found the same way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from equilog.names import UserError
from equilog.tasks.damage import MISSING_IMAGE, DamagedError, Skipped
from equilog.tasks.files.store import Store
from equilog.tasks.vision.decode import decode, resized

EMPTY = "empty box"
OUTSIDE = "box outside the image"
NO_BOX = "box that is not four numbers"
OTHER_SIZE = "image of another size than annotated"
TOLERANCE = 1.0
"""pixels that a box may stick out, as annotations are rounded; it is clipped"""


@dataclass(frozen=True)
class Annotated:
    """A picture's boxes.

    Attributes:
        file: of the picture, as the annotation names it.
        width, height: of the picture, pixels.
        boxes: ``(k, 4)``, left, top, width and height in pixels from the picture's top left corner.
        labels: ``(k,)``, class indices.
        crowd: ``(k,)``, whether a box is around many or hard to see: not to be trained on, and no mistake if found.
    """

    file: str
    width: int
    height: int
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]


def checked_box(box: object, width: int, height: int) -> tuple[float, float, float, float]:
    """Return a box within the picture.

    Args:
        box: left, top, width, height.
        width, height: of the picture.

    Raises:
        DamagedError: if it is not four finite numbers, empty, or further outside the picture than rounding explains.
    """
    numbers = box if isinstance(box, list | tuple) else ()
    # A bool is an int in Python, and no coordinate.
    if len(numbers) != 4 or not all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers):
        raise DamagedError(NO_BOX, repr(box)[:60])
    x, y, w, h = map(float, numbers)
    if not all(map(math.isfinite, (x, y, w, h))):
        raise DamagedError(NO_BOX, repr(box)[:60])
    if w <= 0 or h <= 0:
        raise DamagedError(EMPTY, f"{w:g}×{h:g} pixels")
    if min(x, y) < -TOLERANCE or x + w > width + TOLERANCE or y + h > height + TOLERANCE:
        raise DamagedError(OUTSIDE, f"[{x:g}, {y:g}, {w:g}, {h:g}] in {width}×{height} pixels")
    right, bottom = min(x + w, width), min(y + h, height)
    x, y = max(x, 0.0), max(y, 0.0)
    if right <= x or bottom <= y:
        raise DamagedError(OUTSIDE, f"within {TOLERANCE:g} pixel of the border")
    return x, y, right - x, bottom - y


def annotated(
    file: str, width: int, height: int, found: list[tuple[tuple[float, float, float, float], int, bool]]
) -> Annotated:
    """Return a picture's boxes from a list of box, label and crowd."""
    return Annotated(
        file,
        width,
        height,
        np.array([box for box, _, _ in found], np.float64).reshape(-1, 4),
        np.array([label for _, label, _ in found], np.int64),
        np.array([crowd for _, _, crowd in found], np.bool_),
    )


def read_pictures(
    store: Store, items: list[Annotated], folder: str, size: tuple[int, int], skipped: Skipped
) -> tuple[NDArray[np.uint8], list[int]]:
    """Return pictures ``(n, 3, height, width)``, resized, and which items they are of.

    Args:
        store: where the files are.
        items: whose pictures to read.
        folder: that pictures are in, where a name occurs in several.
        size: height and width to resize to; the aspect is not kept.
        skipped: counts pictures that are not there, cannot be decoded or are of another size than annotated.

    Raises:
        UserError: for such a picture, by name, where damage is refused; if none is left.
    """
    files = _by_last(store)
    images = np.empty((len(items), 3, *size), np.uint8)
    kept: list[int] = []
    for index, item in enumerate(items):
        name = _file(files, item.file, folder)
        try:
            if name is None:
                raise DamagedError(MISSING_IMAGE)
            pixels = decode(store.read(name), "RGB")
            if pixels.shape[:2] != (item.height, item.width):
                got = f"{pixels.shape[1]}×{pixels.shape[0]}"
                raise DamagedError(OTHER_SIZE, f"{got}, annotated {item.width}×{item.height}")
        except DamagedError as damage:
            skipped.found(store.where(name or item.file), damage)
            continue
        images[len(kept)] = resized(pixels, size[1], size[0]).transpose(2, 0, 1)
        kept.append(index)
    if not kept:
        raise UserError(f"{store.place}: no picture can be used ({skipped})")
    return images[: len(kept)], kept


def _by_last(store: Store) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in store.names:
        found.setdefault(PurePosixPath(name).name, []).append(name)
    return found


def _file(files: dict[str, list[str]], file: str, folder: str) -> str | None:
    """Return the file whose path ends in `file`; a name that leads elsewhere ends no path."""
    parts = PurePosixPath(file).parts
    ends = [n for n in files.get(parts[-1] if parts else "", []) if PurePosixPath(n).parts[-len(parts) :] == parts]
    beside = [n for n in ends if PurePosixPath(n).parts[-len(parts) - 1 : -len(parts)] == (folder,)]
    return min(beside or ends, key=lambda n: (n.count("/"), n), default=None)
