"""A search in rounds: weights and alphas in turns, and latency weighs more in every further round."""

from __future__ import annotations

from pathlib import Path

import torch

from edgekd.artifact import ArtifactSet
from edgekd.distill.lesson import Lesson
from edgekd.schema import Schema, digest_of
from edgekd.search.cells import Skeleton
from edgekd.search.kdl_darts.architect import Architect, HeldOut
from edgekd.search.kdl_darts.config import KdlDartsConfig
from edgekd.search.kdl_darts.costs import CostTable
from edgekd.search.kdl_darts.supernet import supernet
from edgekd.stage import Context
from edgekd.train import data
from edgekd.train.loop import train


class Epoch(Schema):
    """How the alphas stood after one epoch."""

    round: int
    cost_weight: float
    shares: tuple[tuple[float, ...], ...]
    """By edge and operator."""
    expected_ms: float


class Search:
    """One super network under one teacher; weights see the training split, alphas the validation split.

    The checkpoint of a round holds weights, alphas and what Adam remembers of them, so a search that was killed goes on
    after its last epoch, and gives what it would have given.
    """

    def __init__(  # noqa: PLR0917 - what a search begins with
        self,
        skeleton: Skeleton,
        costs: CostTable,
        aim_ms: float,
        config: KdlDartsConfig,
        artifacts: ArtifactSet,
        context: Context,
    ) -> None:
        self._costs, self._aim_ms, self._config, self._context = costs, aim_ms, config, context
        dataset = data.load(context.recipe.data)
        torch.manual_seed(context.recipe.seed)
        longest = max(config.epochs, config.round_epochs)
        self.network, self.cells = supernet(skeleton, longest, dataset.image_shape[0], dataset.classes)
        lesson = Lesson(artifacts, context, config, context.recipe.data)
        told = [lesson.key(self.network), costs.fixed.tolist(), costs.added.tolist(), aim_ms]
        self._key = digest_of(told)[:16]
        torch.manual_seed(context.recipe.seed)
        self._batches, self._objective = lesson.begin(self.network)
        self._held_out = HeldOut(lesson.on_validation(), config.batch, context.recipe.seed)

    def round(self, number: int, cost_weight: float) -> tuple[Epoch, ...]:
        """Train on with this lambda2; rounds have to be run in their order, from 0."""
        config = self._config if number == 0 else self._config.again()
        architect = Architect(
            self.cells,
            self._held_out,
            self._objective,
            self._costs,
            self._aim_ms,
            cost_weight,
            self.cells.optimizer(config.alpha_learning_rate, config.alpha_weight_decay),
            steps_an_epoch=len(self._batches),
            resting=config.resting_epochs * len(self._batches),
        )
        train(
            self.network,
            self._batches,
            self._objective,
            config,
            folder=self._folder(number, cost_weight),
            title=f"search cells (lambda2 {cost_weight:g})",
            progress=self._context.progress,
            on_step=architect,
        )
        return tuple(self._epoch(number, cost_weight, alpha) for alpha in self.cells.trace[: config.epochs])

    def _folder(self, number: int, cost_weight: float) -> Path:
        return self._context.folder / "training" / f"{self._key}-{number}-{cost_weight:g}"

    def _epoch(self, number: int, cost_weight: float, alpha: torch.Tensor) -> Epoch:
        shares = self.cells.shares(alpha)
        kept = [row[real].tolist() for row, real in zip(shares, self.cells.exists, strict=True)]
        expected = float(self._costs.expected(shares))
        return Epoch.model_validate(
            {"round": number, "cost_weight": cost_weight, "shares": kept, "expected_ms": expected}
        )
