"""One measurement at a time on a machine: a file lock that the kernel frees when its holder dies."""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekd.errors import MeasurementError

log = logging.getLogger("edgekd")
LOCK_FILE = "edgekd-measurement.lock"


@contextmanager
def measurement_lock(timeout_s: float = 900.0, folder: Path | None = None) -> Iterator[None]:
    """Hold the machine's measurement lock; raises MeasurementError when it is not free within `timeout_s`."""
    path = (folder or Path(tempfile.gettempdir())) / LOCK_FILE
    handle = _open(path)
    try:
        _acquire(handle, path, time.monotonic() + timeout_s)
        yield
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except PermissionError:  # another user's file: a shared lock on a readable file excludes just as well
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    return handle


def _acquire(handle: int, path: Path, deadline: float) -> None:
    told = False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise MeasurementError(
                    f"another measurement holds {path}; two at a time would measure each other, wait for it to end"
                ) from None
            if not told:
                log.info("waiting for another measurement on this machine to end")
                told = True
            time.sleep(0.1)
        else:
            return
