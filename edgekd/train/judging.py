"""How good a network is on validation: what its task is judged by, and whether it is as sure as it is right."""

from __future__ import annotations

import torch
from torch import nn

from edgekd.figure import Figure, Origin
from edgekd.train import data
from edgekd.train.calibration import calibration
from edgekd.train.dataset import DataSet
from edgekd.train.evaluate import logits
from edgekd.train.task import task_called


def judged(model: nn.Module, dataset: DataSet, origin: Origin) -> tuple[Figure, ...]:
    """Return `accuracy_percent`, the task's other figures, `ece`, `adaptive_ece` and `brier` of a network.

    Samples are the decisions of validation: its inputs, or every position of them.
    """
    task = task_called(dataset.task)
    found, labels = logits(model, data.normalised(dataset.validation, dataset)), dataset.validation.labels
    rows, right = (part.numpy() for part in task.rows(torch.from_numpy(found), torch.from_numpy(labels)))
    values = {**task.figures(found, labels), **calibration(rows, right)._asdict()}
    return tuple(Figure(name=name, value=value, origin=origin, samples=len(right)) for name, value in values.items())
