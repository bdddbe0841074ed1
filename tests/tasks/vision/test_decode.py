"""Pictures are decoded whole or not at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vision_files import encoded, mask_png, pixels

from equilog.tasks.damage import DamagedError
from equilog.tasks.vision.decode import TRUNCATED, decode


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGB"), ("JPEG", "RGB"), ("PNG", "L"), ("JPEG", "L")])
def test_pictures_are_decoded(kind: str, mode: str) -> None:
    image = pixels(1, 20, 30, 3 if mode == "RGB" else 1)
    found = decode(encoded(image, kind), mode)
    assert found.shape == ((20, 30, 3) if mode == "RGB" else (20, 30))
    gap = np.abs(found.astype(int) - image.reshape(found.shape).astype(int))
    assert gap.max() == 0 if kind == "PNG" else gap.mean() < 6


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@given(cut=st.integers(0, 10_000))
def test_a_picture_cut_anywhere_is_whole_or_refused(kind: str, cut: int) -> None:
    content = encoded(pixels(2), kind)
    whole, cut = decode(content, "RGB"), cut % len(content)
    try:
        found = decode(content[:cut], "RGB")
    except DamagedError:
        return
    assert cut > 0.9 * len(content)  # all pixels were there: only the end mark is missing
    np.testing.assert_array_equal(found, whole)


@given(content=st.binary(max_size=200), head=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"]))
def test_garbage_is_no_picture(content: bytes, head: bytes) -> None:
    with pytest.raises(DamagedError, match=TRUNCATED):
        decode(head + content, "RGB")


def test_a_mask_keeps_its_indices_and_colours_are_refused() -> None:
    classes = np.arange(12).reshape(3, 4) * 20
    np.testing.assert_array_equal(decode(mask_png(classes), "index"), classes)
    with pytest.raises(DamagedError, match="mask without a palette"):
        decode(encoded(pixels(0)), "index")
