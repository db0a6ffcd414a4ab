"""One threshold for the scores of the whole network: what lies under it goes, wherever it is and whatever it costs.

The common baseline of structured pruning (Molchanov et al. 2017, "Pruning Convolutional Neural Networks for Resource
Efficient Inference"; Torch-Pruning's `global_pruning`, Fang et al. 2023). The field's: the scores of each group are
divided by their mean, so that one threshold fits all of them, and a group's width is what lies above it, rounded up to
the hardware's step. Our choice: the threshold rises until the predicted latency is within the limit, where the field
takes a share of all channels; how far a group may go is the floor every allocator of edgekd keeps to.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import Tensor

from edgekd.prune.allocator import Allocator, Problem
from edgekd.schema import Field, Schema


class GlobalScore(Allocator):
    """Takes blocks in the order in which a rising threshold would; the order does not depend on the limit."""

    class Config(Schema):
        """How scores of different groups become comparable."""

        normalise: Literal["mean", "none"] = Field(
            default="mean",
            description="mean: a group's scores are divided by their mean, as the field does; none: the criterion's "
            "own, of which a layer with many channels has less for each",
        )

    config: Config

    def widths(self, problem: Problem) -> dict[str, int]:
        """Return widths whose predicted latency is within the limit, where that is possible."""
        found = dict(problem.whole)
        for _, name, width in self._moves(problem):
            if problem.latency_ms(found) <= problem.limit_ms:
                break
            found[name] = min(width, found[name])
        return found

    def _moves(self, problem: Problem) -> list[tuple[float, str, int]]:
        """Return the threshold at which a group falls to a width, the group and the width; the lowest first."""
        moves = []
        for name, score in problem.scores.items():
            best_first = self._normalised(score).sort(descending=True).values
            for wider, width in pairwise(problem.ladders[name]):
                # A block goes when the best of its channels does: until then the width is rounded up.
                moves.append((float(best_first[width]), name, -wider, width))
        return [(threshold, name, width) for threshold, name, _, width in sorted(moves)]

    def _normalised(self, score: Tensor) -> Tensor:
        score = score.double()
        return score / score.mean().clamp(min=1e-30) if self.config.normalise == "mean" else score
