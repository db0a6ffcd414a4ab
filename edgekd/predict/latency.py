"""Latency of networks nobody has run, from a kernel profile: the sum over their kernels, with an interval.

The interval is as wide as predictions of left-out probes were off, split into what the kernels' own deviations explain
and what all kernels of a network have in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from edgekd.errors import UsageError
from edgekd.figure import Figure
from edgekd.kernel import Fit, FusedKernel, KernelProfile
from edgekd.predict.costs import Costs
from edgekd.predict.learning import CONFIDENCE
from edgekd.predict.quantities import DESCRIBED, law
from edgekd.predict.relevance import Relevance
from edgekd.profile import latency_name

Array = NDArray[np.float64]

UNSURE = 0.15
"""Half width of an interval, relative, from which on a prediction asks for a measurement."""
MOST_UNKNOWN = 0.05
"""Share of a network's kernels no probe had the like of, by their predicted time, from which on it does as well."""


class PredictedKernel(NamedTuple):
    """One kernel and what it is predicted to cost."""

    kernel: FusedKernel
    ms: float
    share: float
    """Of the whole latency."""
    deviation: float
    """Relative standard deviation of `ms`."""


class Prediction(NamedTuple):
    """What one engine is predicted to cost."""

    runtime: str
    latency: Figure
    """The median of calls."""
    call_ms: float
    """What a call costs beside its kernels."""
    kernels: tuple[PredictedKernel, ...]
    """In the order of execution."""
    doubts: tuple[str, ...]
    """Why it should be measured, a sentence each; none where the prediction is as good as most."""


class LatencyModel:
    """What a kernel profile says of one runtime; raises UsageError for a runtime that was not profiled."""

    def __init__(self, profile: KernelProfile, runtime: str) -> None:
        fit = profile.fits.get(runtime)
        if fit is None:
            known = ", ".join(sorted(profile.fits)) or "none"
            raise UsageError(
                f"the kernel profile of {profile.target} holds nothing of runtime '{runtime}'; known: {known}", runtime
            )
        if any(len(found) != Relevance.numbers(DESCRIBED) for found in fit.relevance.values()):
            raise UsageError(
                f"the kernel profile of {profile.target} was learned by an edgekd that describes kernels by other "
                f"numbers; measure it anew with: edgekd profile --target {profile.target} --kernels"
            )
        measured = [probe for probe in profile.probes if probe.runtime == runtime]
        self.runtime = runtime
        self.samples = len(measured)
        self._fit: Fit = fit
        with threadpool_limits(1):  # matrices of this size take longer on several processors than on one
            self._costs = Costs.of(measured, fit)

    def call_ms(self, kernels: Sequence[FusedKernel]) -> float:
        """Return what a call of a network costs beside its kernels: the more, the more it reads and returns."""
        return self._costs.beside.call(kernels)

    def predicted(self, kernels: Sequence[FusedKernel]) -> Prediction:
        """Return what a network of these kernels costs."""
        ms, deviation = self._costs.kernels_ms(kernels)
        call_ms = self.call_ms(kernels)
        total = call_ms + float(ms.sum())
        _, own = self._costs.networks_ms([kernels])
        lower, upper = self._bounds(np.array([total]), own)
        figure = Figure(
            name=latency_name(50),
            value=total,
            origin="predicted",
            samples=self.samples,
            lower=float(lower[0]),
            upper=float(upper[0]),
            confidence=CONFIDENCE,
        )
        found = [
            PredictedKernel(kernel, float(own), float(own) / total, float(unsure))
            for kernel, own, unsure in zip(kernels, ms, deviation, strict=True)
        ]
        return Prediction(self.runtime, figure, call_ms, tuple(found), self._doubts(figure, found))

    def many_ms(self, networks: Sequence[Sequence[FusedKernel]]) -> Array:
        """Return latency and its bounds (n, 3) of many networks; equal kernels are looked at once."""
        total, own = self._costs.networks_ms(networks)
        return np.stack([total, *self._bounds(total, own)], axis=1)

    def _bounds(self, total: Array, own: Array) -> tuple[Array, Array]:
        reach = np.exp(self._fit.reach * np.hypot(self._fit.common, self._fit.own * own))
        return total / reach, total * reach

    def _doubts(self, figure: Figure, found: Sequence[PredictedKernel]) -> tuple[str, ...]:
        unknown = [one for one in found if law(one.kernel) not in self._costs.codes]
        said = []
        if sum(one.share for one in unknown) > MOST_UNKNOWN:
            codes = ", ".join(sorted({one.kernel.code for one in unknown}))
            said.append(f"no probe had a kernel like {codes}")
        if figure.upper is not None and figure.upper / figure.value - 1 > UNSURE:
            said.append(f"the interval reaches {figure.upper / figure.value - 1:.0%} above the prediction")
        return tuple(said)
