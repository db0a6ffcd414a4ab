"""Real inputs in rotation, cut into batches before any clock runs; one .npy file, or a folder with one per input."""

from __future__ import annotations

import os
from typing import List, Sequence

import numpy as np

from ..runtime.session import Port


def samples(path: str) -> List[np.ndarray]:
    """Return one array (N, ...) per engine input, mapped from the disk.

    `path` is an .npy file, or a folder of them, one per engine input and sorted by name (`0-ids.npy`, `1-mask.npy`).
    Raises ValueError when a folder holds none, or the files differ in N.
    """
    files = [path]
    if os.path.isdir(path):
        files = [os.path.join(path, name) for name in sorted(os.listdir(path)) if name.endswith(".npy")]
        if not files:
            raise ValueError("the folder {} holds no .npy file; one per engine input is needed".format(path))
    arrays = [np.load(file, mmap_mode="r", allow_pickle=False) for file in files]
    for file, array in zip(files, arrays):
        if array.ndim == 0 or len(array) != len(arrays[0]):
            given = "no sample axis" if array.ndim == 0 else "{} samples".format(len(array))
            raise ValueError("{} has {}, {} has shape {}".format(file, given, files[0], arrays[0].shape))
    return arrays


def rotation(path: str, batch: int, limit: int = 64) -> List[List[np.ndarray]]:
    """Return up to `limit` batches, each a list of arrays (batch, ...), one per engine input, dtypes as they are.

    Raises ValueError when there are fewer samples than one batch, and what `samples` raises.
    """
    arrays = samples(path)
    count = min(len(arrays[0]) // batch, limit)
    if count == 0:
        raise ValueError("{} holds {} samples, one batch of {} is needed".format(path, len(arrays[0]), batch))
    return [[np.ascontiguousarray(a[i * batch : (i + 1) * batch]) for a in arrays] for i in range(count)]


def refuse_misfit(arrays: Sequence[np.ndarray], ports: Sequence[Port]) -> None:
    """Raise ValueError when there are not as many arrays as inputs, or one has another dtype: nothing is converted."""
    if len(arrays) != len(ports):
        names = ", ".join("'{}'".format(port.name) for port in ports)
        raise ValueError(
            "the engine takes {} inputs ({}), {} were given; put one .npy file per input into a folder".format(
                len(ports), names, len(arrays)
            )
        )
    for array, port in zip(arrays, ports):
        if array.dtype != np.dtype(port.dtype):
            raise ValueError(
                "input '{}' was given as {}, the engine wants {}; convert the file".format(
                    port.name, array.dtype, port.dtype
                )
            )
