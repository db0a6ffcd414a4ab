"""IDX files."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from edgekd.errors import UsageError
from edgekd.train import idx


def encoded(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize("shape", [(7,), (3, 4, 5)])
def test_what_was_written_is_read(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    (tmp_path / "a.gz").write_bytes(gzip.compress(encoded(array)))
    assert np.array_equal(idx.read(tmp_path / "a.gz"), array)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"plain text", "cannot be read as a gzipped IDX file"),
        (gzip.compress(b"\x00\x00\x0d\x01\x00\x00\x00\x01x"), "not an IDX file of unsigned bytes"),
        (gzip.compress(b"\x00\x00\x08\x03\x00"), "not an IDX file of unsigned bytes"),
        (gzip.compress(encoded(np.zeros(9, np.uint8))[:-1]), r"holds 8 bytes where its header says \(9,\)"),
        (gzip.compress(b"x" * 4000)[:-20], "cannot be read as a gzipped IDX file"),
    ],
    ids=["not compressed", "doubles", "half a header", "a byte short", "cut off"],  # gzip notes the time
)
def test_damage_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(UsageError, match=said):
        idx.read(tmp_path / "a.gz")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.gz"):
        idx.read(tmp_path / "absent.gz")
