"""What TensorRT and TensorRT-RTX share: the sentence about a refused operator, and the batches an engine is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, List

if TYPE_CHECKING:
    import tensorrt as trt

LARGEST_BATCH = 32
"""Of the engines: what accuracy is measured with; a latency may ask for more."""
_NO_DRIVER = "CUDA driver"
"""Without a GPU TensorRT-RTX complains of the missing driver at every turn, and goes on."""


def refusal(parser: str, error: trt.ParserError, file: str) -> str:
    """Return the sentence about the first operator that a parser refuses, with the module it is in."""
    node, operator = error.node_name(), error.node_operator()
    module = node.rpartition("/")[0]
    place = " of module '{}'".format(module) if module else ""
    lines = [line for line in error.desc().splitlines() if _NO_DRIVER not in line]
    reason = " ".join(" ".join(lines).split())[:400]
    return "{} refuses the operator {} '{}'{} in {}: {}".format(parser, operator, node, place, file, reason)


def sizes(dims: trt.Dims) -> List[int]:
    """Return the sizes of a shape; -1 is a free one."""
    return [int(dims[axis]) for axis in range(len(dims))]


def allow_batches(profile: trt.IOptimizationProfile, tensor: trt.ITensor, most: int = LARGEST_BATCH) -> None:
    """Let the free dimensions of an input be 1 to `most`; only a batch is free in edgekd's files."""
    shape = sizes(tensor.shape)
    if -1 in shape:
        kind = type(tensor.shape)  # of whichever of the two packages it is
        small, large = (kind([size if size >= 0 else batch for size in shape]) for batch in (1, most))
        profile.set_shape(tensor.name, small, small, large)
