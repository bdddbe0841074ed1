"""Read pictures that lie in a folder of their class: ``<split>/<class>/<name>.jpg`` or ``.png``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from equilog.names import UserError, nearest
from equilog.tasks.damage import DamagedError, Skipped
from equilog.tasks.files.cache import cached
from equilog.tasks.files.store import Store
from equilog.tasks.vision.decode import decode

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
OTHER_SIZE = "image of another size"
UNKNOWN_CLASS = "unknown class folder"


def has_class_folders(store: Store, splits: Sequence[str] = ("train", "test")) -> bool:
    """Return whether there is a picture in a class of each split."""
    return all(_pictures(store, split) for split in splits)


def read_class_folders(
    store: Store,
    split: str,
    classes: Sequence[str],
    skipped: Skipped,
    *,
    mode: Literal["RGB", "L"] = "RGB",
    size: tuple[int, int] = (32, 32),
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return pictures ``(n, channels, height, width)`` and class indices ``(n,)``.

    They are in the order of file names, then of classes: the first few are of all classes.

    Args:
        store: where the files are; the folder of the split may lie at any depth.
        split: its name, as "train".
        classes: names of class folders in the order of their indices.
        skipped: counts pictures that cannot be decoded, are of another size or in a folder of no class.
        mode: colour, 3 channels, or grey, 1.
        size: height and width that all pictures have.

    Raises:
        UserError: for such pictures, by name, where damage is refused; without any picture that can be used.
    """
    what = f"class folders {split} {list(classes)} {mode} {size}"

    def make(count: Skipped) -> dict[str, NDArray[np.generic]]:
        images, labels = _decoded(store, split, classes, count, mode, size)
        return {"images": images, "labels": labels}

    arrays = cached(store.identity(), what, skipped, make)
    return arrays["images"], arrays["labels"]  # type: ignore[return-value]


def _decoded(
    store: Store, split: str, classes: Sequence[str], skipped: Skipped, mode: Literal["RGB", "L"], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    index = {name: k for k, name in enumerate(classes)}
    names = _pictures(store, split)
    images = np.empty((len(names), 3 if mode == "RGB" else 1, *size), np.uint8)
    labels = np.empty(len(names), np.int64)
    count = 0
    for name in names:
        folder = PurePosixPath(name).parts[-2]
        try:
            if folder not in index:
                raise DamagedError(UNKNOWN_CLASS, f"{folder!r}{nearest(folder, classes)}")
            pixels = decode(store.read(name), mode)
            if pixels.shape[:2] != size:
                raise DamagedError(OTHER_SIZE, f"{pixels.shape[:2]}, expected {size}")
        except DamagedError as damage:
            skipped.found(store.where(name), damage)
            continue
        images[count] = pixels.transpose(2, 0, 1) if mode == "RGB" else pixels
        labels[count] = index[folder]
        count += 1
    if not count:
        raise UserError(
            f"{store.place}: no picture of split {split!r} can be used ({skipped}); expected files as "
            f"{split}/{classes[0]}/name.png"
        )
    return images[:count], labels[:count]


def _pictures(store: Store, split: str) -> list[str]:
    found = []
    for name in store.names:
        path = PurePosixPath(name)
        # Archives made on a Mac carry a hidden twin of every file.
        hidden = path.name.startswith(".") or "__MACOSX" in path.parts
        if len(path.parts) >= 3 and path.parts[-3] == split and path.suffix.lower() in SUFFIXES and not hidden:
            found.append((path.name, name))
    return [name for _, name in sorted(found)]
