"""The latency limit of a budget in milliseconds."""

from __future__ import annotations

from edgekd.budget import Budget
from edgekd.errors import EdgekdError
from edgekd.predict.predictor import measured_ms
from edgekd.profile import Profile, latency_name
from edgekd.target import FLOAT_SCHEMES


def limit_ms(budget: Budget, profile: Profile) -> float | None:
    """Return the stricter of `latency_ms` and `latency_ratio` x the teacher's fastest float engine, None for neither.

    Raises EdgekdError when a ratio is asked for and the profile holds no float engine of the teacher.
    """
    limits = [] if budget.latency_ms is None else [budget.latency_ms]
    if budget.latency_ratio is not None:
        limits.append(budget.latency_ratio * teacher_ms(budget, profile))
    return min(limits, default=None)


def teacher_ms(budget: Budget, profile: Profile) -> float:
    """Return the measured latency of the teacher's fastest float engine; raises EdgekdError when there is none."""
    measured = [
        latency
        for record in profile.records
        if record.network == "teacher" and record.scheme in FLOAT_SCHEMES
        if (latency := measured_ms(record, budget.percentile)) is not None
    ]
    if not measured:
        raise EdgekdError(
            f"the profile of {profile.target} holds no {latency_name(budget.percentile)} of the teacher in fp32"
        )
    return min(measured)
