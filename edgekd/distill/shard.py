"""A shard of the teacher store: the arrays of some samples as plain bytes, and what they must still be when read.

    00000000/  shard.json  values.bin  indices.bin  counts.bin

A shard appears whole or not at all. Its arrays are little-endian without a header, and are read as memory maps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekd.artifact import digest_of_path
from edgekd.disk import whole_folder
from edgekd.errors import EdgekdError
from edgekd.schema import Schema, read_json, write_json

DESCRIPTION = "shard.json"


class _Array(Schema):
    dtype: str
    shape: tuple[int, ...]
    sha256: str


class Shard(Schema):
    """What a shard holds."""

    schema_version: Literal[1] = 1
    first: int
    samples: int
    shape: tuple[int, ...]
    """Of what the teacher gave for one sample."""
    arrays: dict[str, _Array]


def write(folder: Path, first: int, samples: int, shape: tuple[int, ...], arrays: dict[str, NDArray[Any]]) -> None:
    """Write a shard; raises ResourceError when the disk is full."""
    with whole_folder(folder) as unfinished:
        described = {}
        for name, array in arrays.items():
            plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            path = unfinished / f"{name}.bin"
            path.write_bytes(plain.data)
            described[name] = _Array(dtype=plain.dtype.str, shape=plain.shape, sha256=digest_of_path(path))
        shard = Shard(first=first, samples=samples, shape=shape, arrays=described)
        write_json(shard, unfinished / DESCRIPTION)


def read(folder: Path) -> tuple[Shard, dict[str, NDArray[Any]]] | None:
    """Return a shard and its arrays as memory maps, None when it is not there or not what was written."""
    try:
        shard = read_json(Shard, folder / DESCRIPTION)
        for name, array in shard.arrays.items():
            if digest_of_path(folder / f"{name}.bin") != array.sha256:
                return None
        return shard, {name: _mapped(folder / f"{name}.bin", array) for name, array in shard.arrays.items()}
    except (EdgekdError, OSError, ValueError):
        return None


def _mapped(path: Path, array: _Array) -> NDArray[Any]:
    mapped: NDArray[Any] = np.memmap(path, array.dtype, "r", shape=array.shape)
    return mapped
