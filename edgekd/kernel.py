"""A fused kernel: what a runtime computes in one go, as far as its cost depends on it."""

from __future__ import annotations

from math import prod
from typing import Any, Literal, NamedTuple

from edgekd.figure import Origin
from edgekd.schema import Field, Schema

Shape = tuple[int, ...]

BYTES = {"f32": 4, "f16": 2, "u8": 1, "s8": 1, "s32": 4, "s64": 8, "bool": 1}
"""Of one element, by the names of types used here."""


class FusedKernel(NamedTuple):
    """One operator of an executed graph, with all that is fused into it; rules of a runtime make them from a graph."""

    code: str
    """The code a runtime has for it, such as `conv.nchwc`; kernels of one code share one cost model."""
    name: str
    """The tensor it writes, as the ONNX graph calls it; unique in a graph except for layout changes."""
    inputs: tuple[Shape, ...]
    """Shapes of the activations it reads."""
    output: Shape
    weights: Shape = ()
    """(out channels, in channels / groups, *window) of a convolution, (in, out) of a product with constants."""
    groups: int = 1
    strides: int = 1
    """Product of the strides of a convolution or pooling."""
    window: int = 1
    """Positions a convolution, a pooling or an attention looks at for one of its own."""
    types: tuple[str, str, str] = ("f32", "f32", "f32")
    """Of the first input, the weights and the output: keys of BYTES."""
    fused: tuple[str, ...] = ()
    """ONNX operators computed along, in order, such as ("Add", "Relu")."""
    covers: tuple[str, ...] = ()
    """Names of the ONNX nodes it stands for."""

    def anonymous(self) -> FusedKernel:
        """Return the kernel without the names of the graph it is from: equal kernels of any graph are equal so."""
        return self._replace(name="", covers=())

    @property
    def macs(self) -> int:
        """Return the multiply-accumulate operations; zero where nothing is multiplied by weights or activations."""
        if len(self.weights) > 2:
            return prod(self.output) * prod(self.weights[1:])
        if self.weights:
            return prod(self.output) * self.weights[0]
        if self.code.startswith("matmul"):
            return prod(self.output) * self.inputs[0][-1]
        return 0

    @property
    def bytes_read(self) -> int:
        """Return the bytes of the activations read."""
        return sum(prod(shape) for shape in self.inputs) * BYTES[self.types[0]]

    @property
    def bytes_written(self) -> int:
        """Return the bytes of the activation written."""
        return prod(self.output) * BYTES[self.types[2]]

    @property
    def bytes_of_weights(self) -> int:
        """Return the bytes of the constants read."""
        return prod(self.weights) * BYTES[self.types[1]] if self.weights else 0


class TimedKernel(NamedTuple):
    """A kernel and what it cost in the engine it was executed in."""

    kernel: FusedKernel
    ms: float | None
    """Its share of the latency; None where the runtime gave it no row."""


class Probe(Schema):
    """One engine whose latency was measured together with that of its kernels."""

    name: str = Field(description="`<kind>-<seed>` of a probe that can be drawn again, else the name of an engine")
    scheme: str
    runtime: str
    ms: float = Field(gt=0, description="median latency of a call, restored to the speed of the anchor's median")
    runs: int
    scatter: float = Field(description="interquartile range of the calls over their median")
    pace: float = Field(gt=0, description="how slow the machine was then: the anchor's latency over its median")
    rows: int = Field(description="operators the runtime told a time of")
    rows_ms: float = Field(description="the sum of these; counting slows some runtimes down")
    kernels: tuple[TimedKernel, ...]


class MemoryProbe(Schema):
    """Peak memory of one engine, above that of a process with the same runtime and no engine."""

    name: str
    scheme: str
    runtime: str
    peak_mb: float
    weights_mb: float = Field(ge=0, description="stored constants")
    activations_mb: float = Field(ge=0, description="most activations alive at the same time")


class Fit(Schema):
    """What was learned of one runtime from its probes; with them it is all a prediction needs."""

    relevance: dict[str, tuple[float, ...]] = Field(description="logarithmic hyperparameters by kind of kernel")
    common: float = Field(ge=0, description="relative deviation of whole networks, whatever their kernels are")
    own: float = Field(ge=0, description="factor on what the deviations of a network's kernels add up to")
    reach: float = Field(gt=0, description="deviations that hold nine of ten left-out probes")
    error: float = Field(ge=0, description="median relative error of left-out probes")


class KernelProfile(Schema):
    """What kernels cost on one target at one operating point, measured in probes."""

    schema_version: Literal[1] = 1
    target: str
    origin: Origin
    machine: dict[str, Any] = Field(default_factory=dict, description="identity, and its state before and after")
    versions: dict[str, str] = Field(default_factory=dict)
    threads: int = 1
    anchor_ms: dict[str, float] = Field(description="median latency of the anchor, by runtime")
    probes: tuple[Probe, ...] = ()
    memory: tuple[MemoryProbe, ...] = ()
    fits: dict[str, Fit] = Field(default_factory=dict, description="by runtime")

    @property
    def isa(self) -> tuple[str, ...]:
        """Return the instruction sets of the processor: what a runtime makes of a graph depends on them."""
        return tuple(self.machine.get("isa", ()))
