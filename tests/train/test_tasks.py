"""Contract suite: every task sets outputs beside labels, and judges a network that is right as right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from edgekd.errors import UsageError
from edgekd.train.task import TASKS, task_called

BATCH, TOKENS, CLASSES = 6, 5, 4


def outputs(name: str) -> tuple[Tensor, Tensor]:
    shape = (BATCH, TOKENS) if name == "language-model" else (BATCH,)
    random = torch.Generator().manual_seed(0)
    return torch.randn(*shape, CLASSES, generator=random), torch.randint(0, CLASSES, shape, generator=random)


@pytest.mark.parametrize("name", TASKS.names())
def test_rows_are_decisions_with_their_labels(name: str) -> None:
    logits, labels = outputs(name)
    rows, right = task_called(name).rows(logits, labels)
    assert rows.shape == (len(right), CLASSES)
    assert right.dim() == 1


@pytest.mark.parametrize("name", TASKS.names())
def test_the_loss_falls_and_the_score_rises_towards_the_labels(name: str) -> None:
    task, (logits, labels) = task_called(name), outputs(name)
    towards = logits + 3 * torch.nn.functional.one_hot(labels, CLASSES)
    assert task.loss(towards, labels) < task.loss(logits, labels)
    score = [task.score(at.numpy(), labels.numpy()) for at in (logits, towards)]
    assert score[1] > score[0]


@pytest.mark.parametrize("name", TASKS.names())
def test_a_network_that_is_right_has_every_decision_right(name: str) -> None:
    _, labels = outputs(name)
    sure = 50.0 * torch.nn.functional.one_hot(labels, CLASSES)
    assert task_called(name).figures(sure.numpy(), labels.numpy())["accuracy_percent"] == 100


def test_ignored_positions_do_not_count() -> None:
    task, (logits, labels) = task_called("language-model"), outputs("language-model")
    cut = labels.clone()
    cut[:, 3:] = -100
    assert torch.isclose(task.loss(logits, cut), task.loss(logits[:, :3], labels[:, :3]))
    seen, short = (task.figures(z.numpy(), y.numpy()) for z, y in ((logits, cut), (logits[:, :3], labels[:, :3])))
    assert seen == pytest.approx(short)


def test_bits_per_token_are_those_of_the_uniform_guess() -> None:
    labels = np.arange(12).reshape(3, 4) % 8
    figures = task_called("language-model").figures(np.zeros((3, 4, 8), np.float32), labels)
    assert figures["bits_per_token"] == pytest.approx(3)


def test_a_misspelt_task_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'classification'"):
        task_called("clasification")
