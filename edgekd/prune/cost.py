"""What a network costs while it is pruned: predicted milliseconds, or filled multiplications without a profile."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from edgekd.artifact import ArtifactSet
from edgekd.errors import UsageError
from edgekd.figure import Figure
from edgekd.predict.features import FEATURES, features, step_of
from edgekd.predict.limit import limit_ms
from edgekd.predict.predictor import Predictor
from edgekd.profile import Kernel, Profile
from edgekd.schema import read_json
from edgekd.stage import Context


class Cost(ABC):
    """Cost of a network by its kernels; it never falls when a kernel grows."""

    unit: ClassVar[str]

    @abstractmethod
    def of(self, kernels: Sequence[Kernel]) -> float:
        """Return the cost in `unit`."""

    def figure(self, kernels: Sequence[Kernel]) -> Figure | None:
        """Return the cost as a figure for the report, None where it is no prediction of a measurement."""
        del kernels
        return None


@dataclass(frozen=True)
class PredictedLatency(Cost):
    """Latency of the fastest engine that may ship, corrected by what the last round measured."""

    predictor: Predictor
    schemes: tuple[str, ...]
    correction: float = 1.0
    unit: ClassVar[str] = "ms"

    def of(self, kernels: Sequence[Kernel]) -> float:
        """Return corrected milliseconds."""
        return self.predictor.best(kernels, self.schemes)[2].value * self.correction

    def figure(self, kernels: Sequence[Kernel]) -> Figure:
        """Return the corrected prediction with its bounds."""
        found = self.predictor.best(kernels, self.schemes)[2]
        corrected = {
            name: getattr(found, name) * self.correction
            for name in ("value", "lower", "upper")
            if getattr(found, name) is not None
        }
        return found.replace(**corrected)


@dataclass(frozen=True)
class FilledMacs(Cost):
    """Multiplications with every width filled up to the target's step: ranks widths where nothing was measured."""

    step: int
    unit: ClassVar[str] = "million filled multiplications"

    def of(self, kernels: Sequence[Kernel]) -> float:
        """Return millions of multiplications."""
        found = dict(zip(FEATURES, features(kernels, self.step), strict=True))
        return float(found["dense_macs"] + found["grouped_macs"]) / 1e6


def shipped_schemes(context: Context) -> tuple[str, ...]:
    """Return the arithmetic the run may ship its network in."""
    floats = context.target.float_schemes()
    return (*context.target.schemes(), *floats) if "quantize" in context.recipe.stages else floats


def channel_step(context: Context) -> int:
    """Return the widest channel step of that arithmetic, so that no engine that may ship wastes lanes."""
    return max(step_of(context.target, scheme) for scheme in shipped_schemes(context))


def cost(artifacts: ArtifactSet, context: Context, step: int) -> Cost:
    """Return the predictor of the probes' profile where a search has measured one, else filled multiplications."""
    schemes = shipped_schemes(context)
    found = artifacts.all(network="probes", written_as="profile")
    if not found:
        return FilledMacs(step)
    predictor = Predictor.fit(
        read_json(Profile, context.path(found[-1])), context.target, context.recipe.budget.percentile
    )
    return PredictedLatency(predictor, schemes, context.correction)


def limit(whole: float, speedup: float | None, artifacts: ArtifactSet, context: Context) -> float:
    """Return the cost to get down to: `whole` divided by an explicit speedup, else the budget's latency limit.

    Raises UsageError when neither says anything.
    """
    if speedup is not None:
        return whole / speedup
    found = artifacts.all(network="probes", written_as="profile")
    budget = limit_ms(context.recipe.budget, read_json(Profile, context.path(found[-1]))) if found else None
    if budget is None:
        raise UsageError(
            "stage prune does not know how far to go; give it a speedup, or a latency limit in the budget and the "
            "stage 'search' before it, which measures what the prediction rests on"
        )
    return budget
