"""Processes of this machine; with one worker it is this process itself."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from edgekd.search.executor import TRIES, Executor, Job, Outcome, attempt, given_up, outcome

log = logging.getLogger("edgekd")

_FRESH = multiprocessing.get_context("spawn")
"""A worker begins as a new interpreter: a copy of this process would have its threads' locks and not its threads."""


class Processes(Executor):
    """A worker is started when a job needs it, takes one after the other, and leaves when this process is gone."""

    def __init__(self, config: Executor.Config, workers: int) -> None:
        super().__init__(config, workers)
        self._workers: list[_Worker] = []
        self._mine: list[_Task] = []
        """What is to be done in this process."""

    @property
    def here(self) -> bool:
        """Return whether jobs are done in this process, as if there were no executor."""
        return self.workers == 1

    def start(self, number: int, job: Job[Any]) -> None:
        """Give a job to a worker that is free."""
        task = _Task(number, job)
        if self.here:
            self._mine.append(task)
        else:
            self._hand_over(task)

    def ready(self) -> tuple[int, Outcome]:
        """Wait for a worker; one that died is replaced, and its job is tried again."""
        if self.here:
            task = self._mine.pop()
            return task.number, Outcome(task.job.work(*task.job.arguments))
        while True:
            busy = {worker.pipe: worker for worker in self._workers if worker.task is not None}
            worker = next(busy[pipe] for pipe in wait(list(busy)) if isinstance(pipe, Connection))
            answer = worker.answer()
            if answer is not None:
                return answer
            self._workers.remove(worker)
            how, lost = worker.end(), worker.task
            if lost is None:
                continue
            if lost.tries == TRIES:
                raise given_up(lost.job, how)
            log.warning("%s: its worker died (%s); another one goes on", lost.job.title, how)
            self._hand_over(replace(lost, tries=lost.tries + 1))

    def close(self) -> None:
        """End all workers, whatever they do."""
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def _hand_over(self, task: _Task) -> None:
        free = next((worker for worker in self._workers if worker.task is None), None)
        if free is None:
            free = _Worker(self.config.threads)
            self._workers.append(free)
        free.take(task)


@dataclass(frozen=True)
class _Task:
    number: int
    job: Job[Any]
    tries: int = 1


class _Worker:
    """One process, and what it does."""

    def __init__(self, threads: int) -> None:
        self.pipe, theirs = _FRESH.Pipe()
        self.task: _Task | None = None
        self._process = _FRESH.Process(target=_serve, args=(theirs, threads), name="edgekd-worker")
        self._process.start()
        theirs.close()  # so that the pipe ends with the process

    def take(self, task: _Task) -> None:
        """Begin a task."""
        self.task = task
        packed = task.job.packed()
        try:
            self.pipe.send_bytes(packed)
        except OSError:
            return  # it is dead, and `answer` will say so

    def answer(self) -> tuple[int, Outcome] | None:
        """Return the task's number and what has become of it; None where the process died over it."""
        try:
            answer = self.pipe.recv_bytes()
        except (EOFError, OSError):
            return None
        task, self.task = self.task, None
        return None if task is None else (task.number, outcome(answer))

    def end(self) -> str:
        """End the process, and return how it ended."""
        self._process.kill()
        self._process.join()
        self.pipe.close()
        code = self._process.exitcode or 0
        return signal.Signals(-code).name if code < 0 else f"exit status {code}"


def _serve(pipe: Connection[bytes, bytes], threads: int) -> None:
    """Do jobs until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt at the terminal is for the parent, which ends this
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    while True:
        try:
            packed = pipe.recv_bytes()
        except EOFError:
            return
        pipe.send_bytes(attempt(packed, threads))


def _leave_with_parent() -> None:
    """End this process as soon as its parent is gone, also in the middle of a job."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
