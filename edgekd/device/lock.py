"""One measurement at a time on a machine: a file lock that the kernel frees when its holder dies."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from typing import Any, Dict, Optional

FILE = "edgekd-measurement.lock"
_POLL_S = 0.1


class Lock:
    """The verb `lock`: the process that answers holds the lock until it ends."""

    def __init__(self) -> None:
        self._held: Optional[int] = None

    def step(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Wait for `wait_s` seconds at most; returns whether the lock is `held` now. Asked again it stays as it is."""
        if self._held is None:
            self._held = hold(request.get("wait_s", 0.0))
        return {"held": self._held is not None}


def hold(wait_s: float, folder: Optional[str] = None) -> Optional[int]:
    """Return a descriptor that holds the machine's lock until it is closed; None when it did not become free."""
    handle = _open(path(folder))
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(handle)
                return None
            time.sleep(_POLL_S)
        else:
            return handle


def path(folder: Optional[str] = None) -> str:
    """Return the file that is locked."""
    return os.path.join(folder or tempfile.gettempdir(), FILE)


def _open(place: str) -> int:
    try:
        return os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except PermissionError:  # another user's file: a shared lock on a readable file excludes just as well
        return os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
