"""Workers of a Ray cluster: that of RAY_ADDRESS, else one of this machine alone that ends with the search.

Moritz et al. 2018, Ray: A Distributed Framework for Emerging AI Applications. Placing jobs on nodes and replacing
workers that die is Ray's; ours is what a job is, and that all nodes see the same files instead of being sent them.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import platform
import secrets
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from edgekd.disk import scratch
from edgekd.errors import UsageError
from edgekd.search.executor import TRIES, Executor, Job, Outcome, attempt, given_up, outcome

_OBJECT_STORE = 80 * 2**20
"""Bytes; the least that Ray takes. Jobs and results are small, everything large is a file."""
_ANSWERS_IN_S = 10.0
_LONGEST_PLACE = 16
"""Bytes of the folder for temporary files: the sockets that Ray makes below it may have paths of 107."""


class Ray(Executor):
    """Needs the extra `ray`; the nodes of a cluster need the same packages and one file system."""

    def __init__(self, config: Executor.Config, workers: int) -> None:
        super().__init__(config, workers)
        if importlib.util.find_spec("ray") is None:
            raise UsageError(
                "executor 'ray' needs the package 'ray', which is missing; run: pip install 'edgekd[ray]'", "ray"
            )
        self._stack = ExitStack()
        self._work: Any = None
        self._running: dict[Any, tuple[int, Job[Any]]] = {}

    def __enter__(self) -> Self:
        import ray

        with ExitStack() as stack:
            if not ray.is_initialized():  # who has connected before also leaves
                address = os.environ.get("RAY_ADDRESS")
                stack.enter_context(_connected(address) if address else _local(self.workers * self.config.threads))
            self._refuse_small()
            self._work = ray.remote(num_cpus=self.config.threads, max_retries=TRIES - 1)(_attempt_in)
            self._stack = stack.pop_all()
        return self

    def start(self, number: int, job: Job[Any]) -> None:
        """Give a job to the cluster, which does it when a node has a core for it."""
        self._running[self._work.remote(Path.cwd(), job.packed(), self.config.threads)] = number, job

    def ready(self) -> tuple[int, Outcome]:
        """Wait for the cluster; a worker or a node that died is replaced by Ray."""
        import ray

        done = ray.wait(list(self._running), num_returns=1)[0][0]
        number, job = self._running.pop(done)
        try:
            return number, outcome(ray.get(done))
        except ray.exceptions.RayTaskError as error:
            raise UsageError(
                f"executor 'ray': a worker could not begin with '{job.title}': {error.cause}; the nodes of a "
                "Ray cluster need the packages of this machine"
            ) from error
        except ray.exceptions.RayError as error:
            raise given_up(job, type(error).__name__) from error

    def close(self) -> None:
        """Leave the cluster, which ends what was started in it."""
        self._running.clear()
        self._stack.close()

    def _refuse_small(self) -> None:
        """Raise UsageError where a job would wait for ever."""
        import ray

        most = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
        if most < self.config.threads:
            raise UsageError(
                f"executor 'ray': a worker of {self.config.threads} threads was asked for, and the largest node of the "
                f"cluster has {most:g} cores; ask for fewer threads",
                "threads",
            )


def _attempt_in(folder: Path, packed: bytes, threads: int) -> bytes:
    """Do a job on a node, in the folder the search was started in."""
    try:
        os.chdir(folder)
    except OSError as error:
        text = f"the folder {folder} is not on the node {platform.node()} ({error.strerror}); the nodes of a Ray "
        text += "cluster must share one file system, with the folder of the command, the run folder and the cache in it"
        return pickle.dumps(Outcome(error=UsageError(text)))
    return attempt(packed, threads)


@contextmanager
def _connected(address: str) -> Iterator[None]:
    """Take part in a cluster that is there; raises UsageError where none answers."""
    import ray

    try:
        host, _, port = address.rpartition("://")[2].rpartition(":")
        if host:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), _ANSWERS_IN_S).close()
        with _own_signals():
            ray.init(address=address, logging_level="WARNING")
    except (OSError, ValueError) as error:
        raise UsageError(f"RAY_ADDRESS={address}: no Ray cluster answers there: {error}", "ray") from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _local(cores: int) -> Iterator[None]:
    """Start a cluster of this machine, and end it."""
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # edgekd sends nothing, and keeps Ray from sending
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray would leave one in the home folder
    place = Path(tempfile.gettempdir())
    if len(os.fsencode(place)) > _LONGEST_PLACE:
        place = Path("/tmp")  # noqa: S108 - scratch makes a folder of its own there
    with scratch("ray", place) as folder:
        with _own_signals():
            ray.init(
                address="local",
                num_cpus=cores,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE,
                logging_level="ERROR",
                _temp_dir=str(folder),
            )
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's own answer to SIGTERM, which Ray replaces."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
