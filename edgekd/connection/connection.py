"""A place where engines run, this machine unless it is another: processes are started and files reach them there."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from edgekd import target
from edgekd.connection.child import Child, Faults
from edgekd.connection.lock import WAIT_S, measurement_lock
from edgekd.device import probe
from edgekd.disk import scratch

Given = TypeVar("Given")
Found = TypeVar("Found")

_MAIN = "from edgekd.device.__main__ import main\n\nmain()\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def pack(archive: Path) -> Path:
    """Write the zipapp of `edgekd/device` and `edgekd/runtime`; the same sources give the same bytes."""
    package = Path(__file__).resolve().parent.parent
    parts = [sorted((package / part).rglob("*.py")) for part in ("device", "runtime")]
    files = [package / "__init__.py", *parts[0], *parts[1]]
    entries = {path.relative_to(package.parent).as_posix(): path.read_bytes() for path in files}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in {**entries, "__main__.py": _MAIN.encode()}.items():
            bundle.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
    return archive


class Connection:
    """Starts the device package by a command whose pipes lead to it; as it stands, on this machine."""

    name = "this machine"
    is_here = True

    def __init__(self, command: Sequence[str], faults: Faults | None = None) -> None:
        self._command = tuple(command)
        self._faults = faults
        self._started: list[Child] = []

    def probe(self) -> dict[str, Any]:
        """Return what the machine is and its present `state`; see edgekd/device/probe.py."""
        return probe.probe()

    def target(self) -> str | None:
        """Return the name of the shipped target the machine is, None when it is none of them."""
        return target.of(self.probe())

    def has(self, runtime: str) -> bool:
        """Return whether a runtime is installed there."""
        return find_spec(runtime) is not None

    def cores(self) -> int:
        """Return how many cores a process may run on there."""
        return usable_cores()

    def locked(self, timeout_s: float = WAIT_S) -> AbstractContextManager[None]:
        """Hold the machine's measurement lock; entering raises when it is not free within `timeout_s`."""
        return measurement_lock(timeout_s)

    def sent(self, path: Path, parts: Sequence[Path] = ()) -> str:
        """Return the path by which the processes started here find a file or folder.

        `parts` are all files it is made of, itself among them, where it is a file that needs others beside it.
        """
        del parts
        return str(path.resolve())

    def dropped(self, path: Path) -> None:
        """Take note that a file or folder that was sent is not needed there any more."""

    def receiving(self, path: Path) -> AbstractContextManager[str]:
        """Yield the path a process started here writes a file to; after that the file is at `path`."""
        return nullcontext(str(path.resolve()))

    def refuse_large(self, size_mb: float, what: str) -> None:
        """Raise TargetError where so much cannot be in the machine's memory; this one says so itself."""

    def start(self, label: str) -> Child:
        """Start one fresh process; `label` names it in messages. Its greeting is awaited by the first `ask`."""
        child = Child(self._command, label, self._faults)
        self._started.append(child)
        return child

    def at_once(self, work: Callable[[Given], Found], items: Iterable[Given], most: int) -> list[Found]:
        """Do something with every item, `most` at a time, and return what came out, in order.

        When one fails or the user interrupts, all processes of this connection are killed: nobody wants to wait for
        the rest.
        """
        with ThreadPoolExecutor(most) as pool:
            futures = [pool.submit(work, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                for future in futures:
                    future.cancel()
                while not all(future.done() for future in futures):
                    for child in self._started:
                        child.kill()
                    wait(futures, timeout=0.1)
                raise


@contextmanager
def local() -> Iterator[Connection]:
    """Yield a connection to this machine, by the interpreter that runs now.

    It packs the zipapp, so that what runs here is what a device would get.
    """
    with scratch("edgekd-device") as folder:
        yield Connection((sys.executable, str(pack(folder / "edgekd-device.pyz"))))


def reached(connection: Connection | None) -> AbstractContextManager[Connection]:
    """Return a context with the connection that is given, else with one to this machine for as long as it lasts."""
    return nullcontext(connection) if connection is not None else local()


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
