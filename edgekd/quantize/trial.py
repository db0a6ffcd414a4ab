"""Whether integers pay: the quantized file in turns with the float one, on every runtime of the target that is here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import UsageError
from edgekd.figure import Figure
from edgekd.gate.bench import Asked, Given, bench
from edgekd.gate.compare import Comparison, compare
from edgekd.gate.raw import emptied
from edgekd.measure import machine
from edgekd.measure.comparison import paired_ratio
from edgekd.measure.series import measure
from edgekd.runtime.session import RUNTIMES
from edgekd.stage import Progress
from edgekd.target import Target

PERCENTILE = 50.0
PROCESSES = 11
"""Of each engine: the fewest with which a median has bounds."""
_ACCURACY = "accuracy_percent"
Verdict = Literal["faster", "not faster", "not trustworthy"]


@dataclass(frozen=True)
class Trial:
    """What was measured, runtime by runtime; A is the quantized network."""

    comparisons: dict[str, Comparison]

    @property
    def verdict(self) -> Verdict:
        """Return whether some runtime computes the quantized network faster, beyond doubt."""
        outcomes = {found.outcome for found in self.comparisons.values()}
        if "faster" in outcomes:
            return "faster"
        return "not trustworthy" if "not trustworthy" in outcomes else "not faster"

    def lines(self) -> list[str]:
        """Return a line a runtime, and with labelled samples one of accuracies."""
        return [line for runtime, found in self.comparisons.items() for line in _lines(runtime, found)]


def _lines(runtime: str, found: Comparison) -> list[str]:
    quantized, floating = found.a.figure(_ACCURACY), found.b.figure(_ACCURACY)
    lines = [f"  {runtime}: {found.line()}"]
    if quantized is not None and floating is not None:
        lines.append(f"  {runtime}: {_ACCURACY} {quantized.text()}, float {floating.text()}, n={quantized.samples}")
    return lines


def inputs_of(model: Path, data: Path, progress: Progress) -> NDArray[np.generic]:
    """Return the samples of an .npz file as `model` eats them, (N, ...); raises what `labelled` raises."""
    return labelled(model, data, progress)[0]


def labelled(model: Path, data: Path, progress: Progress) -> tuple[NDArray[np.generic], NDArray[np.integer] | None]:
    """Return the samples of an .npz file as `model` eats them, (N, ...), and their labels, if any.

    Raises UsageError for every way in which they do not fit, and for a network of several inputs.
    """
    with bench([Given(str(model), "onnxruntime")], Asked(data), None, progress) as here:
        if here.samples.path.is_dir():
            raise UsageError(f"{model} has several inputs; only networks of one input can be quantized")
        found: NDArray[np.generic] = np.load(here.samples.path, allow_pickle=False)
        return found, here.samples.labels


@dataclass
class Tryout:
    """Tries placements on this machine: called with their files, the rules' first, it returns the best one's name.

    All take turns in the target's first runtime. Another than the first is chosen only where it is faster beyond doubt.
    """

    target: Target
    data: Path
    time_limit_s: float
    raw: Path
    progress: Progress
    ratios: dict[str, Figure] = field(default_factory=dict)
    """Latency of each by that of the first, once they were tried."""

    def __post_init__(self) -> None:
        if not machine.is_target(self.target):
            raise UsageError(
                f"placements of {self.target.name} can be tried on one alone; run this there, or leave --placement out"
            )

    def __call__(self, files: dict[str, Path]) -> str:
        """Measure; raises what measuring raises."""
        runtime = next(name for name in self.target.runtimes if name in RUNTIMES)
        asked = Asked(self.data, threads=self.target.threads)
        with bench([Given(str(file), runtime) for file in files.values()], asked, None, self.progress) as here:
            series = measure(
                here.engines,
                here.samples.path,
                here.point,
                PERCENTILE,
                processes=PROCESSES,
                raw=emptied(self.raw) / "latency.jsonl",
                progress=self.progress,
                title="placements",
                origin="device",
                connection=here.connection,
                time_limit_s=self.time_limit_s,
            )
        for name, record in zip(files, series.records, strict=True):
            self.ratios[name] = paired_ratio(record, series.records[0], PERCENTILE, "latency_ratio_p50")
        better = [name for name, ratio in self.ratios.items() if ratio.upper is not None and ratio.upper < 1]
        return min(better, key=lambda name: self.ratios[name].value, default=next(iter(files)))


def tried(
    quantized: Path, model: Path, target: Target, data: Path, *, time_limit_s: float, raw: Path, progress: Progress
) -> Trial:
    """Measure both files in fresh processes that take turns; the time is for all runtimes together.

    Raises what `edgekd.gate.compare.compare` raises.
    """
    here = [runtime for runtime in target.runtimes if runtime in RUNTIMES]
    return Trial(
        {
            runtime: compare(
                Given(str(quantized), runtime),
                Given(str(model), runtime),
                Asked(data, threads=target.threads),
                percentile=PERCENTILE,
                time_limit_s=time_limit_s / len(here),
                raw=raw / runtime,
                progress=progress,
            )
            for runtime in here
        }
    )
