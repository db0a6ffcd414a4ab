"""A small neutral operator graph: what placement rules need to know of a network, whoever captured it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal[
    "input",
    "conv",
    "conv_transpose",
    "linear",
    "matmul",
    "add",
    "mul",
    "concat",
    "average_pool",
    "max_pool",
    "reshape",
    "relu",
    "clip",
    "sigmoid",
    "softmax",
    "other",
    "output",
]
"""`matmul` multiplies two activations; `clip` is bounded by 0 and `limit`; `reshape` is whatever only moves
values; `other` is left in float."""

KINDS: tuple[Kind, ...] = get_args(Kind)
MOVING: frozenset[Kind | None] = frozenset({"reshape", "max_pool"})
"""Operators that keep the quantization of their input, because they only move values."""
WEIGHTED: frozenset[Kind | None] = frozenset({"conv", "conv_transpose", "linear"})
"""Operators with a stored weight."""


@dataclass(frozen=True)
class Operator:
    """One operator and, by that, the tensor it makes."""

    name: str
    kind: Kind
    inputs: tuple[str, ...] = ()
    """Operators whose tensors it reads; weights, constants and whole numbers are not listed."""
    limit: float | None = None
    """Upper bound of a clip, 6 for ReLU6."""


class OperatorGraph:
    """Operators in an order in which each comes after its inputs."""

    def __init__(self, operators: Sequence[Operator]) -> None:
        self._operators = {operator.name: operator for operator in operators}
        self._users: dict[str, list[Operator]] = {operator.name: [] for operator in operators}
        for operator in operators:
            for name in dict.fromkeys(operator.inputs):
                self._users[name].append(operator)

    def __iter__(self) -> Iterator[Operator]:
        return iter(self._operators.values())

    def __getitem__(self, name: str) -> Operator:
        return self._operators[name]

    def inputs(self, operator: Operator) -> list[Operator]:
        """Return the operators whose tensors `operator` reads."""
        return [self._operators[name] for name in operator.inputs]

    def users(self, operator: Operator) -> list[Operator]:
        """Return the operators that read the tensor `operator` makes."""
        return self._users[operator.name]

    def quantized_source(self, name: str) -> Operator:
        """Return the operator whose quantizer holds the tensor `name`, looking through those that move values."""
        operator = self[name]
        while operator.kind in MOVING and operator.inputs:
            operator = self[operator.inputs[0]]
        return operator
