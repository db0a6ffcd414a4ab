"""Whether integers pay: the quantized file in turns with the float one, on every runtime of the target that is here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import UsageError
from edgekd.gate.bench import Asked, Given, bench
from edgekd.gate.compare import Comparison, compare
from edgekd.runtime.session import RUNTIMES
from edgekd.stage import Progress
from edgekd.target import Target

PERCENTILE = 50.0
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
    """Return the samples of an .npz file as `model` eats them, (N, ...).

    Raises UsageError for every way in which they do not fit, and for a network of several inputs.
    """
    with bench([Given(str(model), "onnxruntime")], Asked(data), None, progress) as here:
        if here.samples.path.is_dir():
            raise UsageError(f"{model} has several inputs; only networks of one input can be quantized")
        found: NDArray[np.generic] = np.load(here.samples.path, allow_pickle=False)
        return found


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
