"""IDX files are read completely or refused with a reason, plain or gzipped."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from equilog.names import UserError
from equilog.tasks.vision.idx import read_idx

arrays = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))


def idx_bytes(array, kind=8):
    head = bytes([0, 0, kind, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape)
    return head + array.astype(np.uint8).tobytes()


def read(tmp_path, content):
    path = tmp_path / "file-ubyte"
    path.write_bytes(content)
    return read_idx(path)


def refusal(tmp_path, content):
    with pytest.raises(UserError) as error:
        read(tmp_path, content)
    assert "file-ubyte" in str(error.value)
    return str(error.value)


@given(arrays, st.booleans())
def test_what_is_written_is_read(tmp_path, array, zipped):
    content = idx_bytes(array)
    found = read(tmp_path, gzip.compress(content) if zipped else content)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array)


@given(arrays.filter(lambda a: a.size > 0), st.data())
def test_truncated_anywhere_is_refused(tmp_path, array, data):
    content = idx_bytes(array)
    refusal(tmp_path, content[: data.draw(st.integers(0, len(content) - 1))])


@given(arrays, st.binary(min_size=1, max_size=9))
def test_bytes_left_over_are_refused(tmp_path, array, extra):
    assert "needs" in refusal(tmp_path, idx_bytes(array) + extra)


@given(st.binary(max_size=60).filter(lambda b: b[:3] != b"\0\0\x08"))
def test_garbage_is_refused(tmp_path, content):
    refusal(tmp_path, content)


@given(arrays, st.data())
def test_damaged_gzip_is_refused(tmp_path, array, data):
    content = gzip.compress(idx_bytes(array))
    refusal(tmp_path, content[: data.draw(st.integers(2, len(content) - 1))])


def test_flipped_bit_in_gzip_is_refused(tmp_path):
    content = bytearray(gzip.compress(idx_bytes(np.arange(200, dtype=np.uint8))))
    content[-6] ^= 0x40  # checksum
    refusal(tmp_path, bytes(content))


def test_empty_file(tmp_path):
    assert "begins with nothing" in refusal(tmp_path, b"")


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_idx(tmp_path / "none")


@pytest.mark.parametrize("kind", [0x09, 0x0B, 0x0C, 0x0D, 0x0E, 0xFF])
def test_other_types_are_named(tmp_path, kind):
    assert f"0x{kind:02x}" in refusal(tmp_path, idx_bytes(np.zeros(3), kind))


def test_no_dimensions(tmp_path):
    assert "truncated" in refusal(tmp_path, bytes([0, 0, 8, 0]))


@pytest.mark.parametrize("shape", [[1] * 70, [2**32 - 1, 2**32 - 1, 0]], ids=["seventy dimensions", "absurd and empty"])
def test_shapes_beyond_any_array_are_refused(tmp_path, shape):
    head = bytes([0, 0, 8, len(shape)]) + b"".join(struct.pack(">I", n) for n in shape)
    refusal(tmp_path, head + b"\0" * int(np.prod(shape, dtype=object)))


def test_the_format_by_hand(tmp_path):
    content = bytes.fromhex("00000802 00000002 00000003 010203 040506")
    np.testing.assert_array_equal(read(tmp_path, content), [[1, 2, 3], [4, 5, 6]])
