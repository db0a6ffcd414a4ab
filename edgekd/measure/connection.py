"""Starts the device package in a process of its own and talks to it: JSON lines through pipes, with a time limit."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from edgekd.disk import scratch
from edgekd.errors import EdgekdError, MeasurementError, ResourceError, TargetError

Given = TypeVar("Given")
Found = TypeVar("Found")

PROTOCOL = 1
START_TIMEOUT_S = 60.0
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


Explained = Callable[[int, str], EdgekdError | None]
"""What is to be said of an exit status and the last words before it, None for nothing better than them."""


class Connection:
    """A place where the device package can be started, by a command whose pipes lead to it."""

    def __init__(self, command: Sequence[str], explained: Explained | None = None) -> None:
        self._command = tuple(command)
        self._explained = explained
        self._started: list[Child] = []

    def sent(self, path: Path) -> str:
        """Return the path by which the processes started here find a file or folder."""
        return str(path.resolve())

    def start(self, label: str) -> Child:
        """Start one fresh process; `label` names it in messages. Its greeting is awaited by the first `ask`."""
        child = Child(self._command, label, self._explained)
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


class Child:
    """One process of the device package. Used as a context manager it is gone at the end, whatever happened."""

    def __init__(self, command: Sequence[str], label: str, explained: Explained | None = None) -> None:
        self.label = label
        self._explained = explained
        self._greeted = False
        self._pending = b""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=0,
                start_new_session=True,  # an interrupt at the terminal is for the parent, which ends its children
            )
        except OSError as error:
            self._errors.close()
            raise TargetError(f"the measuring process of {label} cannot be started: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def greet(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until the process is up; raises TargetError when it speaks another protocol."""
        if self._greeted:
            return
        greeting = self._receive(timeout_s)
        if greeting.get("protocol") != PROTOCOL:
            raise TargetError(
                f"the measuring process of {self.label} speaks protocol {greeting.get('protocol')}, not 1"
            )
        self._greeted = True

    def ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send one request and return its answer.

        Raises MeasurementError with the last words of the process when it died, was silent for `timeout_s` or refused,
        TargetError when it lacks the runtime, ResourceError when its memory did not suffice.
        """
        self.greet()
        try:
            os.write(self._stdin, json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            raise self._fault("ended") from None
        answer = self._receive(timeout_s)
        if not answer.get("ok"):
            raise self._refusal(answer)
        return answer

    def kill(self) -> None:
        """End the process at once; whoever waits for its answer hears that it ended."""
        self._process.kill()

    def close(self) -> None:
        """End the process: politely, then not."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=1 if self._greeted else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._errors.close()

    @property
    def _stdin(self) -> int:
        if self._process.stdin is None or self._process.stdin.closed:
            raise MeasurementError(f"the measuring process of {self.label} was closed")
        return self._process.stdin.fileno()

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        stdout = self._process.stdout
        deadline = time.monotonic() + timeout_s
        if stdout is None:
            raise self._fault("has no output")
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if not selector.select(max(deadline - time.monotonic(), 0)):
                    raise self._fault(f"gave no answer for {timeout_s:g} s")
                chunk = os.read(stdout.fileno(), 1 << 20)
                if not chunk:
                    raise self._fault("ended")
                self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        try:
            answer = json.loads(line)
        except ValueError:
            raise self._fault(f"wrote no JSON but {line[:200]!r}") from None
        return dict(answer)

    def _fault(self, what: str) -> EdgekdError:
        ended = self._process.poll() if what != "ended" else self._process.wait()
        self._process.kill()
        code = self._process.wait()
        better = self._explained(code, self._tail()) if self._explained and ended is not None else None
        if better is not None:
            return better
        how = f" (exit status {code})" if what == "ended" else ""
        return MeasurementError(f"the measuring process of {self.label} {what}{how}; its last words: {self._tail()}")

    def _refusal(self, answer: dict[str, Any]) -> EdgekdError:
        kinds = {"ImportError": TargetError, "ModuleNotFoundError": TargetError, "MemoryError": ResourceError}
        kind: type[EdgekdError] = kinds.get(str(answer.get("kind")), MeasurementError)
        return kind(f"the measuring process of {self.label} refused: {answer.get('error')}")

    def _tail(self, size: int = 1500) -> str:
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(self._errors.tell() - size, 0))
        return self._errors.read().decode(errors="replace").strip() or "none"
