"""The latency series of a gate: interleaved with baseline and anchor, extended by processes until it is decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from edgekd.errors import ExportError, MeasurementError
from edgekd.gate.bench import Bench
from edgekd.gate.subject import refusal
from edgekd.measure.decided import decided
from edgekd.measure.engine import Engine
from edgekd.measure.series import Series, measure


def decided_series(
    here: Bench,
    engines: Sequence[Engine],
    percentile: float,
    raw: Path,
    *,
    limit_s: float,
    contested: Callable[[Series], bool],
    extend: bool = True,
) -> Series:
    """Return a series of all engines that was extended while it was `contested` and time was left.

    It always takes the first look, at 11 processes; without `extend` no other. Raises MeasurementError when the time
    limit does not suffice for that or a process dies or hangs, ExportError when an engine cannot be run or answers
    inputs the user gave with values that are not finite.
    """

    def take(processes: int, within_s: float | None) -> Series:
        found = _measured(here, engines, percentile, raw, processes, within_s)
        _refuse_infinite(here, found)
        return found

    return decided(take, contested, limit_s, extend=extend)


def single_series(here: Bench, engines: Sequence[Engine], percentile: float, raw: Path, processes: int) -> Series:
    """Return a series with one look, after `processes` fresh processes; raises what `decided_series` raises."""
    found = _measured(here, engines, percentile, raw, processes, None)
    _refuse_infinite(here, found)
    return found


def remarks(here: Bench, series: Series) -> list[str]:
    """Return what a reader should know about a series, a sentence each."""
    strange = [f"{key} answers random inputs with values that are not finite" for key in series.not_finite]
    return [*series.machine["remarks"], *(strange if not here.samples.given else [])]


def _measured(  # noqa: PLR0917
    here: Bench, engines: Sequence[Engine], percentile: float, raw: Path, processes: int, limit_s: float | None
) -> Series:
    try:
        return measure(
            engines,
            here.samples.path,
            here.point,
            percentile,
            processes=processes,
            raw=raw,
            progress=here.progress,
            title="latency",
            origin="device",
            connection=here.connection,
            time_limit_s=limit_s,
        )
    except MeasurementError as error:
        named = [s for s in here.subjects if f"of {s.engine.key} refused" in str(error)]
        raise (refusal(error, named[0].given, named[0].engine.runtime) if named else error) from error


def _refuse_infinite(here: Bench, series: Series) -> None:
    if here.samples.given and series.not_finite:
        raise ExportError(
            f"{' and '.join(series.not_finite)} answered inputs of {here.samples.origin} with values that are not "
            "finite (NaN or infinity); the engine overflows on them, or they are not what it eats: check export and "
            "preprocessing"
        )
