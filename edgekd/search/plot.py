"""The front of a search as a picture: predicted latency against validation error of every student that was tried."""

from __future__ import annotations

import importlib
from pathlib import Path

from edgekd.errors import UsageError
from edgekd.search.tried import Trials

SUFFIXES = (".svg", ".png", ".pdf")


def refuse(file: Path) -> None:
    """Raise UsageError for a picture that cannot be drawn, before anything is searched."""
    if file.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--plot {file}: the name must end in {', '.join(SUFFIXES)}")
    try:
        importlib.import_module("matplotlib")
    except ImportError:
        raise UsageError("--plot needs matplotlib; run: pip install 'edgekd[plot]'") from None


def draw(trials: Trials, limit_ms: float | None, file: Path) -> None:
    """Write the picture; its kind is the file's suffix. Raises UsageError where `refuse` does."""
    refuse(file)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    at = [(trial.row.latency.value, trial.score.error_percent) for trial in trials.trials]
    front = [at[position] for position in trials.front]
    latencies, errors = zip(*at, strict=True)
    axes.scatter(latencies, errors, color="0.6", s=28, label="tried", zorder=2)
    stopped = [place for place, trial in zip(at, trials.trials, strict=True) if not trial.in_full]
    if stopped:
        early, then = zip(*stopped, strict=True)
        axes.scatter(early, then, color="white", edgecolors="0.6", s=28, label="stopped early", zorder=2)
    axes.plot(*zip(*front, strict=True), color="C0", marker="o", drawstyle="steps-post", label="front", zorder=3)
    axes.scatter(
        latencies[trials.chosen], errors[trials.chosen], color="C3", marker="*", s=160, label="chosen", zorder=4
    )
    if limit_ms is not None:
        axes.axvline(limit_ms, color="C3", linestyle="--", linewidth=1, label="limit")
    axes.set_xlabel("predicted latency, ms")
    axes.set_ylabel("validation error after a trial, %")
    axes.set_title(f"{len(at)} of {trials.within} networks, sampler {trials.sampler}", fontsize=10)
    axes.grid(color="0.9")
    axes.legend(frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
