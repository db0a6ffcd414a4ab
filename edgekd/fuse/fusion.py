"""A fusion says what one runtime makes of an ONNX graph: which kernels it executes, in which order and layout."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from edgekd.kernel import FusedKernel
from edgekd.plugins import PluginFolder
from edgekd.profile import Layer
from edgekd.schema import Schema

if TYPE_CHECKING:
    from edgekd.onnx_graph.graph import Graph


LANES_AVX512 = 16
LANES_AVX2 = 8


class Fusion(ABC):
    """The fusion and layout rules of one runtime, checked against the graphs it executes.

    `lanes` is how many float32 values a vector register of the processor holds: layouts depend on it.

    A file in `edgekd/fuse/fusions` is one runtime's; what gets too long for it goes into a folder of its own beside
    `fusions`, such as `edgekd/fuse/onnxruntime`, because every file in `fusions` is a plug-in.
    """

    class Config(Schema):
        """No options."""

    def __init__(self, lanes: int = LANES_AVX512) -> None:
        self.lanes = lanes

    @abstractmethod
    def kernels(self, graph: Graph) -> list[FusedKernel]:
        """Return the kernels in the order of execution.

        Layout changes which the runtime inserts are kernels, too; what it executes as a mere view is none. An operator
        without a rule becomes a kernel of its own with the code `other.<operator>`.
        """

    @abstractmethod
    def matched(self, kernels: Sequence[FusedKernel], rows: Sequence[Layer]) -> list[float | None]:
        """Return the milliseconds of each kernel in the executed graph, None for a kernel without a row.

        `rows` are the times per operator of the graph `kernels` was made of (`edgekd.device.layers`); those of one
        kernel are added, and none is counted twice.
        """


def lanes(isa: Collection[str]) -> int:
    """Return how many float32 values a vector register holds on a processor of these instruction sets."""
    return LANES_AVX512 if "avx512f" in isa else LANES_AVX2


def rules(runtimes: Iterable[str], isa: Collection[str]) -> dict[str, Fusion]:
    """Return the rules by runtime on a processor of these instruction sets.

    Raises UsageError for a runtime without rules.
    """
    return {runtime: FUSIONS.get(runtime)(lanes(isa)) for runtime in runtimes}


FUSIONS: PluginFolder[Fusion] = PluginFolder("edgekd.fuse.fusions", Fusion)  # type: ignore[type-abstract]
