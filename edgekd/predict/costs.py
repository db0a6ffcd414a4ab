"""What kernels cost on one runtime: work times rates for each code of the runtime, times what that sum misses.

Fitted on probes. The rates extrapolate, a Gaussian process on the logarithm of measured / summed knows the steps of
widths, the small sizes and the caches. Kernels of a code that was rarely measured are predicted by its rates alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgekd.kernel import Fit, FusedKernel, Probe
from edgekd.predict.additive import fit_additive
from edgekd.predict.quantities import description, footprint, handed_over, law, work
from edgekd.predict.relevance import Relevance, RelevanceProcess

Array = NDArray[np.float64]

_LEAST_FOR_PROCESS = 30
_LEAST_FOR_RATES = 5
_LEAST_MS = 2e-4
_RESOLUTION_MS = 5e-4
"""Of the times a runtime tells: relative noise of short kernels is this over their time."""
_NOISE = 0.05
_FOOTPRINT_STEP = 0.2
_CALL_NOISE_MS, _CALL_NOISE = 0.001, 0.02
"""Of the latency of a call: absolute and relative."""
_ROW_SPREAD_MS = 0.0004
"""How much what counting costs differs between operators."""
_MOVED_SPREAD_MS = 0.1
"""Of a megabyte handed over, about: few probes are held back from telling nonsense."""
_MEGABYTE = 1e6
_ROUNDS = 20


@dataclass
class Sample:
    """All measured kernels of one code."""

    kernels: list[FusedKernel] = field(default_factory=list)
    footprints: list[float] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)

    @classmethod
    def joined(cls, samples: Iterable[Sample]) -> Sample:
        """Return all in one: what a kernel of an unknown code is compared with."""
        every = cls()
        for sample in samples:
            every.kernels += sample.kernels
            every.footprints += sample.footprints
            every.ms += sample.ms
        return every


class CodeCost:
    """The cost of kernels of one code; `plain` ones are predicted by the rates alone."""

    def __init__(self, sample: Sample, relevance: Relevance | None = None, *, plain: bool = False) -> None:
        summed, values = work(sample.kernels), np.array(sample.ms)
        self.rates_ms = fit_additive(summed, values)
        self.count = len(values)
        self.process: RelevanceProcess | None = None
        missed = np.log(values / self._summed(summed))
        self.offset = float(np.median(missed))
        self.spread = float(np.std(missed))
        if self.count >= _LEAST_FOR_PROCESS and not plain:
            features = description(sample.kernels, sample.footprints)
            spread = features.std(axis=0)
            self._centre, self._scale = features.mean(axis=0), np.where(spread > 1e-9, spread, np.inf)
            exact = 1 / (1 + (_RESOLUTION_MS / values / _NOISE) ** 2)
            self.process = RelevanceProcess(self._standardised(features), missed - self.offset, exact, relevance)
            kept = exact[self.process.kept]
            self.spread = float(np.sqrt(np.average(np.clip(self.process.left_out, -1, 1) ** 2, weights=kept)))

    def __call__(self, kernels: Sequence[FusedKernel], footprints: Sequence[float]) -> tuple[Array, Array, Array]:
        """Return mean and variance of the logarithm of the milliseconds, and what of it further probes could take away.

        All (n,). Where the rates alone predict, because probes were few, the latter is all of it.
        """
        log = np.log(self._summed(work(kernels))) + self.offset
        if self.process is None:
            variance = np.full(len(kernels), self.spread**2)
            return log, variance, variance
        features = self._standardised(description(kernels, footprints))
        variance = self.process.variance(features)
        return log + self.process.mean(features), variance + self.process.noise, variance

    def _summed(self, summed: Array) -> Array:
        return np.asarray(np.maximum(summed @ self.rates_ms, _LEAST_MS))

    def _standardised(self, features: Array) -> Array:
        return np.asarray(np.clip((features - self._centre) / self._scale, -4, 4))


class Costs:
    """Fitted on probes of one runtime."""

    def __init__(self, probes: Sequence[Probe], relevances: dict[str, Relevance] | None = None) -> None:
        self.beside = overhead(probes)
        self.codes: dict[str, CodeCost] = {}
        found = samples(probes, self.beside)
        self._executed = executed(probes)
        for code, sample in sorted(found.items()):
            if len(sample.ms) >= _LEAST_FOR_RATES:
                self.codes[code] = CodeCost(sample, (relevances or {}).get(code))
        self._others = CodeCost(Sample.joined(found.values()), plain=True)

    @classmethod
    def of(cls, probes: Sequence[Probe], fit: Fit) -> Costs:
        """Return the costs as they were learned from the same probes."""
        return cls(probes, {code: Relevance.of(np.array(log)) for code, log in fit.relevance.items()})

    @property
    def relevances(self) -> dict[str, Relevance]:
        """Return the hyperparameters by code."""
        return {code: cost.process.relevance for code, cost in self.codes.items() if cost.process is not None}

    def kernels_ms(self, kernels: Sequence[FusedKernel]) -> tuple[Array, Array]:
        """Return milliseconds and relative deviation of every kernel of a network, (n,) each."""
        ms, deviation, _ = self._of(kernels, [float(footprint(kernels))] * len(kernels))
        return ms, deviation

    def ignorance(self, kernels: Sequence[FusedKernel]) -> float:
        """Return the relative deviation of a network that comes from kernels nobody has measured the like of."""
        ms, _, unknown = self._of(kernels, [float(footprint(kernels))] * len(kernels))
        return float(np.sqrt(((ms * unknown) ** 2).sum()) / (ms.sum() + self.beside.call(kernels)))

    def networks_ms(self, networks: Sequence[Sequence[FusedKernel]]) -> tuple[Array, Array]:
        """Return latency in ms and relative deviation, from the kernels alone, of many networks, (n,) each.

        Kernels of one law err together. Equal kernels are looked at once; footprints count in steps of a fifth.
        """
        known: dict[tuple[FusedKernel, int], int] = {}
        place = np.full((len(networks), max(map(len, networks), default=0)), -1)
        for row, kernels in enumerate(networks):
            size = round(np.log(footprint(kernels) + 1) / _FOOTPRINT_STEP)
            for column, kernel in enumerate(kernels):
                place[row, column] = known.setdefault((kernel.anonymous(), size), len(known))
        each = list(known)
        ms, deviation, _ = self._of([k for k, _ in each], [float(np.exp(size * _FOOTPRINT_STEP)) for _, size in each])
        calls = np.array([self.beside.call(kernels) for kernels in networks])
        total = calls + np.append(ms, 0.0)[place].sum(axis=1)
        laws = np.array([law(kernel) for kernel, _ in each])
        squares = np.zeros(len(networks))
        for name in np.unique(laws):
            apart = np.where(laws == name, ms * deviation, 0.0)
            squares += np.append(apart, 0.0)[place].sum(axis=1) ** 2
        return total, np.sqrt(squares) / total

    def _of(self, kernels: Sequence[FusedKernel], footprints: Sequence[float]) -> tuple[Array, Array, Array]:
        ms, deviation, unknown = np.zeros((3, len(kernels)))
        by_code = defaultdict(list)
        for position, kernel in enumerate(kernels):
            by_code[law(kernel)].append(position)
        for code, positions in by_code.items():
            cost, share = self.codes.get(code, self._others), self._executed.get(code, 1.0)
            mean, variance, missing = cost([kernels[p] for p in positions], [footprints[p] for p in positions])
            ms[positions] = np.exp(mean) * share
            deviation[positions], unknown[positions] = np.sqrt(variance), np.sqrt(missing)
        return ms, deviation, unknown


class Overhead(NamedTuple):
    """What the latency of a call has beside its operators, as they were told."""

    call_ms: float
    row_ms: float
    """Of an operator without a number of its own; negative where counting slows operators down."""
    by_law_ms: Mapping[str, float]
    """Of operators by law: telling of many operands takes longer than telling of few."""
    read_ms: float = 0.0
    """Of a megabyte of the network's input: it is copied for the runtime, or found cold."""
    written_ms: float = 0.0
    """Of a megabyte of its output."""

    def call(self, kernels: Sequence[FusedKernel]) -> float:
        """Return what a call of a network of these kernels takes beside them."""
        read, written = handed_over(kernels)
        return self.call_ms + self.read_ms * read / _MEGABYTE + self.written_ms * written / _MEGABYTE

    def of(self, name: str) -> float:
        """Return what an operator of a law took beyond what it was told to take."""
        return self.by_law_ms.get(name, self.row_ms)


def overhead(probes: Sequence[Probe]) -> Overhead:
    """Return it by robust ridge regression on what is missing in the sum over a probe's operators.

    Differences count relative to the probe's own noise, so that short calls tell most.
    """
    laws = [Counter(law(timed.kernel) for timed in probe.kernels if timed.ms is not None) for probe in probes]
    common = [name for name, count in sum(laws, Counter()).items() if count >= _LEAST_FOR_PROCESS]
    moved = [handed_over([timed.kernel for timed in probe.kernels]) for probe in probes]
    rows = np.array(
        [
            [1.0, probe.rows, read / _MEGABYTE, written / _MEGABYTE, *(found[name] for name in common)]
            for probe, found, (read, written) in zip(probes, laws, moved, strict=True)
        ]
    )
    missing = np.array([probe.ms - probe.rows_ms for probe in probes])
    scale = _CALL_NOISE_MS + _CALL_NOISE * np.array([probe.ms for probe in probes])
    stiff = np.diag([0.0, 0.0, *[1 / _MOVED_SPREAD_MS**2] * 2, *[1 / _ROW_SPREAD_MS**2] * len(common)])
    weights = np.ones(len(probes))
    for _ in range(_ROUNDS):
        weighted = rows * (weights / scale**2)[:, None]
        found = np.linalg.solve(weighted.T @ rows + stiff + 1e-9 * np.eye(rows.shape[1]), weighted.T @ missing)
        weights = 1 / (1 + ((missing - rows @ found) / scale) ** 2)
    by_law = {name: float(found[1] + own) for name, own in zip(common, found[4:], strict=True)}
    call, read, written = (float(max(found[place], 0.0)) for place in (0, 2, 3))
    return Overhead(call, float(found[1]), by_law, read, written)


def executed(probes: Iterable[Probe]) -> dict[str, float]:
    """Return by law the share of kernels the runtime told a time of: what it never executes costs nothing."""
    seen: dict[str, list[bool]] = defaultdict(list)
    for probe in probes:
        for timed in probe.kernels:
            seen[law(timed.kernel)].append(timed.ms is not None)
    return {name: float(np.mean(told)) for name, told in seen.items()}


def samples(probes: Iterable[Probe], beside: Overhead) -> dict[str, Sample]:
    """Return the measured kernels by law; what was told of them is scaled to the latency of the whole call.

    Equal kernels of one probe are one, with the mean of their times.
    """
    found: dict[str, Sample] = defaultdict(Sample)
    for probe in probes:
        kernels = [timed.kernel for timed in probe.kernels]
        size = float(footprint(kernels))
        measured = [(timed.kernel, law(timed.kernel), timed.ms) for timed in probe.kernels if timed.ms is not None]
        corrected = [max(ms + beside.of(name), _LEAST_MS) for _, name, ms in measured]
        rest = probe.rows_ms - sum(ms for _, _, ms in measured) + (probe.rows - len(measured)) * beside.row_ms
        told = sum(corrected) + max(rest, 0.0)
        scale = float(np.clip((probe.ms - beside.call(kernels)) / max(told, 1e-4), 0.8, 1.25))
        alike: dict[tuple[str, FusedKernel], list[float]] = defaultdict(list)
        for (kernel, name, _), ms in zip(measured, corrected, strict=True):
            alike[name, kernel].append(max(ms * scale, _LEAST_MS))
        for (name, kernel), values in alike.items():
            sample = found[name]
            sample.kernels.append(kernel)
            sample.footprints.append(size)
            sample.ms.append(float(np.mean(values)))
    return found
