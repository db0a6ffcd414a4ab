"""What workers are asked to do in tests: everything a process says to another goes by files."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

from edgekd.errors import UsageError
from edgekd.search import executor
from edgekd.search.executor import Job

PATIENCE_S = 60.0


def wait_for(path: Path) -> None:
    """Wait until a file is there."""
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.02)


def squared(number: int) -> int:
    return number**2


def met(folder: Path, mine: str, other: str) -> int:
    """Return this process's id once another job, which waits for this one, has begun."""
    (folder / mine).touch()
    wait_for(folder / other)
    return os.getpid()


def waits(path: Path) -> str:
    wait_for(path)
    return path.name


def refuses(what: str) -> None:
    raise UsageError(f"there is no {what}", what)


def lacks_a_package(*_: object) -> None:
    raise ModuleNotFoundError("No module named 'edgekd'")


def fails_unreadably() -> None:
    error = RuntimeError("the lock is taken")
    error.lock = threading.Lock()  # type: ignore[attr-defined]  # nothing that pickle can write
    raise error


def returns_what_cannot_be_sent() -> object:
    return threading.Lock()


def dies(folder: Path, times: int) -> int:
    """Return how often this was tried; end the worker as the kernel would, so many times."""
    (folder / f"try-{os.getpid()}").touch()
    tries = len(list(folder.glob("try-*")))
    if tries <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return tries


def threads() -> int:
    import torch

    return torch.get_num_threads()


def told_threads() -> str:
    return os.environ["OMP_NUM_THREADS"]


def stays(folder: Path, name: str) -> None:
    """Leave this process's id in a file, and stay."""
    unfinished = folder / f"{name}.unfinished"
    unfinished.write_text(str(os.getpid()))
    unfinished.rename(folder / name)
    time.sleep(600)


def drive(kind: str, folder: Path) -> None:
    """Be a search whose two workers stay."""
    with executor.create(kind, {}, 2) as workers:
        for _ in workers.results([Job("a", stays, (folder, "a")), Job("b", stays, (folder, "b"))]):
            pass
