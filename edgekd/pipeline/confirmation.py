"""Measures the chosen engine afresh beside the teacher's: who was chosen by a series must not be judged by it.

The fastest of several engines is partly the one that was lucky while they were compared, so its figures of that series
flatter it. The verdict rests on a new series of the two engines it is about, extended until it decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekd.artifact import ArtifactSet
from edgekd.errors import MeasurementError
from edgekd.gate.verdict import judge
from edgekd.measure.comparison import fastest_teacher
from edgekd.measure.decided import decided
from edgekd.measure.series import Series, measure
from edgekd.measure.stage import MeasureConfig, engines_of, timing_inputs
from edgekd.profile import EngineRecord, Profile
from edgekd.stage import Context

_TIMED = ("latency_ms", "first_result_ms", "load_ms")


@dataclass(frozen=True)
class Confirmed:
    """The chosen engine and the profile it is judged by."""

    chosen: EngineRecord
    profile: Profile
    """Of the chosen engine and the teacher's alone; what does not depend on the moment is that of the first profile."""


def confirm(chosen: EngineRecord, profile: Profile, artifacts: ArtifactSet, context: Context) -> Confirmed:
    """Return the chosen engine as measured afresh, interleaved with the teacher's fastest float engine.

    What was predicted stays as it is: nobody was lucky.
    Raises MeasurementError when there is no such engine of the teacher, or a process dies or hangs.
    """
    if profile.origin == "predicted":
        return Confirmed(chosen, profile)
    teacher = fastest_teacher(profile.records, context.recipe.budget.percentile)
    if teacher is None:
        raise MeasurementError("the profile holds no float engine of the teacher to compare with")
    before = list({record.key: record for record in (chosen, teacher)}.values())
    series = _series(before, profile, artifacts, context)
    renewed = _renewed(before, profile, series)
    return Confirmed(renewed.records[0], renewed)


def _series(before: list[EngineRecord], profile: Profile, artifacts: ArtifactSet, context: Context) -> Series:
    budget, config = context.recipe.budget, MeasureConfig.of(context.recipe)
    engines = {engine.key: engine for engine in engines_of(artifacts, context)}

    def take(processes: int, limit_s: float | None) -> Series:
        del limit_s  # who has trained for hours waits for the first look, however slow the teacher is
        return measure(
            [engines[record.key] for record in before],
            timing_inputs(artifacts, context),
            budget.operating_point,
            budget.percentile,
            processes=processes,
            raw=context.run_folder / "measurements" / f"verdict-{context.round}.jsonl",
            progress=context.progress,
            title="latency of the chosen engine, afresh",
            origin=profile.origin,
            connection=context.connection,
        )

    def contested(found: Series) -> bool:
        renewed = _renewed(before, profile, found)
        return any(check.contested for check in judge(renewed.records[0], renewed, budget).checks)

    extend = profile.origin == "device"  # elsewhere no number of processes makes it trustworthy
    return decided(take, contested, config.time_limit_s, first=config.processes, extend=extend)


def _renewed(before: list[EngineRecord], profile: Profile, series: Series) -> Profile:
    """Return the profile of these engines with every time taken from the series."""
    records = []
    for old, new in zip(before, series.records, strict=True):
        kept = tuple(figure for figure in old.figures if not figure.name.startswith(_TIMED))
        records.append(old.replace(per_process=new.per_process, figures=(*new.figures, *kept)))
    return profile.replace(records=tuple(records), machine={**profile.machine, **series.machine})
