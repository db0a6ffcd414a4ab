"""The IDX file format of MNIST and its descendants: a header of big-endian sizes, then bytes."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import UsageError


def read(path: Path) -> NDArray[np.uint8]:
    """Return the array of a gzipped IDX file of unsigned bytes; raises UsageError when it is damaged."""
    try:
        return parse(gzip.decompress(path.read_bytes()), str(path))
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path}: cannot be read as a gzipped IDX file: {error}") from error


def parse(data: bytes, where: str) -> NDArray[np.uint8]:
    """Return the array in the bytes of an IDX file of unsigned bytes; raises UsageError when they are damaged."""
    if len(data) < 4 or data[:3] != b"\x00\x00\x08" or len(data) < 4 + 4 * data[3]:
        raise UsageError(f"{where}: not an IDX file of unsigned bytes")
    shape = struct.unpack(f">{data[3]}I", data[4 : 4 + 4 * data[3]])
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])
    if values.size != int(np.prod(shape)):
        raise UsageError(f"{where}: holds {values.size} bytes where its header says {shape}")
    return values.reshape(shape)
