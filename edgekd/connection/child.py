"""One process of the device package: JSON lines through pipes, each answer within a time limit."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import Any, Self

from edgekd.errors import EdgekdError, MeasurementError, ResourceError, TargetError

PROTOCOL = 1
START_TIMEOUT_S = 60.0
ENDED = "ended"


class Faults:
    """How it is told that a process failed; that of a process on this machine."""

    def failed(self, label: str, what: str, code: int, said: str) -> EdgekdError:
        """Return the error for a process that `what`: ended with `code`, gave no answer or wrote no JSON."""
        how = f" (exit status {code})" if what == ENDED else ""
        return MeasurementError(f"the measuring process of {label} {what}{how}; its last words: {said or 'none'}")

    def refused(self, label: str, kind: str, said: str) -> EdgekdError:
        """Return the error for a request that ended in an exception there, of that kind."""
        kinds = {"ImportError": TargetError, "ModuleNotFoundError": TargetError, "MemoryError": ResourceError}
        return kinds.get(kind, MeasurementError)(f"the measuring process of {label} refused: {said}")


class Child:
    """One process of the device package. Used as a context manager it is gone at the end, whatever happened."""

    def __init__(self, command: Sequence[str], label: str, faults: Faults | None = None) -> None:
        self.label = label
        self._faults = faults or Faults()
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
                f"the measuring process of {self.label} speaks protocol {greeting.get('protocol')}, not {PROTOCOL}"
            )
        self._greeted = True

    def ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send one request and return its answer.

        Raises MeasurementError with the last words of the process when it died, was silent for `timeout_s` or refused,
        TargetError when it lacks the runtime or was one on a device, ResourceError when its memory did not suffice.
        """
        self.greet()
        try:
            os.write(self._stdin, json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            raise self._fault(ENDED) from None
        answer = self._receive(timeout_s)
        if not answer.get("ok"):
            raise self._faults.refused(self.label, str(answer.get("kind")), str(answer.get("error")))
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
                    raise self._fault(ENDED)
                self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        try:
            answer = json.loads(line)
        except ValueError:
            raise self._fault(f"wrote no JSON but {line[:200]!r}") from None
        return dict(answer)

    def _fault(self, what: str) -> EdgekdError:
        if what == ENDED:
            self._process.wait()
        self._process.kill()
        return self._faults.failed(self.label, what, self._process.wait(), self._tail())

    def _tail(self, size: int = 1500) -> str:
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(self._errors.tell() - size, 0))
        return self._errors.read().decode(errors="replace").strip()
