"""Engines ready to be measured together: resolved, fed, at one operating point; the device package within reach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgekd.budget import OperatingPoint
from edgekd.connection.connection import Connection
from edgekd.connection.device import Device
from edgekd.connection.ssh import at
from edgekd.disk import scratch
from edgekd.errors import UsageError
from edgekd.gate import samples, shapes
from edgekd.gate.samples import Samples
from edgekd.gate.subject import Subject, resolve
from edgekd.measure.engine import Engine
from edgekd.measure.evaluate import BATCH, Answers, evaluate
from edgekd.measure.meter import Setup
from edgekd.stage import Progress


class Given(NamedTuple):
    """An engine as a user gives it."""

    path: str
    runtime: str | None = None


@dataclass(frozen=True)
class Asked:
    """How a user wants engines to be called; what is None is up to the engine."""

    data: Path | None = None
    shapes: tuple[str, ...] = ()
    """`NAME=SIZE,SIZE,...`"""
    threads: int | None = None
    batch: int | None = None
    device: Device | None = None
    """Where they run; None: on this machine."""


@dataclass(frozen=True)
class Bench:
    """What is measured, with what and how."""

    subjects: tuple[Subject, ...]
    engines: tuple[Engine, ...]
    """One for each subject, with its own inputs."""
    samples: Samples
    """Of the first subject; the inputs of the others are the same, each as its engine eats them."""
    point: OperatingPoint
    connection: Connection
    folder: Path
    """For whatever is not to be kept."""
    progress: Progress
    device: Device | None = None

    def setup(self, percentile: float, raw: Path) -> Setup:
        """Return what a meter wants to know."""
        return Setup(self.samples.path, self.point, percentile, "device", self.connection, raw, self.progress)

    @property
    def labels(self) -> NDArray[np.integer]:
        """Return the labels of the samples, (N,); raises UsageError when there are none."""
        if self.samples.labels is None:
            raise UsageError(
                "accuracy and calibration need labelled inputs; give --data FILE.npz with inputs and labels"
            )
        return self.samples.labels

    def answers(self) -> dict[str, Answers]:
        """Return by engine key what all engines answer to the labelled samples; raises what `evaluate` raises."""
        fixed = any(port.shape[0] is not None for subject in self.subjects for port in subject.inputs)
        return evaluate(
            self.engines,
            self.samples.path,
            self.labels,
            self.folder / "answers",
            progress=self.progress,
            title="accuracy",
            batch=self.point.batch if fixed else BATCH,
        )


@contextmanager
def bench(
    given: Sequence[Given],
    asked: Asked,
    point: OperatingPoint | None,
    progress: Progress,
    connection: Connection | None = None,
) -> Iterator[Bench]:
    """Yield engines ready to be measured; `point` is what a budget says, its values stand where it was given them.

    They run where `connection` leads, else where they are asked to.

    Threads and batch are those asked for, else the budget's, else those of the first engine's bundle, else one. Raises
    UsageError, TargetError, ExportError or MeasurementError for whatever cannot be measured, before anything is.
    """
    wanted = shapes.parse(asked.shapes)
    if asked.data is not None and not asked.data.is_file():
        raise UsageError(f"there is no file {asked.data}")
    reached = at(asked.device) if connection is None else nullcontext(connection)
    with scratch("edgekd-gate") as folder, reached as place:
        subjects: list[Subject] = []
        for one in given:
            subjects.append(resolve(one.path, one.runtime, place, beside=subjects))
        shapes.refuse_unknown(wanted, subjects)
        declared = set() if point is None else point.model_fields_set
        batch = asked.batch if asked.batch is not None or point is None or "batch" not in declared else point.batch
        for subject in subjects:
            batch = shapes.batch_of(subject, batch, wanted)
        threads = asked.threads or (point.threads if point is not None and "threads" in declared else None)
        manifest = subjects[0].manifest
        threads = threads or (manifest.threads if manifest is not None else 1)
        _refuse_crowd(threads, place)
        called = OperatingPoint(batch=batch or 1, threads=threads)
        fed = _fed(subjects, called.batch, asked.data, wanted, folder)
        engines = tuple(replace(subject.engine, inputs=f.path) for subject, f in zip(subjects, fed, strict=True))
        yield Bench(tuple(subjects), engines, fed[0], called, place, folder, progress, asked.device)


def _refuse_crowd(threads: int, connection: Connection) -> None:
    """Raise UsageError when the threads of a call would have to wait for each other."""
    most = connection.cores()
    if threads > most:
        cores = "1 core" if most == 1 else f"{most} cores"
        raise UsageError(
            f"{threads} threads cannot run at once on the {cores} a process may use on {connection.name}, so a latency "
            f"would mean nothing; give --threads {most}, or measure on a machine with more"
        )


def _fed(
    subjects: Sequence[Subject], batch: int, data: Path | None, wanted: shapes.Shapes, folder: Path
) -> list[Samples]:
    """Return the samples of every subject; those who eat the same share a file."""
    found: list[Samples] = []
    for number, subject in enumerate(subjects):
        same = next((i for i, other in enumerate(subjects[:number]) if _eats_the_same(subject, other)), None)
        place = folder / f"inputs-{number}"
        found.append(found[same] if same is not None else samples.prepare(subject, batch, data, wanted, place))
    return found


def _eats_the_same(one: Subject, other: Subject) -> bool:
    manifests = [subject.manifest.preprocessing if subject.manifest else None for subject in (one, other)]
    return one.inputs == other.inputs and manifests[0] == manifests[1]
