"""The measurement lock of this machine, held by this process."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekd.device import lock
from edgekd.errors import MeasurementError

log = logging.getLogger("edgekd")
WAIT_S = 900.0
WAITING = "waiting for another measurement on %s to end"


@contextmanager
def measurement_lock(timeout_s: float = WAIT_S, folder: Path | None = None) -> Iterator[None]:
    """Hold the machine's measurement lock; raises MeasurementError when it is not free within `timeout_s`."""
    place = None if folder is None else str(folder)
    held = lock.hold(0, place)
    if held is None:
        log.info(WAITING, "this machine")
        held = lock.hold(timeout_s, place)
    if held is None:
        raise MeasurementError(
            f"another measurement holds {lock.path(place)}; two at a time would measure each other, wait for it to end"
        )
    try:
        yield
    finally:
        os.close(held)
