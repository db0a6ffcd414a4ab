"""Every error a user can meet, and the exit code each one ends with.

    EdgekdError                 1   an internal fault, or a plug-in that broke its contract
    ├── UsageError              2   the command, the recipe, the data or a factory is wrong
    │   └── TrainingError       2   the loss of a training is no longer a finite number
    ├── BudgetError             3   the budget is out of reach, told before any training
    ├── MeasurementError        5   a measurement cannot be trusted
    ├── TargetError             6   the target is unreachable, incompatible or lacks a runtime
    ├── ExportError             7   a network cannot be exported, or its engine computes something else
    ├── ResourceError           8   this machine ran out of disk or memory
    └── PluginError             1   "plug-in author: ..."

A message says what is wrong, what was given, what is possible and what to do, in one sentence each at most.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """How an edgekd command ends; the numbers are part of the public interface."""

    MET = 0
    INTERNAL = 1
    USAGE = 2
    BUDGET_MISSED = 3
    ACCURACY_MISSED = 4
    NOT_TRUSTWORTHY = 5
    TARGET = 6
    EXPORT = 7
    RESOURCE = 8
    INTERRUPTED = 130
    TERMINATED = 143


class EdgekdError(Exception):
    """Base of all errors edgekd raises on purpose."""

    exit_code: ClassVar[ExitCode] = ExitCode.INTERNAL


class UsageError(EdgekdError):
    """The user asked for something that cannot be: a wrong recipe, option, file or data set.

    `word` is the key or the value the user wrote wrong, so that whoever knows his file can say where it stands.
    """

    exit_code = ExitCode.USAGE

    def __init__(self, message: str, word: str | None = None) -> None:
        super().__init__(message)
        self.word = word


class TrainingError(UsageError):
    """The loss or the weights of a training are no longer finite numbers; its last good epoch is kept."""


class BudgetError(EdgekdError):
    """No network of the search space can meet the budget, so nothing was trained."""

    exit_code = ExitCode.BUDGET_MISSED


class MeasurementError(EdgekdError):
    """A figure was measured under conditions in which it means nothing."""

    exit_code = ExitCode.NOT_TRUSTWORTHY


class TargetError(EdgekdError):
    """The target device is unreachable, incompatible or lacks what the run needs."""

    exit_code = ExitCode.TARGET


class ExportError(EdgekdError):
    """A network cannot be exported, or the engine does not compute what the network computes."""

    exit_code = ExitCode.EXPORT


class ResourceError(EdgekdError):
    """This machine has too little disk space or memory."""

    exit_code = ExitCode.RESOURCE


class PluginError(EdgekdError):
    """A plug-in breaks its contract; addressed to its author."""


def suggestion(given: str, known: Iterable[str]) -> str:
    """Return the tail of a message about an unknown name: the nearest known one, then all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}known: {', '.join(names) if names else 'none'}"
