"""`edgekd eval`: accuracy and calibration of engines on labelled inputs, with nothing timed."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from edgekd import bundle
from edgekd.connection.connection import Connection
from edgekd.connection.ssh import at
from edgekd.gate.bench import Asked, Given, bench
from edgekd.gate.raw import emptied
from edgekd.gate.report import Measured
from edgekd.measure import evaluate
from edgekd.stage import Progress


def evaluated(given: Given, baseline: Given | None, asked: Asked, raw: Path, progress: Progress) -> list[Measured]:
    """Return `accuracy_percent`, `ece` and, against a baseline, `accuracy_drop` of every engine, the baseline last.

    A bundle given without a runtime stands for each of its engines that can run here. The raw line of each engine is
    written to `<raw>/answers.jsonl`. Raises UsageError, TargetError, ExportError or MeasurementError.
    """
    with ExitStack() as stack:
        connection = stack.enter_context(at(asked.device))
        several = [*_engines_of(given, connection), *([baseline] if baseline is not None else [])]
        here = stack.enter_context(bench(several, asked, None, progress, connection))
        answers = here.answers()
        evaluate.write_raw(emptied(raw) / "answers.jsonl", answers)
        reference = answers[here.engines[-1].key] if baseline is not None else None
        return [
            Measured(
                key=engine.key,
                path=subject.given,
                digest=engine.digest,
                figures=evaluate.figures(
                    answers[engine.key], None if engine is here.engines[-1] and baseline else reference, "device"
                ),
            )
            for engine, subject in zip(here.engines, here.subjects, strict=True)
        ]


def _engines_of(given: Given, connection: Connection) -> list[Given]:
    """Return one entry an engine of a bundle, its chosen one first; what is no bundle stands for itself."""
    if given.runtime is not None or not (Path(given.path) / "manifest.json").is_file():
        return [given]
    manifest = bundle.read(Path(given.path))
    order = [manifest.chosen, *sorted(manifest.engines.keys() - {manifest.chosen})]
    return [Given(given.path, name) for name in order if connection.has(name)] or [given]
