"""What share of a network's latency is left after a cut, by the clock: both built and measured in turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from edgekd.measure.comparison import ratio_in_turns
from edgekd.measure.engine import Engine
from edgekd.models.kernels import kernels
from edgekd.predict.predictor import measured_ms
from edgekd.profile import EngineRecord
from edgekd.quantize.drafts import Drafts

WHOLE = "whole"
_SCREENED = 3
"""Processes of every engine of a network, to find those that may be its fastest."""
_NEAR = 1.15
"""A few processes cannot tell engines apart that are nearer than this."""


@dataclass
class MeasuredShare:
    """Called with a cut network, it returns its latency by that of the whole one, each in its fastest engine.

    Few processes see all engines of a network; those that may be its fastest are then measured in turns with the whole
    one's in as many as a share within a few percent takes.
    """

    drafts: Drafts
    whole: nn.Module
    processes: int = 9
    """Of each engine that may be the fastest: the share is then known to about 1.5 % (docs/measuring.md)."""
    built: int = 0
    _engines: list[Engine] = field(default_factory=list)

    def __call__(self, network: nn.Module) -> float:
        """Build and measure; raises what building and measuring raise."""
        if not self._engines:
            self._engines = self._contenders(self.whole, WHOLE)
        self.built += 1
        name = f"cut-{self.built}"
        engines = [*self._engines, *self._contenders(network, name)]
        series = self.drafts.measured(engines, self.processes, f"{name}.jsonl", f"measure cut {self.built}, untrained")
        cut, whole = self._fastest(series.records, name), self._fastest(series.records, WHOLE)
        return ratio_in_turns(series, cut.key, whole.key)

    def _contenders(self, network: nn.Module, name: str) -> list[Engine]:
        """Build a network's engines and return those that may be its fastest."""
        found = kernels(network, tuple(self.drafts.images.shape[1:]))
        schemes = self.drafts.schemes
        engines = [engine for scheme in schemes for engine in self.drafts.built(network, name, scheme, found)]
        if len(engines) == 1:
            return engines
        processes = min(_SCREENED, self.processes)
        records = self.drafts.measured(engines, processes, f"{name}-all.jsonl", f"which engine of {name}").records
        least = self._ms(self._fastest(records, name))
        return [one for one, record in zip(engines, records, strict=True) if self._ms(record) <= _NEAR * least]

    def _fastest(self, records: Sequence[EngineRecord], name: str) -> EngineRecord:
        return min((record for record in records if record.network == name), key=self._ms)

    def _ms(self, record: EngineRecord) -> float:
        return measured_ms(record, self._percentile) or float("inf")

    @property
    def _percentile(self) -> float:
        return self.drafts.context.recipe.budget.percentile
