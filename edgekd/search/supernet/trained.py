"""Shared weights after their training, and what any network is worth with its part of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from edgekd.artifact import ArtifactSet
from edgekd.distill.lesson import Lesson
from edgekd.prune.samples import Samples, renew_statistics
from edgekd.schema import digest_of
from edgekd.search.space import Point, Space
from edgekd.search.supernet.config import SupernetConfig
from edgekd.search.supernet.sandwich import Sandwich
from edgekd.search.supernet.weights import SharedWeights
from edgekd.stage import Context
from edgekd.train import data
from edgekd.train.loop import train

CACHED = "supernets"
"""The folder of the cache that keeps trained shared weights."""


@dataclass(frozen=True)
class Supernet:
    """All networks of a space, trained."""

    shared: SharedWeights
    lesson: Lesson
    samples: Samples
    """By which BatchNorm is renewed."""
    images: int
    """Training images seen, each by several networks."""

    @classmethod
    def of(
        cls, space: Space, points: Sequence[Point], config: SupernetConfig, artifacts: ArtifactSet, context: Context
    ) -> Supernet:
        """Train the networks at these points, by growing cost; go on where that was stopped, or take what is known."""
        dataset, seed = data.load(context.recipe.data), context.recipe.seed
        taught = config.alone
        torch.manual_seed(seed)
        shared = SharedWeights(space, points, dataset.image_shape, dataset.classes)
        lesson = Lesson(artifacts, context, taught, context.recipe.data)
        facts = [lesson.key(shared), config.drawn, [space.at(point).plain() for point in points]]
        torch.manual_seed(seed)
        batches, objective = lesson.begin(shared)
        history = train(
            shared,
            batches,
            Sandwich(objective, config.drawn),
            taught,
            folder=context.cache / CACHED / digest_of(facts)[:32],
            title=f"train {len(points)} networks at once",
            progress=context.progress,
        )
        samples = Samples(dataset, config.calibration, 128, seed)
        return cls(shared, lesson, samples, history.images)

    def network(self, point: Point) -> nn.Module:
        """Return a network with its part of the weights and with statistics of its own, in eval mode."""
        network = self.shared.network(point)
        renew_statistics(network, self.samples)
        return network.eval()

    def error_of(self, point: Point) -> float:
        """Return what percentage of validation a network gets wrong."""
        return 100 - self.lesson.score(self.network(point))
