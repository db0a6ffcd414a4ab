"""What the network with shared weights minimises: to answer, attend and arrange its tokens as its origin does."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.distill.loss import create
from edgekd.distill.taps import Taps
from edgekd.prune.multiplex.config import ImitationConfig
from edgekd.train.answer import Answer
from edgekd.train.batches import Batch
from edgekd.train.objective import Terms
from edgekd.train.task import Task

_KL = "logits-kl"


class Imitation:
    """Labels, soft labels, the nine relations between queries, keys and values, and that of hidden states.

    All but the labels are the paper's weight distillation, whose teacher is the uncompressed network. Ours: divergences
    in place of cross-entropies, which have the same gradient and are zero where both agree; the last block of each
    group is compared; a relation is that of all heads together; hidden states are what blocks give, normalised, because
    a pre-norm stream has no scale of its own; and the weights of the terms.
    """

    def __init__(
        self, origin: nn.Module, blocks: Sequence[tuple[str, str]], task: Task, config: ImitationConfig
    ) -> None:
        """Take the origin as the teacher, which nothing trains from here on, and pairs of blocks: ours and its own."""
        self._teacher = origin.eval().requires_grad_(False)
        self._task, self._config = task, config
        self._kl = create({_KL: {"temperature": config.temperature}})[_KL]
        inside = [(f"{ours}.attention.qkv", f"{theirs}.attention.qkv") for ours, theirs in blocks]
        self._attentions = inside if config.attention_weight else []
        self._blocks = list(blocks) if config.hidden_weight else []

    @property
    def looks_inside(self) -> bool:
        """Return whether anything is tapped in the student."""
        return bool(self._attentions or self._blocks)

    def __call__(self, model: nn.Module, batch: Batch) -> Terms:
        """Return the two terms of a batch."""
        config, pairs = self._config, [*self._attentions, *self._blocks]
        logits, ours = Taps(model, [path for path, _ in pairs])(model, batch.inputs)
        with torch.no_grad():
            told, theirs = Taps(self._teacher, [path for _, path in pairs])(self._teacher, batch.inputs)
        rows, right = self._task.rows(logits, batch.labels)
        taught = config.logits_weight * self._kl(Answer(rows), Answer(self._task.rows(told, batch.labels)[0]), right)
        count = len(self._attentions)
        if self._attentions:
            apart = [attention_apart(a, b) for a, b in zip(ours[:count], theirs[:count], strict=True)]
            taught = taught + config.attention_weight * torch.stack(apart).mean()
        if self._blocks:
            apart = [hidden_apart(a, b) for a, b in zip(ours[count:], theirs[count:], strict=True)]
            taught = taught + config.hidden_weight * torch.stack(apart).mean()
        return Terms(config.label_weight * self._task.loss(logits, batch.labels), taught)


def attention_apart(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean divergence of the nine relations in what a layer gives (B, T, 3 D): queries, keys and values."""
    ours, theirs = (torch.stack(x.float().chunk(3, -1), 1) for x in (student, teacher))
    return _diverging(_relations(ours[:, :, None], ours[:, None]), _relations(theirs[:, :, None], theirs[:, None]))


def hidden_apart(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the divergence of the relations in hidden states (B, T, D)."""
    ours, theirs = (F.layer_norm(x.float(), x.shape[-1:]) for x in (student, teacher))
    return _diverging(_relations(ours, ours), _relations(theirs, theirs))


def _relations(left: Tensor, right: Tensor) -> Tensor:
    """Return log softmax(L R^T / sqrt(D)), (..., T, T), of tokens (..., T, D)."""
    return F.log_softmax(left @ right.transpose(-1, -2) / math.sqrt(left.shape[-1]), -1)


def _diverging(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean over all rows of KL(t || s)."""
    return (teacher.exp() * (teacher - student)).sum(-1).mean()
