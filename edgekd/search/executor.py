"""What an executor is: it does independent jobs side by side and hands over every result as it becomes ready."""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from edgekd.errors import EdgekdError, ResourceError
from edgekd.plugins import PluginFolder
from edgekd.schema import Field, Schema, from_mapping

R = TypeVar("R")

TRIES = 3
"""Workers that a job may cost before it is given up."""


@dataclass(frozen=True, eq=False)
class Job(Generic[R]):
    """Work for a worker: a function of a module and its arguments, all of them plain enough to be pickled."""

    title: str
    work: Callable[..., R]
    arguments: tuple[Any, ...] = ()

    def packed(self) -> bytes:
        """Return what `attempt` reads."""
        return pickle.dumps((self.work, self.arguments))


@dataclass(frozen=True)
class Outcome:
    """What has become of a job: what its work returned, or the error that it raised."""

    value: Any = None
    error: Exception | None = None


class Executor(ABC):
    """Does jobs on so many workers, as long as its context lasts; after that no worker is left.

    A worker that dies is replaced and its job is done again from the beginning, so work that takes long resumes by
    itself. A plug-in provides `start`, `ready` and `close`.
    """

    class Config(Schema):
        """Options."""

        threads: int = Field(default=1, ge=1, le=1024, description="threads of torch in each worker")

    config: Config

    def __init__(self, config: Config, workers: int) -> None:
        """Refuse early: raises UsageError where what it needs is not installed. Nothing is started yet."""
        self.config, self.workers = config, workers

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def here(self) -> bool:
        """Return whether jobs are done in this process, as if there were no executor."""
        return False

    def results(self, jobs: Iterable[Job[R]]) -> Iterator[tuple[Job[R], R]]:
        """Yield each job once, with its result, in the order in which they become ready.

        A job is asked for when a worker is free for it, and not before all that was yielded has been dealt with.
        An error of a job is raised here; raises ResourceError for a job that has cost too many workers.
        """
        coming, running = enumerate(jobs), dict[int, Job[R]]()
        while True:
            while len(running) < self.workers and (following := next(coming, None)) is not None:
                number, job = following
                running[number] = job
                self.start(number, job)
            if not running:
                return
            number, outcome = self.ready()
            if outcome.error is not None:
                raise outcome.error
            yield running.pop(number), outcome.value

    @abstractmethod
    def start(self, number: int, job: Job[Any]) -> None:
        """Give a job to a worker that is free; there is one."""

    @abstractmethod
    def ready(self) -> tuple[int, Outcome]:
        """Wait for any of the started jobs, and return its number and what has become of it."""

    @abstractmethod
    def close(self) -> None:
        """End all workers, whatever they do."""


EXECUTORS: PluginFolder[Executor] = PluginFolder("edgekd.search.executors", Executor)  # type: ignore[type-abstract]


def create(name: str, options: dict[str, Any], workers: int) -> Executor:
    """Return an executor; raises UsageError for an unknown name or option and for a package that is missing."""
    kind = EXECUTORS.get(name)
    return kind(from_mapping(kind.Config, options, f"options of executor '{name}'"), workers)


def attempt(packed: bytes, threads: int) -> bytes:
    """Do a job in the worker that this process is; `outcome` reads what it returns, also where the job fails."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for a torch that the job is the first to import
    try:
        work, arguments = pickle.loads(packed)  # noqa: S301 - from the process that started this worker
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
        return pickle.dumps(Outcome(work(*arguments)))
    except Exception as error:
        if not isinstance(error, EdgekdError):
            error.add_note(f"in a worker:\n{traceback.format_exc()}")
        return pickle.dumps(Outcome(error=_portable(error)))


def outcome(answer: bytes) -> Outcome:
    """Return what `attempt` has answered."""
    found: Outcome = pickle.loads(answer)  # noqa: S301 - from a worker of this process
    return found


def given_up(job: Job[Any], how: str) -> ResourceError:
    """Return the error for a job whose last worker ended so."""
    return ResourceError(
        f"'{job.title}' was tried {TRIES} times and its worker died each time (the last: {how}); where memory did not "
        "suffice, fewer workers or a smaller batch need less"
    )


def _portable(error: Exception) -> Exception:
    """Return the error itself if another process can read it, else its words."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - from this process
    except Exception:
        return EdgekdError(f"{type(error).__name__}: {error}")
    return error
