"""The rules of OpenVINO's CPU plugin."""

from __future__ import annotations

from collections.abc import Sequence

from edgekd.fuse.fusion import LANES_AVX512, Fusion
from edgekd.fuse.openvino import (
    codes,
    composites,
    integers,
    layouts,
    lowering,
    matching,
    order,
    postops,
    snippets,
    strides,
)
from edgekd.kernel import FusedKernel
from edgekd.onnx_graph.graph import Graph
from edgekd.profile import Layer


class OpenVino(Fusion):
    """Rules of OpenVINO 2026.4 on a processor with AVX-512 or AVX2, in float32 and in eight-bit integers.

    `converted` is for OpenVINO's own files, as edgekd ships them: in integers they execute otherwise than the ONNX file
    read directly, because the conversion merges a quantizer with its inverse, zero point included.
    """

    def __init__(self, lanes: int = LANES_AVX512, *, converted: bool = True) -> None:
        super().__init__(lanes)
        self._converted = converted

    def kernels(self, graph: Graph) -> list[FusedKernel]:
        """Return the kernels of the executed graph in order."""
        draft = lowering.lowered(graph, self._converted)
        composites.recognise(draft)
        strides.pull_up(draft)
        integers.spread(draft)
        postops.fuse(draft)
        integers.convert(draft)
        snippets.bundle(draft)
        order.sort(draft)
        layouts.change(draft, self.lanes)
        order.sort(draft)
        return codes.kernels(draft)

    def matched(self, kernels: Sequence[FusedKernel], rows: Sequence[Layer]) -> list[float | None]:
        """Return the milliseconds of each kernel, by the names OpenVINO gives its operators and by their order."""
        return matching.matched(kernels, rows)
