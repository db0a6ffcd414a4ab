"""A fusion says what one runtime makes of an ONNX graph: which kernels it executes, in which order and layout."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekd.kernel import FusedKernel
from edgekd.plugins import PluginFolder
from edgekd.profile import Layer
from edgekd.schema import Schema

if TYPE_CHECKING:
    from edgekd.onnx_graph.graph import Graph


class Fusion(ABC):
    """The fusion and layout rules of one runtime, checked against the graphs it executes.

    A file in `edgekd/fuse/fusions` is one runtime's; what gets too long for it goes into a folder of its own beside
    `fusions`, such as `edgekd/fuse/onnxruntime`, because every file in `fusions` is a plug-in.
    """

    class Config(Schema):
        """No options."""

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


FUSIONS: PluginFolder[Fusion] = PluginFolder("edgekd.fuse.fusions", Fusion)  # type: ignore[type-abstract]
