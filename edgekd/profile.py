"""A profile: what engines and kernels cost on one target, raw enough to be judged again."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from edgekd.budget import OperatingPoint
from edgekd.figure import Figure, Origin
from edgekd.schema import Field, Schema


class Kernel(NamedTuple):
    """One fused operator of a network at batch 1, as far as its cost depends on it."""

    op: Literal["conv", "linear", "pool", "elementwise"]
    name: str
    in_channels: int
    out_channels: int
    groups: int
    kernel: int
    out_positions: int
    """Output height times width; 1 for a linear layer."""
    in_positions: int

    @property
    def macs(self) -> int:
        """Return the multiply-accumulate operations; zero where nothing is multiplied."""
        if self.op not in {"conv", "linear"}:
            return 0
        return self.out_channels * (self.in_channels // self.groups) * self.kernel**2 * self.out_positions


class Layer(NamedTuple):
    """One operator of an engine after all of the runtime's own rewriting, timed in a run of its own."""

    name: str
    op: str
    executed_as: str
    """The runtime's words for the code it chose."""
    ms: float
    share: float
    """Of the sum of all operators."""


def latency_name(percentile: float) -> str:
    """Return the name of the figure and statistic of a latency percentile."""
    return f"latency_ms_p{percentile:g}"


class EngineRecord(Schema):
    """What one built engine cost at one operating point."""

    network: str
    scheme: str
    runtime: str
    digest: str = Field(description="of the engine's files")
    operating_point: OperatingPoint
    per_process: dict[str, tuple[float, ...]] = Field(
        default_factory=dict,
        description="one value a process, by statistic; process k of all engines ran interleaved",
    )
    figures: tuple[Figure, ...] = ()
    kernels: tuple[Kernel, ...] = Field(default=(), description="of the network, where it was made from torch")
    layers: tuple[Layer, ...] = Field(default=(), description="in the order of execution, where they were profiled")

    @property
    def key(self) -> str:
        """Return `network/scheme/runtime`, unique within a profile."""
        return f"{self.network}/{self.scheme}/{self.runtime}"

    def figure(self, name: str) -> Figure | None:
        """Return the figure of that name, None when it was not measured."""
        return next((figure for figure in self.figures if figure.name == name), None)


class Profile(Schema):
    """Records of one measuring session on one target."""

    schema_version: Literal[1] = 1
    target: str
    origin: Origin
    machine: dict[str, Any] = Field(
        default_factory=dict, description="state before and after: ISA, governor, clocks, load, steal"
    )
    versions: dict[str, str] = Field(default_factory=dict)
    records: tuple[EngineRecord, ...] = ()

    def record(self, network: str, scheme: str, runtime: str) -> EngineRecord | None:
        """Return the record of one engine, None when it was not measured."""
        return next((r for r in self.records if (r.network, r.scheme, r.runtime) == (network, scheme, runtime)), None)
