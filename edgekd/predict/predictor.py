"""Latency of a network nobody has built, from a handful of measured engines; it ranks candidates and passes no gate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from edgekd import target as targets
from edgekd.errors import EdgekdError
from edgekd.figure import Figure
from edgekd.predict.features import FEATURES, features, step_of
from edgekd.predict.fit import CONFIDENCE, Fit, fit
from edgekd.profile import EngineRecord, Kernel, Profile, latency_name
from edgekd.target import Target

_ALWAYS = FEATURES.index("dense_macs")


def measured_ms(record: EngineRecord, percentile: float) -> float | None:
    """Return the measured latency of an engine: its figure, else the median over processes, else None."""
    name = latency_name(percentile)
    figure = record.figure(name)
    if figure is not None:
        return figure.value
    values = record.per_process.get(name)
    return float(np.median(values)) if values else None


class Predictor:
    """One fit per (scheme, runtime) that was measured."""

    def __init__(self, fits: dict[tuple[str, str], Fit], target: Target, percentile: float) -> None:
        self.target = target
        self.percentile = percentile
        self._fits = fits
        self._steps = {scheme: step_of(target, scheme) for scheme, _ in fits}

    @classmethod
    def fit(cls, profile: Profile, target: Target | None = None, percentile: float = 90) -> Predictor:
        """Fit every (scheme, runtime) of a profile; `target` is the profile's own where it is not given.

        Raises EdgekdError when no record has both kernels and the latency percentile.
        """
        target = target or targets.load(profile.target)
        measured: dict[tuple[str, str], list[tuple[EngineRecord, float]]] = {}
        for record in profile.records:
            latency = measured_ms(record, percentile)
            if record.kernels and latency:
                measured.setdefault((record.scheme, record.runtime), []).append((record, latency))
        if not measured:
            raise EdgekdError(
                f"a profile of {profile.target} holds no engine with kernels and {latency_name(percentile)}"
            )
        return cls({key: _fit(found, step_of(target, key[0])) for key, found in measured.items()}, target, percentile)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Return the (scheme, runtime) pairs that can be predicted."""
        return list(self._fits)

    def latency_ms(self, kernels: Iterable[Kernel], scheme: str, runtime: str) -> Figure:
        """Return the predicted latency of an engine with its bounds; raises EdgekdError for an unknown pair."""
        found = self._fit_of(scheme, runtime)
        value = float(features(kernels, self._steps[scheme]) @ found.coefficients)
        return self._figure(latency_name(self.percentile), value, found)

    def added_ms(self, kernels: Iterable[Kernel], scheme: str, runtime: str) -> Figure:
        """Return what these kernels are predicted to add to the latency of an engine that has others."""
        found = self._fit_of(scheme, runtime)
        added = features(kernels, self._steps[scheme]) - features((), self._steps[scheme])
        return self._figure("added_ms", float(added @ found.coefficients), found)

    def best(self, kernels: Iterable[Kernel], schemes: Sequence[str] | None = None) -> tuple[str, str, Figure]:
        """Return the fastest predicted (scheme, runtime, latency), among `schemes` where they are given."""
        kernels = tuple(kernels)
        pairs = [pair for pair in self._fits if schemes is None or pair[0] in schemes]
        if not pairs:
            raise EdgekdError(f"no engine of schemes {list(schemes or ())} was measured; known: {self.pairs}")
        found = [(scheme, runtime, self.latency_ms(kernels, scheme, runtime)) for scheme, runtime in pairs]
        return min(found, key=lambda candidate: candidate[2].value)

    def _fit_of(self, scheme: str, runtime: str) -> Fit:
        found = self._fits.get((scheme, runtime))
        if found is None:
            known = ", ".join(f"{s} on {r}" for s, r in self._fits)
            raise EdgekdError(f"no engine of scheme '{scheme}' on runtime '{runtime}' was measured; known: {known}")
        return found

    def _figure(self, name: str, value: float, found: Fit) -> Figure:
        lower, upper = found.bounds(value)
        return Figure(
            name=name,
            value=value,
            origin="predicted",
            samples=found.samples,
            lower=lower,
            upper=upper,
            confidence=CONFIDENCE,
        )


def _fit(measured: list[tuple[EngineRecord, float]], step: int) -> Fit:
    rows = np.stack([features(record.kernels, step) for record, _ in measured])
    return fit(rows, np.array([latency for _, latency in measured]), _ALWAYS)
