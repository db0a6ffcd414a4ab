"""Starts the device package on another machine, by the system's ssh client; nothing listens on the device.

The user's ssh configuration, agent and known hosts hold; host keys are verified. The zipapp goes to the user's cache on
the device, once for every digest; engines and inputs go to a folder of the session, which is removed at the end. A
process there is killed with the connection it came by.
"""

from __future__ import annotations

import logging
import shlex
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from edgekd.artifact import digest_of_path
from edgekd.connection.child import ENDED, Child, Faults
from edgekd.connection.connection import Connection, local, pack
from edgekd.connection.device import Device
from edgekd.connection.line import AGAIN, COPY_S, QUICK_S, Line
from edgekd.connection.lock import WAIT_S, WAITING
from edgekd.disk import scratch, whole_file
from edgekd.errors import EdgekdError, MeasurementError, TargetError
from edgekd.schema import digest_of

log = logging.getLogger("edgekd")

BEAT_S, PATIENCE_S = 10.0, 60
"""How often the holder of a device's lock hears that the measurement goes on, and how long it waits to hear it."""


@contextmanager
def remote(device: Device) -> Iterator[Connection]:
    """Yield a connection to a device; raises TargetError with one sentence where that cannot be."""
    line = Line(device)
    hello = line.hello()
    session = f"{hello['cache']}/sessions/{uuid4().hex}"
    with scratch("edgekd-device") as folder:
        archive = line.pushed(pack(folder / "edgekd-device.pyz"), hello)
        try:
            yield RemoteConnection(line, archive, session, int(hello["free"]))
        finally:
            line.run(f"rm -rf {shlex.quote(session)}", quiet=True)


def at(device: Device | None) -> AbstractContextManager[Connection]:
    """Return a connection to a device, or to this machine where none is given."""
    return local() if device is None else remote(device)


class RemoteConnection(Connection):
    """A device at the other end of a line."""

    is_here = False

    def __init__(self, line: Line, archive: str, session: str, free: int) -> None:
        super().__init__(line.command(f"exec {shlex.quote(line.device.python)} {shlex.quote(archive)}"), _Faults(line))
        self.name = f"the device {line.device.address}"
        self._line, self._session, self._free = line, session, free
        self._sent: dict[str, str] = {}
        self._useless: list[str] = []
        self._sending = threading.Lock()
        self._identity: dict[str, Any] = {}

    def probe(self) -> dict[str, Any]:
        """Return what the device says of itself; every time by a process of its own, which has done nothing else."""
        with self.start("the probe") as child:
            found = child.ask({"verb": "probe"}, QUICK_S)
        found.pop("ok")
        self._identity = found
        return found

    def has(self, runtime: str) -> bool:
        """Return whether a runtime is installed there."""
        return runtime.replace("-", "_") in self._known()["versions"]

    def cores(self) -> int:
        """Return how many cores a process may run on there."""
        found = self._known()
        return len(found["state"]["affinity"] or ()) or int(found["cores"] or 1)

    @contextmanager
    def locked(self, timeout_s: float = WAIT_S) -> Iterator[None]:
        """Hold the device's measurement lock, by a process there that ends when it hears nothing from here any more.

        Raises TargetError when it is not free within `timeout_s`, or was lost before the end.
        """
        with self.start("the lock") as child:
            self._acquire(child, timeout_s)
            over = threading.Event()
            lost: list[EdgekdError] = []
            beating = threading.Thread(target=_beat, args=(child, over, lost), daemon=True)
            beating.start()
            try:
                yield
            finally:
                over.set()
                beating.join()
            if lost:
                raise lost[0]

    def _acquire(self, child: Child, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        asked = {"verb": "lock", "patience_s": PATIENCE_S}
        held = child.ask({**asked, "wait_s": 0}, QUICK_S)["held"]
        if not held and timeout_s > 0:
            log.info(WAITING, self.name)
        while not held and time.monotonic() < deadline:
            wait_s = min(BEAT_S, max(deadline - time.monotonic(), 0))
            held = child.ask({**asked, "wait_s": wait_s}, QUICK_S)["held"]
        if not held:
            raise TargetError(
                f"{self.name} is in use: another measurement goes on there, and two at a time would measure each "
                "other; give the same command again when it has ended"
            )

    def sent(self, path: Path, parts: Sequence[Path] = ()) -> str:
        """Return the path on the device of a copy of a file or folder; equal ones are copied once."""
        files = [file for file in (path.rglob("*") if path.is_dir() else parts or (path,)) if file.is_file()]
        digest = digest_of([path.name, digest_of_path(path), *map(digest_of_path, parts)])
        with self._sending:
            if digest not in self._sent:
                size = sum(map(_size, files))
                self._free -= self._line.refuse_full(size, self._free)
                folder = f"{self._session}/{digest[:16]}"
                self._line.copied([path] if path.is_dir() else files, folder, instead_of=self._useless)
                self._useless = []
                self._sent[digest] = f"{folder}/{path.name}"
            return self._sent[digest]

    def dropped(self, path: Path) -> None:
        """Let what was sent of a file or folder make room for the next that is."""
        digest = digest_of([path.name, digest_of_path(path)])
        with self._sending:
            there = self._sent.pop(digest, None)
            if there is not None:
                self._useless.append(there.rpartition("/")[0])
                self._free += _size(path)

    @contextmanager
    def receiving(self, path: Path) -> Iterator[str]:
        """Yield the path a process there writes a file to; after that the file is at `path`."""
        there = f"{self._session}/{uuid4().hex}/{path.name}"
        yield there
        with whole_file(path) as unfinished:
            self._line.run(f"cat {shlex.quote(there)}", seconds=COPY_S, into=unfinished)

    def refuse_large(self, size_mb: float, what: str) -> None:
        """Raise TargetError where so much cannot be in the memory of the device."""
        memory_mb = self._known()["memory_mb"]
        if memory_mb is not None and size_mb > memory_mb:
            raise TargetError(f"{what} is {size_mb:.0f} MB, and {self.name} has {memory_mb:.0f} MB of memory")

    def _known(self) -> dict[str, Any]:
        return self._identity or self.probe()


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())


def _beat(child: Child, over: threading.Event, lost: list[EdgekdError]) -> None:
    """Let the holder of a lock hear from here until it is over."""
    while not over.wait(BEAT_S):
        try:
            child.ask({"verb": "lock", "patience_s": PATIENCE_S}, QUICK_S)
        except EdgekdError as error:
            lost.append(error)
            return


class _Faults(Faults):
    """Whatever keeps a device from answering, the run here can go on when it answers again."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def failed(self, label: str, what: str, code: int, said: str) -> EdgekdError:
        """Return the error for a process that ended, gave no answer or wrote no JSON."""
        found = self._line.explained(code, said) if what == ENDED else None
        told = f"; its last words: {said}" if said else ""
        how = f" with exit status {code}" if what == ENDED else ""
        return found or self._line.error(f"failed: the process of {label} {what}{how}{told}; {AGAIN}")

    def refused(self, label: str, kind: str, said: str) -> EdgekdError:
        """Return the error for a request that ended in an exception there."""
        if kind in {"ImportError", "ModuleNotFoundError"}:
            return self._line.error(f"cannot run {label}: {said}")
        if kind == "MemoryError":
            return self._line.error(f"has too little memory for {label}: {said}; {AGAIN}")
        if kind == "OSError":
            return self._line.explained(0, said) or self._line.error(f"failed at {label}: {said}; {AGAIN}")
        return MeasurementError(f"the measuring process of {label} refused: {said}")
