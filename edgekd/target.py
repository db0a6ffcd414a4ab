"""A target: a device as data, each number with its source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from edgekd import catalogue
from edgekd.errors import UsageError
from edgekd.schema import Field, Schema, field_validator, from_mapping, model_validator, read_yaml

Precision = Literal["fp32", "fp16", "int8"]
FLOAT_SCHEMES = frozenset({"fp32", "fp16"})
"""Arithmetic that needs no calibration."""


Evidence = Literal["measured", "vendor", "derived", "reported"]
"""Measured with edgekd, told by the vendor, computed from other facts, or told by somebody else and not checked."""


class Fact(Schema):
    """Something nobody has to believe: where it is from, and how good that is."""

    source: str = Field(min_length=8)
    evidence: Evidence


class Sourced(Fact):
    """A number with its source."""

    value: float


class Quantization(Fact):
    """The integer arithmetic a runtime wants on this target."""

    scheme: str = Field(description="key of a scheme in edgekd/placement/scheme.py, also the name of the variant")


class Sparsity(Fact):
    """Whether the runtime computes faster where two of every four weights are zero."""

    pays: bool


class Software(Fact):
    """What a board's vendor ships for it; TensorRT's majors are different worlds."""

    jetpack: str = Field(description="versions of JetPack this target is about")
    tensorrt: str = Field(description="versions of TensorRT that come with them")
    strongly_typed: bool = Field(description="whether the file alone says what is computed in which precision")
    opset_most: int = Field(ge=9, description="newest ONNX opset its parser reads")


class BoardFacts(Schema):
    """What a datasheet says of a target whose kernels nobody has measured yet, in the precision that is run."""

    dense_tflops: Sourced = Field(description="of what computes dense layers: tensor cores where there are any")
    vector_tflops: Sourced = Field(description="of those that compute everything else, depthwise layers among it")
    bandwidth_gbs: Sourced = Field(description="of the memory, in 1e9 bytes a second")
    dense_tops_int8: Sourced | None = Field(default=None, description="as dense_tflops, in int8; none: int8 is no gain")


class Target(Schema):
    """One exact device (or, with `same_as`, another name for one)."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="also a part of run folders' names")
    title: str
    machine: str = Field(description="what `uname -m` prints there")
    isa: tuple[str, ...] = Field(default=(), description="instruction sets the device must have")
    lacks: tuple[str, ...] = Field(default=(), description="instruction sets a device of this kind does not have")
    runtimes: tuple[str, ...] = Field(min_length=1, description="export backends, in order of preference")
    precisions: tuple[Precision, ...] = Field(description="precisions that really run fast there")
    quantization: dict[str, Quantization] = Field(default_factory=dict, description="by runtime")
    channel_step: dict[Precision, Sourced] = Field(description="widths that are a multiple of this waste no lanes")
    threads: int = Field(default=1, ge=1, le=1024, description="threads of the default operating point")
    calls_itself: str | None = Field(
        default=None, description="part of what the board answers in /proc/device-tree/model"
    )
    memory_gb: Sourced | None = Field(default=None, description="of the whole board, shared with a GPU that is on it")
    compute_capability: Sourced | None = Field(default=None, description="of the GPU, such as 8.7")
    dla: Sourced | None = Field(default=None, description="how many deep learning accelerators it has beside the GPU")
    sparsity: Sparsity | None = Field(default=None, description="whether 2:4 weights are skipped; absent: not known")
    software: Software | None = None
    predict_only: str | None = Field(default=None, description="why nothing is built for it")
    board: BoardFacts | None = Field(default=None, description="for predictions where no kernel profile is known")
    verified: bool = Field(default=False, description="somebody measured this target with edgekd")

    @field_validator("channel_step")
    @classmethod
    def _whole_steps(cls, steps: dict[Precision, Sourced]) -> dict[Precision, Sourced]:
        for precision, step in steps.items():
            if not (step.value.is_integer() and 1 <= step.value <= 1024):
                raise ValueError(f"the step of {precision} is {step.value:g}; expected a whole number from 1 to 1024")
        return steps

    @model_validator(mode="after")
    def _quantization_has_its_runtime(self) -> Target:
        for runtime in self.quantization:
            if runtime not in self.runtimes:
                raise ValueError(
                    f"quantization names runtime '{runtime}', which is not among runtimes {list(self.runtimes)}"
                )
        return self

    @property
    def needs_gpu(self) -> bool:
        """Return whether its engines run on a GPU of NVIDIA's."""
        return any(runtime.startswith("tensorrt") for runtime in self.runtimes)

    @property
    def adds_in_16_bits(self) -> bool:
        """Return whether integer kernels add products in 16 bits there, for want of dot products, and may overflow."""
        return bool({"avx512_vnni", "avx_vnni", "asimddp"}.intersection(self.lacks))

    def fits(self, machine: str, isa: frozenset[str], model: str = "", gpu: str | None = None) -> bool:
        """Return whether a probed machine is this target: right architecture, all of its ISA, none it lacks.

        `model` is what a board calls itself; one board is no other one. `gpu` is the compute capability of the GPU that
        engines would run on, which shows in no processor.
        """
        if self.machine != machine or not isa.issuperset(self.isa) or isa.intersection(self.lacks):
            return False
        if self.calls_itself:
            return self.calls_itself in model
        if not self.needs_gpu:
            return True
        return gpu is not None and (self.compute_capability is None or float(gpu) == self.compute_capability.value)

    def scheme_for(self, runtime: str) -> str | None:
        """Return the quantization scheme of a runtime, None where integers do not pay."""
        found = self.quantization.get(runtime)
        return found.scheme if found else None

    def float_scheme(self, runtime: str) -> str:
        """Return the arithmetic of a runtime's float engines: TensorRT's are in half precision where that is fast."""
        return "fp16" if runtime.startswith("tensorrt") and "fp16" in self.precisions else "fp32"

    def float_schemes(self) -> tuple[str, ...]:
        """Return the arithmetic of the float engines of all runtimes, without repetition."""
        return tuple(dict.fromkeys(map(self.float_scheme, self.runtimes)))

    def schemes(self) -> tuple[str, ...]:
        """Return every quantization scheme some runtime of this target wants, without repetition."""
        return tuple(dict.fromkeys(q.scheme for q in self.quantization.values()))


class Alias(Schema):
    """A family name: resolves to an exact target, or to whatever the probe of this machine finds."""

    same_as: str


def load(name: str, host: str | None = None) -> Target:
    """Return the target called `name` (a shipped name or the path of a YAML file), following `same_as`.

    `host` is the name of the target this machine was probed to be; the names `host` and `cpu` resolve to it.
    Raises UsageError for an unknown name, a fault in the file or a circle of aliases.
    """
    seen: list[str] = []
    named_in = ""
    while True:
        if name == "host":
            if host is None:
                raise UsageError("the target 'host' needs a probe of this machine first")
            name = host
        if name in seen:
            raise UsageError(f"targets point at each other in a circle: {' -> '.join([*seen, name])}")
        seen.append(name)
        try:
            path = catalogue.find("targets", name)
        except UsageError as error:
            raise UsageError(f"{named_in}{error}", error.word) from None
        data, lines = read_yaml(path)
        if "same_as" not in data:
            return from_mapping(Target, data, str(path), lines)
        name = from_mapping(Alias, data, str(path), lines).same_as
        named_in = f"{path}:{lines.get('same_as', 1)}: "


def family(name: str) -> frozenset[str]:
    """Return the targets a family name may stand for, those that begin with it; none for an exact target."""
    if name not in catalogue.names("targets") or "same_as" not in read_yaml(catalogue.find("targets", name))[0]:
        return frozenset()
    return frozenset(other for other in catalogue.names("targets") if other.startswith(f"{name}-"))


def matching(machine: str, isa: frozenset[str], model: str = "", tensorrt: str = "") -> str | None:
    """Return the name of the target a probed machine is, see `Target.fits`, the user's own first; None for none.

    One board is several targets by what its vendor ships for it: that of its major of TensorRT comes first.
    """
    found = []
    for name in catalogue.names("targets"):
        data, lines = read_yaml(catalogue.find("targets", name))
        if "same_as" not in data:
            target = from_mapping(Target, data, name, lines)
            if target.fits(machine, isa, model):
                found.append(target)
    same = [t for t in found if t.software is None or major(t.software.tensorrt) == major(tensorrt)]
    return next((t.name for t in same or found), None)


def of(probed: Mapping[str, Any]) -> str | None:
    """Return the name of the target a machine is by what it says of itself (edgekd/device/probe.py), None for none."""
    isa, versions = frozenset(probed["isa"]), probed["versions"]
    return matching(probed["machine"], isa, probed.get("model") or "", versions.get("tensorrt", ""))


def major(version: str) -> str:
    """Return the first number of a version."""
    return version.partition(".")[0]
