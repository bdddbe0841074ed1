"""Read the devkit of PASCAL VOC (Everingham et al. 2010): masks, and boxes in XML.

``ImageSets/Segmentation/<split>.txt`` or ``ImageSets/Main/<split>.txt`` list ids; of each id there are
``JPEGImages/<id>.jpg``, ``SegmentationClass/<id>.png``, a palette image whose indices are classes, 0 background and 255
void, and ``Annotations/<id>.xml`` with boxes whose corners count pixels from 1, both included.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from equilog.names import UserError, nearest
from equilog.tasks.damage import DUPLICATE, MISSING_IMAGE, UNKNOWN_CLASS, DamagedError, Skipped
from equilog.tasks.files.cache import cached
from equilog.tasks.files.store import Store
from equilog.tasks.vision.boxes import Annotated, annotated, checked_box
from equilog.tasks.vision.decode import decode, resized

VOID = 255
CLASSES = (
    "background",
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
MISSING_MASK, MISSING_XML = "missing mask", "missing annotation"
OTHER_SIZE = "mask of another size than its image"
NO_NAME = "id that is no file name"
MALFORMED = "malformed annotation"


def read_masks(
    store: Store, split: str, size: tuple[int, int], skipped: Skipped
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return pictures ``(n, 3, height, width)`` and masks ``(n, height, width)`` of a split for segmentation.

    Args:
        store: where the devkit is, at any depth.
        split: "train" or "val".
        size: height and width to resize to: pictures smoothly, masks to the nearest pixel. The aspect is not kept.
        skipped: counts ids with a picture or mask that is missing, damaged or of another size, with classes that there
            are not, or listed twice.

    Raises:
        UserError: for those, by name, where damage is refused; if there is no such split, or nothing left of it.
    """

    def make(count: Skipped) -> dict[str, NDArray[np.generic]]:
        images, masks = _masks(store, split, size, count)
        return {"images": images, "masks": masks}

    arrays = cached(store.identity(), f"VOC masks {split} {size}", skipped, make)
    return arrays["images"], arrays["masks"]  # type: ignore[return-value]


def read_boxes(store: Store, split: str, classes: Sequence[str], skipped: Skipped) -> list[Annotated]:
    """Return the boxes of a split for detection; those marked difficult count as crowd.

    Args:
        store: where the devkit is, at any depth.
        split: as "trainval".
        classes: names in the order of their labels, without background.
        skipped: counts annotations that are missing or malformed, and boxes that are empty, outside or of no class.

    Raises:
        UserError: for those, by name, where damage is refused; if there is no such split.
    """
    root, ids = _listed(store, "Main", split, skipped)
    found = []
    for name in ids:
        file = f"{root}Annotations/{name}.xml"
        try:
            if file not in store:
                raise DamagedError(MISSING_XML)
            found.append(_annotation(store.read(file), f"{name}.jpg", classes, store.where(file), skipped))
        except DamagedError as damage:
            skipped.found(store.where(file), damage)
    return found


def _masks(
    store: Store, split: str, size: tuple[int, int], skipped: Skipped
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    root, ids = _listed(store, "Segmentation", split, skipped)
    images, masks = np.empty((len(ids), 3, *size), np.uint8), np.empty((len(ids), *size), np.uint8)
    count = 0
    for name in ids:
        picture, mask = f"{root}JPEGImages/{name}.jpg", f"{root}SegmentationClass/{name}.png"
        where = picture
        try:
            if picture not in store:
                raise DamagedError(MISSING_IMAGE)
            pixels = decode(store.read(picture), "RGB")
            where = mask
            if mask not in store:
                raise DamagedError(MISSING_MASK)
            classes = decode(store.read(mask), "index")
            _check_mask(classes, pixels.shape[:2])
        except DamagedError as damage:
            skipped.found(store.where(where), damage)
            continue
        images[count] = resized(pixels, size[1], size[0]).transpose(2, 0, 1)
        masks[count] = resized(classes, size[1], size[0], smooth=False)
        count += 1
    if not count:
        raise UserError(f"{store.place}: nothing in split {split!r} can be used ({skipped})")
    return images[:count], masks[:count]


def _check_mask(classes: NDArray[np.uint8], shape: tuple[int, ...]) -> None:
    if classes.shape != shape:
        raise DamagedError(OTHER_SIZE, f"{classes.shape[1]}×{classes.shape[0]}, image {shape[1]}×{shape[0]}")
    unknown = sorted(set(np.unique(classes).tolist()) - set(range(len(CLASSES))) - {VOID})
    if unknown:
        raise DamagedError(UNKNOWN_CLASS, f"{unknown[0]}, expected 0 to {len(CLASSES) - 1}, or {VOID} for void")


def _listed(store: Store, kind: str, split: str, skipped: Skipped) -> tuple[str, list[str]]:
    """Return the devkit's root, "" or with a slash at its end, and the ids of a split."""
    tail = f"ImageSets/{kind}/{split}.txt"
    name = store.ending(tail)
    if name is None:
        raise UserError(f"{store.place} holds no {tail}: expected a VOC devkit, as VOCdevkit/VOC2012")
    where = store.where(name)
    try:
        lines = store.read(name).decode().splitlines()
    except DamagedError as damage:
        raise UserError(f"{where}: {damage}") from None
    except UnicodeDecodeError:
        raise UserError(f"{where} is not text") from None
    found: dict[str, None] = {}
    for number, line in enumerate(lines, 1):
        key = (line.split() or [""])[0]  # lists of a single class have 1 or -1 behind the id
        if not key:
            continue
        try:
            if PurePosixPath(key).parts != (key,) or key == "..":
                raise DamagedError(NO_NAME, repr(key)[:40])
            if key in found:
                raise DamagedError(DUPLICATE, repr(key)[:40])
        except DamagedError as damage:
            skipped.found(f"{where}, line {number}", damage)
            continue
        found[key] = None
    return name.removesuffix(tail), list(found)


def _annotation(content: bytes, file: str, classes: Sequence[str], where: str, skipped: Skipped) -> Annotated:
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise DamagedError(MALFORMED, "a document type, which VOC has none of")  # entities can be made to explode
    try:
        root = ElementTree.fromstring(content)
        width, height = (int(_text(root, f"size/{side}")) for side in ("width", "height"))
    except (ElementTree.ParseError, ValueError) as error:
        raise DamagedError(MALFORMED, str(error)) from None
    if width < 1 or height < 1:
        raise DamagedError(MALFORMED, f"an image of {width}×{height} pixels")
    found = []
    for number, entry in enumerate(root.findall("object")):
        try:
            label = _text(entry, "name")
            if label not in classes:
                raise DamagedError(UNKNOWN_CLASS, f"{label!r}{nearest(label, classes)}")
            left, top, right, bottom = (float(_text(entry, f"bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax"))
            box = checked_box([left - 1, top - 1, right - left + 1, bottom - top + 1], width, height)
            found.append((box, classes.index(label), entry.findtext("difficult", "0").strip() == "1"))
        except ValueError as error:
            skipped.found(f"{where}, object {number}", DamagedError(MALFORMED, str(error)))
        except DamagedError as damage:
            skipped.found(f"{where}, object {number}", damage)
    return annotated(file, width, height, found)


def _text(entry: ElementTree.Element, path: str) -> str:
    found = entry.findtext(path)
    if found is None:
        raise ValueError(f"no {path}")
    return found.strip()
