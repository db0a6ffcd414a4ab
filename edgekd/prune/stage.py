"""The prune stage: fewer channels in aligned blocks until the predicted latency fits, recovered under the teacher."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import ClassVar

from torch import nn

from edgekd.artifact import Artifact, ArtifactSet
from edgekd.distill.teach import refuse_unknown, teach
from edgekd.errors import EdgekdError, UsageError
from edgekd.figure import Figure
from edgekd.models.kernels import kernels
from edgekd.prune import allocator, criterion
from edgekd.prune import cost as costs
from edgekd.prune.config import PruneConfig
from edgekd.prune.cost import Cost
from edgekd.prune.keeping import keep, newest_float
from edgekd.prune.landing import Landing
from edgekd.prune.measured import MeasuredShare
from edgekd.prune.schedule import NothingToPruneError, Outcome, Recover, Schedule
from edgekd.quantize.drafts import Drafts, images_of
from edgekd.schema import Schema
from edgekd.stage import Context, Stage
from edgekd.train import checkpoint, data

log = logging.getLogger("edgekd")


class PruneStage(Stage[PruneConfig]):
    """Prunes the newest float network, the student or the teacher itself: artifact `pruned` in fp32.

    A network that is fast enough stays as it is, and no artifact is added.
    """

    name: ClassVar[str] = "prune"
    Config: ClassVar[type[Schema]] = PruneConfig
    judges_cost: ClassVar[bool] = True

    def requires(self, artifacts: ArtifactSet, context: Context) -> None:
        """Refuse unknown plug-ins and options, and a run in which nothing says how far to prune."""
        criterion.create(self.config.criterion, self.config.criterion_options)
        allocator.create(self.config.allocator, self.config.allocator_options)
        if self.config.engines and (self.config.speedup is None or data.load(context.recipe.data).is_text):
            raise UsageError(
                "stages.prune: engines are built to land on a speedup, of networks that read images; give a speedup, "
                "or leave engines out: the rounds of a run measure what a budget asks for"
            )
        budget = context.recipe.budget
        silent = budget.latency_ms is None and budget.latency_ratio is None
        if self.config.speedup is None and (silent or "search" not in context.recipe.stages):
            costs.limit(0.0, None, artifacts, context)
        recovery = self.config.recovery
        if recovery is not None:
            refuse_unknown(recovery)
        if recovery is not None and self.config.steps > 1 and self.config.between_epochs > recovery.epochs:
            raise UsageError(
                f"stages.prune: between_epochs ({self.config.between_epochs}) is more than recovery.epochs "
                f"({recovery.epochs}); the recovery after the last cut must be the longest"
            )

    def run(self, artifacts: ArtifactSet, context: Context) -> ArtifactSet:
        """Return the artifacts with `pruned/fp32/torch` added, or as they are when nothing has to go."""
        dataset = data.load(context.recipe.data)
        parent = newest_float(artifacts)
        model = checkpoint.load(context.path(parent))
        step = self.config.channel_step or costs.channel_step(context)
        cost = costs.cost(artifacts, context, step)
        whole = cost.of(kernels(model, dataset.input_shape))
        limit = costs.limit(whole, self.config.speedup, artifacts, context)
        limit *= max(self.config.margin, context.aim) if self.config.speedup is None else 1
        if whole <= limit:
            log.warning(
                "prune: %s needs %.4g of %.4g %s as it is; nothing has to go", parent.key, whole, limit, cost.unit
            )
            return artifacts
        landing = self._landing(model, whole, context)
        schedule = Schedule(self.config, dataset, cost, step, context.recipe.seed, landing)
        try:
            outcome = schedule.run(model, whole, limit, context.folder, self._recovery(artifacts, context))
        except NothingToPruneError as nothing:
            if self.config.speedup is not None:
                raise
            # A search may choose the smallest network there is: its prediction may be wrong, a measurement is not.
            log.warning("prune: %s; the network goes on as it is, the measurement decides", nothing)
            return artifacts
        return artifacts.add(self._keep(outcome, parent, context, cost, whole))

    def ensures(self, artifacts: ArtifactSet, context: Context) -> None:
        """Prove that parameters really went."""
        for artifact in artifacts.all(network="pruned", written_as="torch"):
            parent = next(a for a in artifacts.artifacts if a.key == artifact.parents[0])
            before, after = (checkpoint.describe(context.path(a)).parameters for a in (parent, artifact))
            if after >= before:
                raise EdgekdError(f"pruning changed nothing: {before} parameters before, {after} after")

    def _landing(self, model: nn.Module, whole: float, context: Context) -> Landing | None:
        """Return what measures the last cut; None where the speedup is to be predicted, or the target is not here."""
        if not self.config.engines or context.elsewhere:
            return None
        images = images_of(data.load(context.recipe.data))
        share = MeasuredShare(Drafts(context, costs.shipped_schemes(context), images), model)
        return Landing(whole, share, self.config.engines)

    def _recovery(self, artifacts: ArtifactSet, context: Context) -> Recover | None:
        recovery = self.config.recovery
        if recovery is None:
            return None
        between = recovery.replace(epochs=self.config.between_epochs)
        steps = self.config.steps

        def recover(model: nn.Module, folder: Path, number: int) -> None:
            last = number == steps
            title = "recover after pruning" if last else f"recover after cut {number} of {steps}"
            teach(model, artifacts, context, recovery if last else between, folder=folder, title=title)

        return recover

    def _keep(self, outcome: Outcome, parent: Artifact, context: Context, cost: Cost, whole: float) -> Artifact:
        model = outcome.model
        now = kernels(model, data.load(context.recipe.data).input_shape)
        predicted = cost.figure(now)
        figures: tuple[Figure, ...] = ()
        if predicted is not None:
            figures = (predicted, Figure(name="speedup", value=whole / cost.of(now), origin="predicted"))
        judges = f"criterion {self.config.criterion}, allocator {self.config.allocator}, cost in {cost.unit}"
        return keep(
            model,
            outcome.accuracy_percent_cut,
            parent,
            context,
            made_by=self.name,
            figures=figures,
            notes={"judged_by": judges, **outcome.notes},
        )
