"""What an engine answers: inputs from one .npy file or a folder of them, its first output into another file."""

from __future__ import annotations

import os
from typing import Any, Dict

import numpy as np

from ..runtime.session import open_session
from .inputs import refuse_misfit, samples


def evaluate(request: Dict[str, Any]) -> Dict[str, Any]:
    """Run `engine` over every sample of `inputs` (N, ...) and write its first output (N, ...) to `outputs`.

    The last batch is filled up with repeated samples, so that the engine is never bound to a second shape. The file
    appears complete or not at all.
    """
    images = samples(request["inputs"])
    count = len(images[0])
    if count == 0:
        raise ValueError("{} holds no samples".format(request["inputs"]))
    batch = request["batch"]
    session = open_session(request["runtime"], request["engine"], request["threads"], batch)
    refuse_misfit(images, session.inputs)
    parts = []
    for start in range(0, count, batch):
        index = np.minimum(np.arange(start, start + batch), count - 1)
        result = session.run([array[index] for array in images])[0]
        parts.append(result[: count - start].copy())
    outputs = np.concatenate(parts)
    partial = request["outputs"] + ".partial"
    os.makedirs(os.path.dirname(partial), exist_ok=True)
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
