"""One limit held against one figure: gate on the upper bound, fail on the lower, do not know in between."""

from __future__ import annotations

from edgekd.figure import Figure
from edgekd.measure.decision import decide
from edgekd.report import Check, Status


def bounded(
    name: str, limit: float, figure: Figure, subject: str, unit: str, *, guard: float = 0.0, extensible: bool = False
) -> Check:
    """Return the check of an upper limit by the figure's confidence bounds; without bounds nothing is known.

    `guard` is the share of a bound by which the limit must lie outside (`decision.GUARD_BAND` for times); `extensible`
    says that the figure is of a series that can be extended by more processes.
    """
    tail = f"limit {limit:.3g}"
    status = decide(figure.lower, figure.upper, limit, guard)
    unsettled = status == "not trustworthy" and figure.upper is not None
    extensible = extensible and figure.origin != "predicted"
    if unsettled:
        between = "between the bounds" if _between(figure, limit) else f"within {guard:.1%} of the bounds"
        tail += f", which lies {between}" + (": more processes would settle it" if extensible else "")
    elif figure.upper is None and figure.origin != "predicted":
        tail += f", and {_processes(figure.samples)} no bound"
    check = _check(name, limit, figure, status, f"{subject} {figure.text()} {unit}, {tail}")
    return check.replace(contested=unsettled and extensible)


def exact(name: str, limit: float, figure: Figure, subject: str, unit: str) -> Check:
    """Return the check of an upper limit on something counted."""
    certain = figure.replace(lower=figure.value, upper=figure.value)
    check = bounded(name, limit, certain, subject, unit)
    return check.replace(figure=figure, sentence=check.sentence.replace(certain.text(), figure.text()))


def accuracy_drop(limit: float, figure: Figure) -> Check:
    """Return the check of the accuracy lost, in points; the paired interval is printed beside the estimate."""
    bounds = ""
    if figure.lower is not None and figure.upper is not None and figure.confidence is not None:
        bounds = f" [{figure.lower:+.2f}, {figure.upper:+.2f}; paired, {figure.confidence:.0%}]"
    found = f"accuracy drop is {figure.value:.2f}{bounds} points on {figure.samples} inputs, limit {limit:.3g}"
    return _estimated("accuracy_drop", limit, figure, figure.value <= limit, found)


def least_accuracy(limit: float, figure: Figure) -> Check:
    """Return the check of an accuracy in percent, of which `limit` is the least."""
    found = f"accuracy is {figure.text(4)} % on {figure.samples} inputs, at least {limit:.4g} is wanted"
    return _estimated("accuracy_percent", limit, figure, figure.value >= limit, found)


def calibration(limit: float, figure: Figure) -> Check:
    """Return the check of the expected calibration error."""
    found = f"ECE is {figure.text()} on {figure.samples} inputs, limit {limit:.3g}"
    return _estimated("ece", limit, figure, figure.value <= limit, found)


def _estimated(name: str, limit: float, figure: Figure, kept: bool, found: str) -> Check:
    """Return a check judged by the point estimate: the inputs are given, and the same for everybody."""
    return _check(name, limit, figure, "met" if kept else "missed", f"{found}, judged by the point estimate")


def _check(name: str, limit: float, figure: Figure, status: Status, sentence: str) -> Check:
    return Check(limit_name=name, limit=limit, figure=figure, status=status, sentence=sentence)


def _between(figure: Figure, limit: float) -> bool:
    return figure.lower is not None and figure.upper is not None and figure.lower <= limit < figure.upper


def _processes(count: int) -> str:
    return "1 process gives" if count == 1 else f"{count} processes give"
