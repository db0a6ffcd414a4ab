"""Real inputs in rotation, cut into batches before any clock runs."""

from __future__ import annotations

from typing import List

import numpy as np


def rotation(path: str, batch: int, limit: int = 64) -> List[np.ndarray]:
    """Return up to `limit` batches of an .npy file of shape (N, ...); raises ValueError when N is below one batch."""
    images = np.load(path, mmap_mode="r", allow_pickle=False)
    count = min(len(images) // batch, limit)
    if count == 0:
        raise ValueError("{} holds {} samples, one batch of {} is needed".format(path, len(images), batch))
    return [np.ascontiguousarray(images[i * batch : (i + 1) * batch]) for i in range(count)]
