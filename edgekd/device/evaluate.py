"""What an engine answers: inputs from one .npy file, outputs into another."""

from __future__ import annotations

import os
from typing import Any, Dict

import numpy as np

from ..runtime.session import open_session


def evaluate(request: Dict[str, Any]) -> Dict[str, Any]:
    """Run `engine` over every sample of `inputs` (N, ...) and write its first output (N, ...) to `outputs`.

    The last batch is filled up with repeated samples, so that the engine is never bound to a second shape. The file
    appears complete or not at all.
    """
    images = np.load(request["inputs"], mmap_mode="r", allow_pickle=False)
    if len(images) == 0:
        raise ValueError("{} holds no samples".format(request["inputs"]))
    batch = request["batch"]
    session = open_session(request["runtime"], request["engine"], request["threads"], batch)
    parts = []
    for start in range(0, len(images), batch):
        index = np.arange(start, start + batch)
        result = session.run([images[np.minimum(index, len(images) - 1)]])[0]
        parts.append(result[: len(images) - start].copy())
    outputs = np.concatenate(parts)
    partial = request["outputs"] + ".partial"
    try:
        with open(partial, "wb") as stream:
            np.save(stream, outputs, allow_pickle=False)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, request["outputs"])
    except OSError:  # a full disk: what does not help must not fill it
        if os.path.exists(partial):
            os.remove(partial)
        raise
    return {"samples": len(outputs), "shape": list(outputs.shape)}
