"""One engine and its inputs in rotation, one query after the other: what every figure of a running engine rests on."""

from __future__ import annotations

import time
from typing import Any, Dict, List, Sequence

import numpy as np

from ..runtime.session import Session, import_runtime, open_session
from .inputs import refuse_misfit, rotation

LOOKED_AT = 4
"""How many inputs' outputs are looked at for values that are no numbers."""


class Stream:
    """An open session that has answered once.

    `load_ms` is from the file to a ready, bound session, `first_result_ms` from the file to the first result; importing
    the runtime counts in neither. `finite` says whether all floating outputs of the first few inputs were finite,
    `done` how often the engine was run.
    """

    def __init__(self, request: Dict[str, Any]) -> None:
        self._batches = rotation(request["inputs"], request["batch"])
        self._next = 0
        import_runtime(request["runtime"])
        start = time.perf_counter_ns()
        self.session: Session = open_session(
            request["runtime"], request["engine"], request["threads"], request["batch"], request.get("profile")
        )
        loaded = time.perf_counter_ns() - start
        refuse_misfit(self._batches[0], self.session.inputs)
        start = time.perf_counter_ns()
        results = self.session.run(self._batches[0])
        first = time.perf_counter_ns() - start
        self.load_ms = loaded / 1e6
        self.first_result_ms = (loaded + first) / 1e6
        self.finite = _finite(results)
        for batch in self._batches[1:LOOKED_AT]:
            self.finite = _finite(self.session.run(batch)) and self.finite
        self.done = min(LOOKED_AT, len(self._batches))

    @property
    def count(self) -> int:
        """Return how many batches are in rotation."""
        return len(self._batches)

    def run(self) -> int:
        """Infer once on the next input and return the nanoseconds it took, copies in and out included."""
        arrays = self._turn()
        start = time.perf_counter_ns()
        self.session.run(arrays)
        return time.perf_counter_ns() - start

    def run_plain(self) -> int:
        """Do the same by the runtime's ordinary call, see `Session.run_plain`."""
        arrays = self._turn()
        start = time.perf_counter_ns()
        self.session.run_plain(arrays)
        return time.perf_counter_ns() - start

    def _turn(self) -> List[np.ndarray]:
        arrays = self._batches[self._next]
        self._next = (self._next + 1) % len(self._batches)
        self.done += 1
        return arrays


def _finite(results: Sequence[np.ndarray]) -> bool:
    return all(bool(np.isfinite(result).all()) for result in results if result.dtype.kind == "f")
