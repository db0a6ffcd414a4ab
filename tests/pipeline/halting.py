"""Runs edgekd in a process that halts itself at a place of the run, so that no kill hangs on a clock.

`python -m tests.pipeline.halting PLACE FIRST LATEST PAUSE -- compress ...` counts what the process does to the files of
its run folder and its cache while it works at PLACE: in a stage, or in the closing. It stops itself by SIGSTOP right
before event FIRST, or PAUSE seconds after that, but at the latest right before event LATEST.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

CLOSING = "closing"
RAW = Path("measurements") / "measure-0.jsonl"
_EVENTS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"}


@dataclass(frozen=True)
class Halt:
    """Where a run halts."""

    place: str
    first: int
    latest: int
    """What ends a pause that would last too long."""
    pause_s: float

    def command(self, *arguments: str) -> list[str]:
        """Return the command that runs edgekd with these arguments, up to this halt."""
        return [sys.executable, "-m", "tests.pipeline.halting", *map(str, astuple(self)), "--", *arguments]


class Halting(logging.Handler):
    """Listens to what a run says, to know where it is, and to what Python does to files."""

    def __init__(self, halt: Halt, run_folder: Path, cache: Path) -> None:
        super().__init__()
        self._halt = halt
        self._run_folder = run_folder
        self._folders = (str(run_folder), str(cache))
        self._rounds = len(complete_rounds(run_folder))
        self._place = ""
        self._seen = 0
        self._halted = False

    def emit(self, record: logging.LogRecord) -> None:
        """Note the beginning of a stage, and of the closing."""
        subject, _, rest = record.getMessage().partition(" ")
        if rest == "...":
            self._place = subject
        elif subject == "round":
            self._place = CLOSING

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Count an event that is about to happen, and halt when it is time."""
        if self._halted or not (self._writes(event, arguments) and self._is_there()):
            return
        self._seen += 1
        if self._seen >= self._halt.latest or (self._seen == self._halt.first and not self._halt.pause_s):
            self._stop()
        elif self._seen == self._halt.first:
            timer = threading.Timer(self._halt.pause_s, self._stop)
            timer.daemon = True
            timer.start()

    def _writes(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event not in _EVENTS or not isinstance(arguments[0], str | os.PathLike):
            return False
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return False
        return os.fspath(arguments[0]).startswith(self._folders)

    def _is_there(self) -> bool:
        """Say whether an event counts; a stop before another complete round would show nothing of the replay."""
        if self._place != self._halt.place:
            return self._seen >= self._halt.first  # a pause may reach into the next stage
        return self._place != "measure" or self._seen > 0 or len(complete_rounds(self._run_folder)) > self._rounds

    def _stop(self) -> None:
        self._halted = True  # what an interrupt lets it clean up afterwards is no reason to halt again
        os.kill(os.getpid(), signal.SIGSTOP)


def complete_rounds(run_folder: Path) -> bytes:
    """Return the raw log of a run's measurement up to the last complete round."""
    content = (run_folder / RAW).read_bytes() if (run_folder / RAW).is_file() else b""
    lines = content.splitlines(keepends=True)
    ends = [n for n, line in enumerate(lines, 1) if line.startswith(b'{"kind": "machine", "round": ') and b"\n" in line]
    complete = [n for n in ends if b'"round": null' not in lines[n - 1]]
    return b"".join(lines[: complete[-1]]) if complete else b""


def main() -> None:
    """Run the command line behind `--` in this process, as if it had been given alone."""
    from edgekd.cli.main import main as edgekd

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its background jobs ignore it
    place, first, latest, pause_s = sys.argv[1:5]
    sys.argv = ["edgekd", *sys.argv[6:]]
    run_folder = Path(sys.argv[sys.argv.index("--run-folder") + 1])
    halting = Halting(
        Halt(place, int(first), int(latest), float(pause_s)), run_folder, Path(os.environ["EDGEKD_CACHE"])
    )
    logging.getLogger("edgekd").addHandler(halting)
    sys.addaudithook(halting.audit)
    edgekd()


if __name__ == "__main__":
    main()
