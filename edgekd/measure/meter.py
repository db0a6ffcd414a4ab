"""What a meter is: engines in, figures out, each with its unit, its sample size and its raw values on disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from edgekd.budget import OperatingPoint
from edgekd.connection.connection import Connection
from edgekd.figure import Figure, Origin
from edgekd.measure.engine import Engine
from edgekd.plugins import PluginFolder
from edgekd.schema import Schema, from_mapping
from edgekd.stage import Progress


@dataclass(frozen=True)
class Setup:
    """How and where engines are measured; the same for every meter of a session."""

    inputs: Path
    """An .npy file (N, ...), or a folder with one per engine input, sorted by name; used in rotation."""
    point: OperatingPoint
    percentile: float
    origin: Origin
    connection: Connection
    raw: Path
    """The folder of the raw JSON lines; a meter writes `<its name>.jsonl` there, anew each time."""
    progress: Progress = field(default_factory=Progress)
    hang_s: float = 300.0
    """How long one request may take before it is a hang."""

    def called(self, engine: Engine) -> dict[str, Any]:
        """Return what every request about an engine says; see `Engine.called`."""
        return engine.called(self.point, self.inputs, self.connection)


@dataclass(frozen=True)
class Reading:
    """What a meter found, by engine key."""

    figures: Mapping[str, tuple[Figure, ...]]
    """Every engine has an entry; it is empty where nothing can be measured here."""
    remarks: tuple[str, ...] = ()
    """What a reader should know, a sentence each."""
    doubts: Mapping[str, str] = field(default_factory=dict)
    """Why an engine's figures of this meter cannot be trusted; an engine without doubts has no entry."""


class Meter(ABC):
    """Measures one kind of cost. It holds the machine's measurement lock while it measures, so its caller must not.

    `name` is the plug-in's key; `produces` are the names of its figures, in which `*` stands for the percentile.
    """

    class Config(Schema):
        """No options."""

    name: ClassVar[str]
    produces: ClassVar[tuple[str, ...]]

    def __init__(self, config: Schema | None = None) -> None:
        self.config: Any = config or self.Config()

    @abstractmethod
    def measure(self, engines: Sequence[Engine], setup: Setup) -> Reading:
        """Measure all engines, interleaved where time matters, in fresh processes.

        Raises MeasurementError when a process dies, hangs or refuses, TargetError when this machine cannot measure.
        """


METERS = PluginFolder("edgekd.measure.meters", Meter)  # type: ignore[type-abstract]


def create(name: str, options: dict[str, Any] | None = None) -> Meter:
    """Return a meter by name; raises UsageError for an unknown name or option."""
    kind = METERS.get(name)
    return kind(from_mapping(kind.Config, options or {}, f"options of meter '{name}'"))
