"""A task: what a network decides, what it costs to be wrong, and how its outputs are set beside a teacher's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from edgekd.plugins import PluginFolder
from edgekd.schema import Schema

IGNORED = -100
"""The label of a decision that does not count."""


class Task(ABC):
    """Contract of a task whose every decision is one of K classes.

    A plug-in says with `rows` where in an output the decisions stand; teacher and student are compared row by row.
    """

    Config: ClassVar[type[Schema]] = Schema

    @abstractmethod
    def rows(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the decisions of a batch that count: logits (N, K) and labels (N,)."""

    def loss(self, logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the mean cross-entropy over all decisions of a batch."""
        decided, right = self.rows(logits, labels)
        return F.cross_entropy(decided.float(), right, label_smoothing=label_smoothing)

    @abstractmethod
    def figures(self, logits: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
        """Return what a network of this task is judged by, `accuracy_percent` among them."""

    def score(self, logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
        """Return the one figure by which the better of two networks is told; higher is better."""
        return self.figures(logits, labels)["accuracy_percent"]


TASKS: PluginFolder[Task] = PluginFolder("edgekd.train.tasks", Task)  # type: ignore[type-abstract]


def task_called(name: str) -> Task:
    """Return a task by its name; raises UsageError for an unknown one."""
    return TASKS.get(name)()
