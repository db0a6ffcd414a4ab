"""Where quantizers go: the rules under which ONNX Runtime, OpenVINO and TensorRT really execute integers.

They were found by reading executed graphs. An engine fuses a layer into an integer kernel only when every tensor
it reads and writes is quantized, and when nothing stands between the layer and the quantizer of its output.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekd.quantize.graph import MOVING, Operator, OperatorGraph
from edgekd.quantize.scheme import Scheme, Signedness

INTEGER = {"conv", "linear", "add", "average_pool", "concat"}
"""Operators with an integer kernel: every input is quantized."""
ACTIVATIONS = {"relu", "clip"}


@dataclass(frozen=True)
class QuantizedTensor:
    """One tensor that is stored as integers."""

    operator: str
    """The operator that makes it."""
    signedness: Signedness
    absorbs: bool = False
    """The quantizer takes the operator's place: u8 with zero point 0 cuts negative values off as ReLU does."""
    limit: float | None = None
    """The largest value it may represent: a scale of at most limit / 255 makes it cut off as ReLU6 does."""


@dataclass(frozen=True)
class Placement:
    """All quantizers of a network: one a listed tensor, and one for the weight of each listed operator."""

    tensors: tuple[QuantizedTensor, ...]
    weights: tuple[str, ...]


def place(graph: OperatorGraph, scheme: Scheme) -> Placement:
    """Decide which tensors and weights become integers, and how each tensor is stored."""
    tensors = tuple(_stored(graph, operator, scheme) for operator in graph if _is_quantized(graph, operator))
    weights = tuple(operator.name for operator in graph if operator.kind in {"conv", "linear"})
    return Placement(tensors, weights)


def _is_quantized(graph: OperatorGraph, operator: Operator) -> bool:
    if operator.kind in MOVING or operator.kind == "output" or _before_activation(graph, operator):
        return False
    # A convolution has no integer kernel with a float output, unlike a linear layer.
    return _feeds_integers(graph, operator) or _ends_convolution(graph, operator)


def _before_activation(graph: OperatorGraph, operator: Operator) -> bool:
    """Quantizing between a layer and its activation would keep engines from fusing the two."""
    users = graph.users(operator)
    return operator.kind in INTEGER and len(users) == 1 and users[0].kind in ACTIVATIONS


def _feeds_integers(graph: OperatorGraph, operator: Operator) -> bool:
    return any(
        user.kind in INTEGER or (user.kind in MOVING and _feeds_integers(graph, user)) for user in graph.users(operator)
    )


def _ends_convolution(graph: OperatorGraph, operator: Operator) -> bool:
    if operator.kind in ACTIVATIONS:
        return any(made.kind == "conv" and _before_activation(graph, made) for made in graph.inputs(operator))
    return operator.kind == "conv"


def _stored(graph: OperatorGraph, operator: Operator, scheme: Scheme) -> QuantizedTensor:
    signedness = scheme.signedness(never_negative=_never_negative(graph, operator))
    absorbs = operator.kind in ACTIVATIONS and signedness == "unsigned"
    return QuantizedTensor(operator.name, signedness, absorbs, operator.limit if operator.kind == "clip" else None)


def _never_negative(graph: OperatorGraph, operator: Operator) -> bool:
    if operator.kind in ACTIVATIONS:
        return True
    if operator.kind in MOVING | {"average_pool", "add", "concat"}:
        return all(_never_negative(graph, made) for made in graph.inputs(operator))
    return False
