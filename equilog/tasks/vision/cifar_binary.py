"""Read CIFAR-10 and CIFAR-100 in their official binary version (Krizhevsky 2009, cs.toronto.edu/~kriz/cifar.html).

A file is records without a header: one label byte (CIFAR-10), or a coarse and a fine one (CIFAR-100), then 3072 bytes
of 32×32 pixels, all of red row by row, then green, then blue.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from equilog.tasks.damage import UNKNOWN_CLASS, DamagedError, Skipped

SIDE = 32
PIXELS = 3 * SIDE * SIDE
WRONG_SIZE = "wrong number of bytes"


def read_cifar(
    content: bytes, classes: Sequence[int], where: str, skipped: Skipped
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images ``(n, 3, 32, 32)`` and labels ``(n, label bytes)`` of one file.

    Args:
        content: of the file.
        classes: how many ids each label byte may have: ``(10,)``, or ``(20, 100)`` for coarse and fine.
        where: the file's name in messages.
        skipped: counts records of unknown classes, and a record that is cut off at the end.

    Raises:
        UserError: for those, naming file and record, where damage is refused.
    """
    size = len(classes) + PIXELS
    whole, rest = divmod(len(content), size)
    if rest or not whole:
        detail = (
            f"{len(content)}, expected a multiple of {size} above 0; is it CIFAR of other label bytes, or truncated?"
        )
        skipped.found(where, DamagedError(WRONG_SIZE, detail))
    records = np.frombuffer(content, np.uint8, count=whole * size).reshape(whole, size)
    labels = records[:, : len(classes)].astype(np.int64)
    bad = (labels >= np.asarray(classes)).any(1)
    for index in np.flatnonzero(bad):
        got, most = labels[index].tolist(), [count - 1 for count in classes]
        skipped.found(f"{where}, record {index}", DamagedError(UNKNOWN_CLASS, f"{got}, expected at most {most}"))
    kept = records[~bad] if bad.any() else records
    return kept[:, len(classes) :].reshape(-1, 3, SIDE, SIDE), labels[~bad]
