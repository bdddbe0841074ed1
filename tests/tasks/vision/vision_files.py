"""Small files in exactly the official formats, to read and to damage."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
from PIL import Image


def pixels(seed: int, height: int = 32, width: int = 32, channels: int = 3) -> np.ndarray:
    """Smooth colours: JPEG keeps them to a few levels."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 256, (4, 4, channels), dtype=np.uint8)
    found = np.array(Image.fromarray(low.squeeze()).resize((width, height), Image.Resampling.BILINEAR))
    return found.reshape(height, width, channels)


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    held = io.BytesIO()
    Image.fromarray(image.squeeze()).save(held, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return held.getvalue()


def mask_png(classes: np.ndarray) -> bytes:
    """A palette image as VOC's: indices are classes, the palette is decoration."""
    image = Image.fromarray(classes.astype(np.uint8), mode="P")
    image.putpalette([(37 * k) % 256 for k in range(768)])
    held = io.BytesIO()
    image.save(held, "PNG")
    return held.getvalue()


def cifar_bytes(images: np.ndarray, *labels: list[int]) -> bytes:
    """Records: label bytes, then all red, all green, all blue."""
    rows = [bytes(ids) + image.tobytes() for image, *ids in zip(images, *labels)]
    return b"".join(rows)


def cifar_images(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def coco(
    images: list[dict[str, Any]], annotations: list[dict[str, Any]], categories: dict[int, str] | None = None
) -> bytes:
    names = categories or {1: "cell", 7: "platelet"}
    kinds = [{"id": key, "name": name, "supercategory": "blood"} for key, name in names.items()]
    return json.dumps({"images": images, "annotations": annotations, "categories": kinds}).encode()


def voc_xml(width: int, height: int, objects: list[tuple[str, tuple[int, int, int, int], int]]) -> bytes:
    """Corners count pixels from 1, both included."""
    entries = "".join(
        f"<object><name>{name}</name><difficult>{hard}</difficult><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin>"
        f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for name, (x0, y0, x1, y1), hard in objects
    )
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation>{size}{entries}</annotation>".encode()
