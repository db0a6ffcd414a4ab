"""ONNX Runtime's fusion and layout rules on an x86 processor."""

from __future__ import annotations

from collections.abc import Sequence

from edgekd.fuse.fusion import LANES_AVX512, Fusion
from edgekd.fuse.onnxruntime import borders, convolutions, integers, kernels, patterns, products
from edgekd.fuse.onnxruntime.blocked import Blocking
from edgekd.fuse.onnxruntime.draft import Draft
from edgekd.fuse.onnxruntime.matching import matched
from edgekd.fuse.onnxruntime.transposes import Transposing, channels_last
from edgekd.kernel import FusedKernel
from edgekd.onnx_graph.graph import Graph
from edgekd.profile import Layer


class OnnxRuntime(Fusion):
    """Rules as ONNX Runtime 1.31 executes them with all optimisations; channels lie in blocks of `lanes`.

    With `views` the operators that only give numbers another shape are kernels, too: they cost a call each.
    """

    def __init__(self, lanes: int = LANES_AVX512, *, views: bool = False) -> None:
        super().__init__(lanes)
        self.views = views

    def kernels(self, graph: Graph) -> list[FusedKernel]:
        """Return the kernels in the order of execution."""
        draft = rewritten(graph, self.lanes)
        return [
            kernels.kernel(draft, operator, self.lanes)
            for operator in draft.ordered()
            if self.views or not kernels.is_view(draft, operator)
        ]

    def matched(self, kernels: Sequence[FusedKernel], rows: Sequence[Layer]) -> list[float | None]:
        """Return the milliseconds of each kernel; see `edgekd.fuse.onnxruntime.matching`."""
        return matched(kernels, rows)


def rewritten(graph: Graph, block: int = LANES_AVX512) -> Draft:
    """Return what the runtime makes of a graph, in the order of its own rewriting."""
    draft = Draft.of(graph)
    borders.merge_pairs(draft)
    integers.separate(draft)
    patterns.fuse_relu_clip(draft)
    convolutions.fuse_padding(draft)
    patterns.merge_equal(draft)
    products.fuse_bias(draft)
    patterns.fuse_gelu(draft)
    patterns.fuse_layer_normalization(draft)
    integers.propagate(draft)
    integers.quantize_parameters(draft)
    Transposing(draft).apply()
    integers.drop_activations(draft)
    integers.choose_kernels(draft)
    patterns.spell_out(draft)
    products.fuse_activations(draft)
    convolutions.fuse_activations(draft)
    patterns.fuse_splits(draft)
    products.fuse_transposes(draft)
    patterns.fuse_bias_gelu(draft)
    patterns.fuse_skip_normalization(draft)
    patterns.fuse_quick_gelu(draft)
    products.fuse_factors(draft)
    borders.drop_pairs(draft)
    Blocking(draft, block).apply()
    channels_last(draft)
    convolutions.fuse_sums(draft)
    return draft
