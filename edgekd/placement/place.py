"""Where quantizers go: the rules under which ONNX Runtime, OpenVINO and TensorRT really execute integers.

They were found by reading executed graphs. An engine fuses a layer into an integer kernel only when every tensor
it reads and writes is quantized, and when nothing stands between the layer and the quantizer of its output.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from edgekd.placement.graph import MOVING, WEIGHTED, Kind, Operator, OperatorGraph
from edgekd.placement.scheme import Scheme, Signedness

QUANTIZED: frozenset[Kind] = frozenset({"conv", "linear", "add", "average_pool", "concat"})
"""Kinds that every runtime edgekd knows computes in integers, and that pay without a trial."""
_PRODUCTS = WEIGHTED | {"matmul"}
"""What is worth integers for its own sake; other operators only on the way to one of these."""
_ACTIVATIONS = {"relu", "clip"}
_NEVER_NEGATIVE = {"relu", "clip", "sigmoid", "softmax"}
_KEEP_SIGN = MOVING | {"average_pool", "add", "mul", "concat"}


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
    integers: tuple[str, ...] = ()
    """Operators that are to be computed in integers, those with weights among them."""


def place(
    graph: OperatorGraph,
    scheme: Scheme,
    kinds: Collection[Kind] = QUANTIZED,
    floating: Collection[str] = (),
) -> Placement:
    """Decide which tensors and weights become integers, and how each tensor is stored.

    `kinds` are computed in integers (`edgekd.placement.support`), but for the operators named in `floating`.
    """
    return _Rules(graph, frozenset(kinds), frozenset(floating)).placement(scheme)


class _Rules:
    """One walk from the results back to the inputs: whether integers pay shows in who reads a tensor."""

    def __init__(self, graph: OperatorGraph, kinds: frozenset[Kind], floating: frozenset[str]) -> None:
        self._graph, self._kinds, self._floating = graph, kinds, floating
        self._stored: dict[str, bool] = {}
        self._read: dict[str, bool] = {}
        """Whether something that computes in integers reads the tensor, perhaps after it was moved."""
        self._integer: dict[str, bool] = {}
        for operator in reversed(list(graph)):
            users = graph.users(operator)
            self._read[operator.name] = any(
                self._integer[user.name] or (user.kind in MOVING and self._read[user.name]) for user in users
            )
            self._integer[operator.name] = self._may_be_integer(operator) and self._pays(operator, users)
            self._stored[operator.name] = self._is_stored(operator)

    def placement(self, scheme: Scheme) -> Placement:
        """Return what was found, with the tensors stored as `scheme` wants them."""
        graph = self._graph
        integers = tuple(operator.name for operator in graph if self._integer[operator.name])
        return Placement(
            tensors=tuple(self._tensor(operator, scheme) for operator in graph if self._stored[operator.name]),
            weights=tuple(name for name in integers if graph[name].kind in WEIGHTED),
            integers=integers,
        )

    def _pays(self, operator: Operator, users: list[Operator]) -> bool:
        """Return whether integers are worth it: a sum that only float operators read would be rounded for nothing."""
        if operator.kind in _PRODUCTS or self._read[operator.name]:
            return True
        return _is_activated(users) and self._stored[users[0].name]

    def _is_stored(self, operator: Operator) -> bool:
        # Quantizing between a layer and its activation would keep engines from fusing the two.
        is_fused = self._integer[operator.name] and _is_activated(self._graph.users(operator))
        if operator.kind in MOVING or operator.kind == "output" or is_fused:
            return False
        # A convolution has no integer kernel with a float output in ONNX Runtime, unlike a linear layer.
        return self._read[operator.name] or self._ends_convolution(operator)

    def _ends_convolution(self, operator: Operator) -> bool:
        if operator.kind not in _ACTIVATIONS:
            return operator.kind == "conv" and self._integer[operator.name]
        # The walk has yet to reach what makes the tensor; a convolution pays in any case.
        return any(
            made.kind == "conv" and self._may_be_integer(made) and _is_activated(self._graph.users(made))
            for made in self._graph.inputs(operator)
        )

    def _may_be_integer(self, operator: Operator) -> bool:
        return operator.kind in self._kinds and operator.name not in self._floating

    def _tensor(self, operator: Operator, scheme: Scheme) -> QuantizedTensor:
        signedness = scheme.signedness(never_negative=_never_negative(self._graph, operator))
        absorbs = operator.kind in _ACTIVATIONS and signedness == "unsigned"
        return QuantizedTensor(operator.name, signedness, absorbs, operator.limit if operator.kind == "clip" else None)


def _is_activated(users: list[Operator]) -> bool:
    return len(users) == 1 and users[0].kind in _ACTIVATIONS


def _never_negative(graph: OperatorGraph, operator: Operator) -> bool:
    if operator.kind in _NEVER_NEGATIVE:
        return True
    made = graph.inputs(operator)
    return operator.kind in _KEEP_SIGN and bool(made) and all(_never_negative(graph, one) for one in made)
