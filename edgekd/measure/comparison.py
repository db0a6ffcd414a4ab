"""One engine against another of the same series: ratios within each round, so that drift and load cancel out."""

from __future__ import annotations

from collections.abc import Iterable

from edgekd.errors import MeasurementError
from edgekd.figure import Figure
from edgekd.measure.series import looks_of
from edgekd.measure.statistics import ratio_bounds
from edgekd.profile import EngineRecord

TEACHER = "teacher"


def latency_name(percentile: float) -> str:
    """Return the name of the figure and statistic of a latency percentile."""
    return f"latency_ms_p{percentile:g}"


def fastest_teacher(records: Iterable[EngineRecord], percentile: float) -> EngineRecord | None:
    """Return the teacher's fastest fp32 engine, the baseline of every comparison; None when none was measured."""
    name = latency_name(percentile)
    measured = [
        (figure.value, record)
        for record in records
        if record.network == TEACHER and record.scheme == "fp32" and (figure := record.figure(name)) is not None
    ]
    return min(measured, key=lambda pair: pair[0])[1] if measured else None


def paired_ratio(record: EngineRecord, reference: EngineRecord, percentile: float, name: str) -> Figure:
    """Return record / reference as a figure called `name`: the median over rounds, with distribution-free bounds.

    Raises MeasurementError when the two were not measured in the same series.
    """
    statistic = latency_name(percentile)
    figure = record.figure(statistic)
    values, references = record.per_process.get(statistic, ()), reference.per_process.get(statistic, ())
    if figure is None or not values or len(values) != len(references):
        raise MeasurementError(
            f"{record.key} and {reference.key} were not measured together: {len(values)} and {len(references)} "
            f"processes with {statistic}"
        )
    bounds = ratio_bounds(values, references, looks_of(record))
    return Figure(name=name, origin=figure.origin, samples=len(values), **bounds._asdict())
