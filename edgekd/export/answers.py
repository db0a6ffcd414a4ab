"""What a built engine answers where it runs: on this machine, or on the device at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekd.connection.answers import write_answers
from edgekd.connection.connection import Connection
from edgekd.disk import scratch
from edgekd.export.backend import Backend
from edgekd.runtime.session import open_session

Array = NDArray[np.float32]


def answers(backend: Backend, engine: Path, inputs: Array, *, batch: int, connection: Connection | None) -> Array:
    """Return an engine's first output (N, ...) to inputs (N, ...), `batch` of them a call; N is a multiple of it."""
    if connection is None:
        session = open_session(backend.computes_as, str(engine), threads=1, batch=batch)
        return np.concatenate([session.run([part])[0].copy() for part in np.split(inputs, len(inputs) // batch)])
    with scratch("edgekd-parity") as place:
        asked, answered = place / "inputs.npy", place / "outputs.npy"
        np.save(asked, inputs, allow_pickle=False)
        there = connection.sent(engine)
        label = f"{backend.runtime} engine {engine.name}"
        write_answers(connection, label, backend.computes_as, there, asked, destination=answered, batch=batch)
        found: Array = np.load(answered, allow_pickle=False)
        return found
