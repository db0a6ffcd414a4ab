"""A stage: requires, run, ensures. Stages hand over files, never live modules."""

from __future__ import annotations

import logging
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Generic, Literal, Protocol, TypeVar

from edgekd.artifact import Artifact, ArtifactSet, digest_of_path
from edgekd.connection.connection import Connection
from edgekd.errors import UsageError
from edgekd.recipe import Recipe
from edgekd.schema import Schema
from edgekd.target import Target

C = TypeVar("C", bound=Schema)
log = logging.getLogger("edgekd")


PREDICTED = "predicted"
"""In the place of a machine: nothing was measured."""


class Advance(Protocol):
    """Reports that `steps` more of a task are done, with a word on how it goes."""

    def __call__(self, steps: int = 1, note: str = "") -> None:
        """Advance the task."""


class Progress:
    """Receives progress; this one is silent. The command line puts bars with an ETA in its place."""

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Advance]:
        """Open a task of `total` steps."""
        del title, total
        yield _ignore


def _ignore(steps: int = 1, note: str = "") -> None:
    """Take no notice."""
    del steps, note


@dataclass(frozen=True)
class Context:
    """What every stage may know about the run it belongs to."""

    run_folder: Path
    folder: Path
    """The stage's own folder inside the run folder; a stage writes nowhere else but into the cache."""
    cache: Path
    """The user's cache: trained teachers, teacher stores, shared weights and scores of trials, content-addressed."""
    recipe: Recipe
    target: Target
    origin_is_device: bool
    """Whether the machine that measures is the target, so that what is measured is the device's own figure."""
    connection: Connection | None = None
    """To the device that measures; None where that is this machine."""
    elsewhere: bool = False
    """Whether the target's engines run only on the target, which is not here: their latency is predicted."""
    keeps_choices: bool = False
    """Whether what was chosen by prediction, if it was, stands although the device is here now."""
    round: int = 0
    correction: float = 1.0
    """Measured over predicted latency of the rounds so far; predictions are multiplied by it."""
    aim: float = 0.0
    """Share of the latency limit that the last round's measurement was sharp enough to aim at; 0 where none was made.
    A stage with a margin of its own goes by the larger of the two."""
    progress: Progress = field(default_factory=Progress)

    @property
    def origin(self) -> Literal["device", "host"]:
        """Return where the figures come from that are measured on the machine that measures."""
        return "device" if self.origin_is_device else "host"

    @property
    def origin_here(self) -> Literal["device", "host"]:
        """Return where the figures come from that are computed on this machine, as those of a training are."""
        return self.origin if self.connection is None else "host"

    @property
    def writes_to(self) -> dict[str, Path]:
        """Return the folders a run writes to, each by the setting that names it."""
        return {
            "--run-folder": self.run_folder,
            "EDGEKD_CACHE": self.cache,
            "TMPDIR": Path(tempfile.gettempdir()),
        }

    @property
    def measured_on(self) -> str | None:
        """Return what tells the figures of one machine from those of another, None for those of this one."""
        if self.connection is not None:
            return self.connection.name
        return PREDICTED if self.elsewhere else None

    def path(self, artifact: Artifact) -> Path:
        """Return where an artifact lies (an absolute path stands for itself)."""
        return self.run_folder / artifact.path

    def store(self, path: Path, **fields: object) -> Artifact:
        """Return the artifact for a finished file or folder: digest taken, path made relative to the run folder."""
        place = path.relative_to(self.run_folder) if path.is_relative_to(self.run_folder) else path
        return Artifact.model_validate({**fields, "path": place.as_posix(), "digest": digest_of_path(path)})


def refuse_rivals(stage: str, rivals: Iterable[str], deed: str, context: Context) -> None:
    """Raise UsageError where the recipe has another stage that does what this one does; `deed` says what."""
    for other in rivals:
        if other in context.recipe.stages:
            raise UsageError(f"the stages '{stage}' and '{other}' each {deed}; leave one of them out")


class Stage(ABC, Generic[C]):
    """One step from artifacts to artifacts.

    A stage owns its options (`Config`). It refuses early in `requires`, works in `run`, proves its result in `ensures`.
    `run` must be resumable: called again in a folder it was killed in, it ends with the same artifacts.
    """

    name: ClassVar[str]
    Config: ClassVar[type[Schema]]
    judges_cost: ClassVar[bool] = False
    """Whether the result depends on the budget, on profiles and on what the last round measured."""
    measures: ClassVar[bool] = False
    """Whether the result depends on the machine that runs the engines."""
    for_every_target: ClassVar[bool] = False
    """Whether the result is the same for every target, once the artifacts it is made from are: a run of several targets
    makes it once."""

    def __init__(self, config: C) -> None:
        self.config = config

    def made_from(self, artifacts: ArtifactSet) -> list[Artifact]:
        """Return the artifacts the result depends on: all of them, but what things cost only where costs are judged."""
        return [artifact for artifact in artifacts.artifacts if self.judges_cost or artifact.format != "profile"]

    def requires(self, artifacts: ArtifactSet, context: Context) -> None:
        """Raise the fitting EdgekdError when the stage cannot succeed; cheap, called before any training."""

    @abstractmethod
    def run(self, artifacts: ArtifactSet, context: Context) -> ArtifactSet:
        """Do the work and return the artifacts with the new ones added."""

    def ensures(self, artifacts: ArtifactSet, context: Context) -> None:
        """Raise when what `run` returned is not what it promises."""
