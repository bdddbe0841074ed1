"""MNIST: 28×28 handwritten digits (LeCun, Cortes & Burges 1998), from its official IDX files or class folders."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from equilog.tasks.damage import Skipped
from equilog.tasks.files.download import download
from equilog.tasks.files.store import open_store
from equilog.tasks.task import Data
from equilog.tasks.vision.class_folders import has_class_folders, read_class_folders
from equilog.tasks.vision.fashion_mnist import FashionMnist, read_pair
from equilog.tasks.vision.images import random_affine, unit_range

# The authors' page no longer serves the files; these are the same, by their published MD5 sums.
DOWNLOAD = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FILES = {
    "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
}
HOW_TO_GET = f"put the four .gz files of {DOWNLOAD} into a folder and name it with --data"
CLASSES = tuple("0123456789")


class Mnist(FashionMnist):
    """70,000 handwritten digits; the official split, and the model of Fashion-MNIST, which has the same shape."""

    name = "mnist"
    summary = "MNIST, 28×28 handwritten digits, 10 classes"

    def load(self, folder: Path | None = None) -> Data:
        """Return the set from IDX files, from class folders or a zip of them, or by a checksummed download."""
        store = open_store(folder or download(self.name, DOWNLOAD, FILES, HOW_TO_GET), hint=HOW_TO_GET)
        skipped = Skipped(self.on_damage)
        if has_class_folders(store):
            found = (read_class_folders(store, s, CLASSES, skipped, mode="L", size=(28, 28)) for s in ("train", "test"))
            (train_x, train_y), (test_x, test_y) = ((unit_range(x), torch.from_numpy(y)) for x, y in found)
        else:
            train_x, train_y = read_pair(store.place, "train", HOW_TO_GET)
            test_x, test_y = read_pair(store.place, "t10k", HOW_TO_GET)
        return Data(train_x, train_y, test_x, test_y, str(store.place), skipped.counts)

    def augment(self, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Slightly rotated, scaled and shifted digits, as other writers would have written them."""
        return random_affine(x, generator, degrees=14, scale=0.15, shift=0.08), y
