"""One engine against another of the same series: ratios within each round, so that drift and load cancel out."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import MeasurementError
from edgekd.figure import Figure, Origin
from edgekd.measure.series import Series, looks_of
from edgekd.measure.statistics import CONFIDENCE, ratio_bounds, samples_needed
from edgekd.profile import EngineRecord, latency_name
from edgekd.target import FLOAT_SCHEMES

TEACHER = "teacher"
SHARE = "share_of_teacher"
"""The figure of an engine's latency over that of the teacher's fastest float engine."""
RESAMPLES = 9999


def fastest_teacher(records: Iterable[EngineRecord], percentile: float) -> EngineRecord | None:
    """Return the teacher's fastest float engine, the baseline of every comparison; None when none was measured."""
    name = latency_name(percentile)
    measured = [
        (figure.value, record)
        for record in records
        if record.network == TEACHER and record.scheme in FLOAT_SCHEMES and (figure := record.figure(name)) is not None
    ]
    return min(measured, key=lambda pair: pair[0])[1] if measured else None


def paired_ratio(record: EngineRecord, reference: EngineRecord, percentile: float, name: str) -> Figure:
    """Return record / reference as a figure called `name`: the median over rounds, with distribution-free bounds.

    Predictions have bounds against the teacher alone. Raises MeasurementError when the two were not measured in the
    same series.
    """
    predicted = _predicted_ratio(record, reference, percentile, name)
    if predicted is not None:
        return predicted
    values, references, origin = _pairs(record, reference, percentile)
    bounds = ratio_bounds(values, references, looks_of(record))
    return Figure(name=name, origin=origin, samples=len(values), **bounds._asdict())


def ratio_in_turns(series: Series, key: str, reference: str) -> float:
    """Return the latency of one engine over another's: the median over the blocks that were taken in turns.

    A point estimate for choosing between engines. Where a machine changes its speed within seconds it is about twice as
    sharp as `paired_ratio` (docs/measuring.md); it has no bounds, as the blocks of one process depend on each other, so
    no verdict rests on it. Raises MeasurementError when an engine is not of the series.
    """
    if missing := [name for name in (key, reference) if name not in series.blocks]:
        raise MeasurementError(f"'{missing[0]}' was not measured; the series holds {', '.join(series.blocks)}")
    pairs = zip(series.blocks[key], series.blocks[reference], strict=True)
    return float(np.median([one / other for one, other in pairs]))


def _predicted_ratio(record: EngineRecord, reference: EngineRecord, percentile: float, name: str) -> Figure | None:
    """Return the ratio of two predictions, None of what was measured; bounds are known of the share of the teacher."""
    one, other = (each.figure(latency_name(percentile)) for each in (record, reference))
    if one is None or other is None or {one.origin, other.origin} != {"predicted"}:
        return None
    share = record.figure(SHARE)
    if reference.network == TEACHER and share is not None:
        return share.replace(name=name)
    return one.replace(name=name, value=one.value / other.value, lower=None, upper=None, confidence=None)


def bootstrap_ratio(record: EngineRecord, reference: EngineRecord, percentile: float, name: str) -> Figure:
    """Return record / reference as a figure called `name`: the ratio of the two medians, with bootstrap bounds.

    A second opinion beside `paired_ratio`, by another estimator and another kind of interval: bias-corrected and
    accelerated (BCa; Efron 1987, Better bootstrap confidence intervals), 9,999 resamples of whole processes in pairs,
    the same in every call, each bound at 99 %. Unlike the other it holds approximately and for one look, so no verdict
    rests on it. Where leaving out any one process changes nothing, the acceleration is undefined and the plain
    percentile interval is taken; without scatter both bounds are the value. No bounds below 11 processes. Raises
    MeasurementError when the two were not measured in the same series.
    """
    values, references, origin = _pairs(record, reference, percentile)
    ratio = _ratio_of_medians(np.asarray(values), np.asarray(references))
    figure = Figure(name=name, origin=origin, samples=len(values), value=float(ratio))
    if len(values) < samples_needed(50):
        return figure
    lower, upper = _bootstrap(values, references)
    return figure.replace(lower=lower, upper=upper, confidence=CONFIDENCE)


def _bootstrap(values: Sequence[float], references: Sequence[float]) -> tuple[float, float]:
    from scipy import stats  # takes a second to import, and only comparisons need it

    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the degenerate data that the second method is there for
            found = stats.bootstrap(
                (values, references),
                _ratio_of_medians,
                paired=True,
                method=method,
                n_resamples=RESAMPLES,
                confidence_level=2 * CONFIDENCE - 1,
                random_state=np.random.default_rng(0),
            ).confidence_interval
        if np.isfinite(found.low) and np.isfinite(found.high):
            break
    return float(found.low), float(found.high)


def _ratio_of_medians(
    values: NDArray[np.float64], references: NDArray[np.float64], axis: int = -1
) -> NDArray[np.float64]:
    return np.asarray(np.median(values, axis=axis) / np.median(references, axis=axis))


def _pairs(
    record: EngineRecord, reference: EngineRecord, percentile: float
) -> tuple[Sequence[float], Sequence[float], Origin]:
    statistic = latency_name(percentile)
    figure = record.figure(statistic)
    values, references = record.per_process.get(statistic, ()), reference.per_process.get(statistic, ())
    if figure is None or not values or len(values) != len(references):
        raise MeasurementError(
            f"{record.key} and {reference.key} were not measured together: {len(values)} and {len(references)} "
            f"processes with {statistic}"
        )
    return values, references, figure.origin
