"""Whether a network computes in floats or in integers, in the words of a kernel profile."""

from __future__ import annotations

from edgekd.kernel import KernelProfile
from edgekd.onnx_graph.graph import Graph

FLOAT = "fp32"
"""The scheme of a network as it is drawn or trained; every other one is made from it."""
_QUANTIZERS = {"QuantizeLinear", "DequantizeLinear"}


def is_quantized(graph: Graph) -> bool:
    """Return whether some of the network computes in integers."""
    return any(node.op in _QUANTIZERS for node in graph.nodes)


def scheme_of(graph: Graph, profile: KernelProfile) -> str:
    """Return the scheme under which the profile knows networks like this one."""
    if not is_quantized(graph):
        return FLOAT
    return next((probe.scheme for probe in profile.probes if probe.scheme != FLOAT), FLOAT)
