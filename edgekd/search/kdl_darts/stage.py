"""The stage that chooses every cell by gradient, under the teacher and the target's own cost table; experimental."""

from __future__ import annotations

import logging
from typing import ClassVar

from edgekd.artifact import Artifact, ArtifactSet
from edgekd.distill.teach import refuse_unknown
from edgekd.errors import UsageError
from edgekd.schema import Field, Schema, write_json
from edgekd.search.candidate import candidate
from edgekd.search.cells import CellSpace, Skeleton
from edgekd.search.choice import Judge, Row, refuse_out_of_place, stored
from edgekd.search.kdl_darts.config import KdlDartsConfig
from edgekd.search.kdl_darts.costs import OperatorCost, cost_table
from edgekd.search.kdl_darts.rounds import Epoch, Search
from edgekd.search.shared_training import refuse_inner_losses, refuse_one_networks_options
from edgekd.search.stage import SearchConfig
from edgekd.stage import Context, Stage
from edgekd.train import data

log = logging.getLogger("edgekd")


class Derived(Schema):
    """The network of the largest shares at the end of a round."""

    cost_weight: float
    row: Row


class Result(Schema):
    """All that was seen in a search."""

    aim_ms: float = Field(description="the limit before pruning, with its margin: the unit of the expected latency")
    width: float = Field(description="share of the space's channels")
    engine: str = Field(description="predicted to be the fastest for the network that was chosen")
    fixed_ms: float = Field(description="predicted for what all networks have in common")
    edges: tuple[tuple[OperatorCost, ...], ...] = Field(description="what every operator adds in that engine")
    epochs: tuple[Epoch, ...]
    rounds: tuple[Derived, ...]
    cheapest: Row

    def text(self) -> str:
        """Return the result in one line."""
        if not self.rounds:
            return (
                f"out of reach: the cheapest network of the space at width {self.width:g} is predicted to need "
                f"{self.cheapest.latency.text()} ms, and {self.aim_ms:.3g} ms are aimed at; it was chosen unsearched"
            )
        last = self.rounds[-1]
        return (
            f"cells searched in {len(self.epochs)} epochs, lambda2 {last.cost_weight:g}: "
            f"{last.row.latency.text()} ms of {self.aim_ms:.3g} ms, expected {self.epochs[-1].expected_ms:.3g} ms; "
            f"the cheapest network of the space {self.cheapest.latency.text()} ms"
        )


class KdlDartsStage(Stage[KdlDartsConfig]):
    """Chooses the student cell by cell: a new choice in place of the search's.

    KDL-DARTS (Ding et al. 2025, 'Large-Scale Model Enabled Semantic Communication Based on Robust Knowledge
    Distillation', arXiv 2508.02148) adds to the loss of DARTS (Liu, Simonyan and Yang 2019, arXiv 1806.09055) the
    teacher's knowledge and a penalty of complexity; the sum over edges of softmax(alpha) times cost, and the arg-max in
    the end, are theirs. edgekd's own choices: the cost is the latency predicted from engines measured on the target, in
    units of the one that is aimed at; alphas are trained on the validation split, as every decision is; gradients are
    first order; operators are inverted bottlenecks or none; and where the derived network is too slow, lambda2 is
    raised and the training goes on.
    """

    name: ClassVar[str] = "kdl-darts"
    Config: ClassVar[type[Schema]] = KdlDartsConfig
    judges_cost: ClassVar[bool] = True

    def requires(self, artifacts: ArtifactSet, context: Context) -> None:
        """Need the search's probes and a space of cells, a limit, a teacher, and losses that exist."""
        refuse_unknown(self.config)
        refuse_one_networks_options(self.name, self.config)
        refuse_inner_losses(self.name, self.config)
        refuse_out_of_place(self.name, self.config.losses, artifacts, context)
        self._skeleton(context)

    def run(self, artifacts: ArtifactSet, context: Context) -> ArtifactSet:
        """Search, unless nothing could fit, and choose."""
        log.warning("stage 'kdl-darts' is experimental: it has not been shown to beat 'search'; see docs/search.md")
        judge = SearchConfig.of(context.recipe).judge_from(artifacts, context)
        dataset = data.load(context.recipe.data)
        width, skeleton = self._skeleton(context)
        costs = cost_table(skeleton, judge, dataset.image_shape, dataset.classes)

        def row(role: str, chosen: tuple[int, ...]) -> Row:
            return judge.row(role, candidate(role, skeleton.spec(chosen), dataset.image_shape, dataset.classes))

        chosen = costs.cheapest()
        cheapest = row("cheapest", chosen)
        epochs, rounds = list[Epoch](), list[Derived]()
        if cheapest.fits:
            search = Search(skeleton, costs, _aim(judge), self.config, artifacts, context)
            for number in range(self.config.rounds + 1):
                weight = self.config.cost_weight * self.config.raised_by**number
                epochs += search.round(number, weight)
                chosen = search.cells.chosen()
                rounds.append(Derived(cost_weight=weight, row=row("derived", chosen)))
                if rounds[-1].row.fits:
                    break
            else:
                self._refuse(rounds[-1], cheapest, judge)
        engine = costs.engine(chosen)
        result = Result(
            aim_ms=_aim(judge),
            width=width,
            engine=" on ".join(costs.engines[engine]),
            fixed_ms=float(costs.fixed[engine]),
            edges=costs.figures[engine],
            epochs=tuple(epochs),
            rounds=tuple(rounds),
            cheapest=cheapest,
        )
        if not cheapest.fits:
            log.warning("kdl-darts: %s", result.text())
        return artifacts.add(self._chosen(result, context))

    def _skeleton(self, context: Context) -> tuple[float, Skeleton]:
        """Return the width and the edges; raises UsageError where the search's space has no cells to choose."""
        space = SearchConfig.of(context.recipe).space_of(context)
        if not isinstance(space, CellSpace):
            raise UsageError(
                "stage kdl-darts chooses cells, and the space of the stage 'search' has none; set "
                "stages.search.space: mobile-cells"
            )
        width = self.config.width or space.widest
        return width, space.skeleton(width)

    def _refuse(self, last: Derived, cheapest: Row, judge: Judge) -> None:
        raise UsageError(
            f"stage kdl-darts: after {self.config.rounds} rounds, lambda2 {last.cost_weight:g}, the derived network is "
            f"predicted to need {last.row.latency.text()} ms, {_aim(judge):.3g} ms are aimed at, and the cheapest of "
            f"the space needs {cheapest.latency.text()} ms; raise stages.kdl-darts.rounds, raised_by or cost_weight"
        )

    def _chosen(self, result: Result, context: Context) -> Artifact:
        row = result.rounds[-1].row if result.rounds else result.cheapest
        write_json(result, context.folder / "kdl-darts.json")
        return stored(row, result.text(), self.name, context)


def _aim(judge: Judge) -> float:
    """Return the latency that is aimed at; raises UsageError where the budget has no limit of it."""
    if judge.aim_ms is None:
        raise UsageError("stage kdl-darts needs latency_ms or latency_ratio in the budget")
    return judge.aim_ms
