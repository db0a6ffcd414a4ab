"""What share of a network's latency is left after a cut, by the clock: both built and measured in turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from edgekd.measure.engine import Engine
from edgekd.models.kernels import kernels
from edgekd.predict.predictor import measured_ms
from edgekd.profile import EngineRecord
from edgekd.quantize.drafts import Drafts

WHOLE = "whole"


@dataclass
class MeasuredShare:
    """Called with a cut network, it returns its latency by that of the whole one, each in its fastest engine."""

    drafts: Drafts
    whole: nn.Module
    processes: int = 5
    """Of each engine; few, because a share of a few percent more or less is all that is asked."""
    built: int = 0
    _engines: list[Engine] = field(default_factory=list)

    def __call__(self, network: nn.Module) -> float:
        """Build and measure; raises what building and measuring raise."""
        if not self._engines:
            self._engines = self._built(self.whole, WHOLE)
        self.built += 1
        name = f"cut-{self.built}"
        cut = self._built(network, name)
        series = self.drafts.measured(
            [*self._engines, *cut], self.processes, f"{name}.jsonl", f"measure cut {self.built}, untrained"
        )
        return self._fastest(series.records, name) / self._fastest(series.records, WHOLE)

    def _built(self, network: nn.Module, name: str) -> list[Engine]:
        found = kernels(network, tuple(self.drafts.images.shape[1:]))
        return [engine for scheme in self.drafts.schemes for engine in self.drafts.built(network, name, scheme, found)]

    def _fastest(self, records: Sequence[EngineRecord], name: str) -> float:
        percentile = self.drafts.context.recipe.budget.percentile
        return min(measured_ms(record, percentile) or float("inf") for record in records if record.network == name)
