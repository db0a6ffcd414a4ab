"""The stage that trains all networks of a space at once, and chooses by what each of them answers; experimental."""

from __future__ import annotations

import hashlib
import logging
from typing import ClassVar

from safetensors.torch import save
from torch import nn

from edgekd.artifact import ArtifactSet
from edgekd.disk import whole_file
from edgekd.distill.teach import refuse_unknown
from edgekd.schema import Schema, write_json
from edgekd.search import sampler
from edgekd.search.choice import refuse_out_of_place, stored
from edgekd.search.course import Score
from edgekd.search.fitting import Fitting
from edgekd.search.sampler import Grid, Sampler
from edgekd.search.shared_training import refuse_inner_losses, refuse_one_networks_options
from edgekd.search.space import Point
from edgekd.search.stage import SearchConfig
from edgekd.search.supernet.config import SupernetConfig
from edgekd.search.supernet.trained import Supernet
from edgekd.search.tried import TABLE, Trials
from edgekd.stage import Context, Stage

log = logging.getLogger("edgekd")


class SupernetStage(Stage[SupernetConfig]):
    """Chooses the student among networks that share weights: a new choice in place of the search's.

    Training knows nothing of the device or the limit: all networks of the space that multiply no more than the teacher
    share its weights, which are kept in the user's cache. A corrected prediction, another limit or another target
    chooses again without training.
    """

    name: ClassVar[str] = "supernet"
    Config: ClassVar[type[Schema]] = SupernetConfig
    judges_cost: ClassVar[bool] = True

    def requires(self, artifacts: ArtifactSet, context: Context) -> None:
        """Need the search's probes, a limit to fit into, a teacher, and options that mean something here."""
        refuse_unknown(self.config)
        self._sampler(Grid(()), seed=0)
        refuse_out_of_place(self.name, self.config.losses, artifacts, context)
        refuse_one_networks_options(self.name, self.config)
        refuse_inner_losses(self.name, self.config)

    def run(self, artifacts: ArtifactSet, context: Context) -> ArtifactSet:
        """Train shared weights, unless they are known, look at networks within the limit, and choose."""
        log.warning("stage 'supernet' is experimental; see docs/search.md for what it has been shown to bring")
        search = SearchConfig.of(context.recipe)
        space = search.space_of(context)
        fitting = Fitting(space, search.judge_from(artifacts, context), context)
        supernet = Supernet.of(space, fitting.affordable, self.config, artifacts, context)
        looked = self._look(fitting, supernet, context)
        table = Trials.of(looked, fitting, self.config.sampler, how="with shared weights")
        write_json(table, context.folder / TABLE)
        best = supernet.network(list(looked)[table.chosen])
        weights = _kept(best, context) if self.config.inherit else None
        row = table.trials[table.chosen].row
        return artifacts.add(stored(row, table.text(), self.name, context, weights=weights))

    def _look(self, fitting: Fitting, supernet: Supernet, context: Context) -> dict[Point, Score]:
        """Return what networks within the limit get wrong on validation; the largest one is looked at first."""
        asks = self._sampler(fitting.grid, context.recipe.seed)
        looked: dict[Point, Score] = {}
        wanted = min(self.config.count, len(fitting.points))
        with context.progress.task("look at networks", wanted) as advance:
            following: Point | None = fitting.points[-1]
            while following is not None and len(looked) < wanted:
                if following not in looked:
                    error = supernet.error_of(following)
                    spec = fitting.spec(following)
                    looked[following] = Score(spec=spec, error_percent=error, images=supernet.images)
                    asks.tell(following, (error,))
                    advance(1, f"{100 - error:.2f} % right")
                following = asks.ask()
        return looked

    def _sampler(self, grid: Grid, seed: int) -> Sampler:
        return sampler.create(self.config.sampler, self.config.sampler_options, grid, costs=1, seed=seed)


def _kept(network: nn.Module, context: Context) -> str:
    """Write the student's first weights beside the choice; return the file's name, which tells its content."""
    packed = save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})
    name = f"weights-{hashlib.sha256(packed).hexdigest()[:16]}.safetensors"
    with whole_file(context.folder / name) as unfinished:
        unfinished.write_bytes(packed)
    return name
