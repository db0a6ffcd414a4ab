"""A graph while ONNX Runtime's rules rewrite it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgekd.onnx_graph.graph import Graph


@dataclass(eq=False)
class Operator:
    """One operator, in ONNX's words until a rule gives it the runtime's."""

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    covers: tuple[str, ...]
    """Names of the ONNX nodes it stands for."""
    age: int
    """Operators are numbered as they are made; the runtime orders what may run in any order by this number."""
    fused: tuple[str, ...] = ()
    blocked: bool = False
    """Whether it is of the NCHWc kind."""

    @property
    def output(self) -> str:
        """Return its first output."""
        return self.outputs[0]


@dataclass
class Draft:
    """Operators with the edges between them; every change keeps the edges right."""

    inputs: frozenset[str]
    outputs: frozenset[str]
    shapes: dict[str, tuple[int, ...]]
    types: dict[str, str]
    constants: set[str]
    values: dict[str, np.ndarray]
    opset: int
    operators: dict[int, Operator] = field(default_factory=dict)
    original: dict[str, str] = field(default_factory=dict)
    """Tensors which rules made, and the tensors of the ONNX graph that hold the same numbers."""
    _producers: dict[str, Operator] = field(default_factory=dict)
    _readers: dict[str, list[Operator]] = field(default_factory=dict)
    _made: int = 0

    @classmethod
    def of(cls, graph: Graph) -> Draft:
        """Return a draft that holds the operators of `graph`."""
        draft = cls(
            frozenset(graph.inputs),
            frozenset(graph.outputs),
            dict(graph.shapes),
            dict(graph.types),
            set(graph.constants),
            dict(graph.values),
            graph.opset,
        )
        for node in graph.nodes:
            draft.add(
                node.op,
                list(node.inputs),
                list(node.outputs),
                dict(node.attributes),
                name=node.name,
                covers=(node.name,),
            )
        return draft

    def __iter__(self) -> Iterator[Operator]:
        """Iterate over the operators there are now, oldest first, leaving out those removed meanwhile."""
        for age in sorted(self.operators):
            if age in self.operators:
                yield self.operators[age]

    def add(
        self,
        op: str,
        inputs: list[str],
        outputs: list[str],
        attributes: dict[str, Any] | None = None,
        *,
        name: str = "",
        covers: tuple[str, ...] = (),
    ) -> Operator:
        """Add an operator; it becomes the producer of its outputs."""
        made = Operator(op, name or outputs[0], inputs, outputs, attributes or {}, covers, self._made)
        self._made += 1
        self.operators[made.age] = made
        for tensor in made.outputs:
            self._producers[tensor] = made
        for tensor in made.inputs:
            self._readers.setdefault(tensor, []).append(made)
        return made

    def remove(self, operator: Operator) -> None:
        """Remove an operator; its outputs have no producer until another takes them over."""
        del self.operators[operator.age]
        for tensor in operator.outputs:
            if self._producers.get(tensor) is operator:
                del self._producers[tensor]
        for tensor in operator.inputs:
            self._readers[tensor].remove(operator)

    def read(self, operator: Operator, position: int, tensor: str) -> None:
        """Let an operator read another tensor at one of its inputs, which may be one past the last."""
        if position == len(operator.inputs):
            operator.inputs.append(tensor)
        else:
            self._readers[operator.inputs[position]].remove(operator)
            operator.inputs[position] = tensor
        self._readers.setdefault(tensor, []).append(operator)

    def write(self, operator: Operator, tensors: list[str]) -> None:
        """Let an operator write other tensors."""
        for tensor in operator.outputs:
            if self._producers.get(tensor) is operator:
                del self._producers[tensor]
        operator.outputs = tensors
        for tensor in tensors:
            self._producers[tensor] = operator

    def rename_readers(self, tensor: str, new: str) -> None:
        """Let all who read `tensor` read `new`."""
        for reader in list(self._readers.get(tensor, ())):
            for position, name in enumerate(reader.inputs):
                if name == tensor:
                    self.read(reader, position, new)

    def producer(self, tensor: str) -> Operator | None:
        """Return the operator that writes `tensor`."""
        return self._producers.get(tensor)

    def readers(self, tensor: str) -> Sequence[Operator]:
        """Return who reads `tensor`, one entry an input."""
        return self._readers.get(tensor, ())

    def only_reader(self, operator: Operator) -> Operator | None:
        """Return who reads what `operator` writes, where that is a single input and no output of the graph."""
        if len(operator.outputs) > 1 and any(self.readers(tensor) for tensor in operator.outputs[1:]):
            return None
        readers = self.readers(operator.output)
        return readers[0] if len(readers) == 1 and operator.output not in self.outputs else None

    def merge(self, operator: Operator, follower: Operator, op: str | None = None) -> None:
        """Let `operator` compute along what `follower`, its only reader, computes."""
        self.remove(follower)
        self.write(operator, follower.outputs)
        operator.op = op or operator.op
        operator.covers += follower.covers
        operator.fused += (follower.op, *follower.fused)

    def tensor(self, like: str, kind: str, shape: tuple[int, ...] | None = None) -> str:
        """Return the name of a new tensor with the numbers of `like`, in another layout unless only copied."""
        name = f"{like}#{kind}"
        while name in self.shapes:
            name += "+"
        self.shapes[name] = self.shapes[like] if shape is None else shape
        self.types[name] = self.types[like]
        self.original[name] = self.original.get(like, like)
        return name

    def is_constant(self, tensor: str) -> bool:
        """Return whether `tensor` is stored in the file; what a DequantizeLinear makes of stored integers is not."""
        return tensor in self.constants and tensor not in self._producers

    def is_scalar(self, tensor: str, value: float | None = None, tolerance: float = 1e-3) -> bool:
        """Return whether `tensor` is a constant of one element, of that value if one is given."""
        known = self.values.get(tensor)
        if tensor not in self.constants or known is None or known.size != 1:
            return False
        return value is None or bool(abs(float(known.reshape(-1)[0]) - value) <= tolerance * max(1.0, abs(value)))

    def activations(self, operator: Operator) -> list[str]:
        """Return the inputs that are not constants."""
        return [tensor for tensor in operator.inputs if tensor and tensor not in self.constants]

    def ordered(self) -> list[Operator]:
        """Return the operators in the order in which the runtime executes them.

        It walks depth first from what nothing reads back to the inputs, the youngest operator first, and executes on
        the way out.
        """
        last = [one for one in self if not any(self.readers(tensor) for tensor in one.outputs)]
        stack = [(one, False) for one in last]
        done: set[int] = set()
        order = []
        while stack:
            one, leaving = stack.pop()
            if leaving:
                order.append(one)
                continue
            if one.age in done:
                continue
            done.add(one.age)
            stack.append((one, True))
            sources = {source.age: source for tensor in one.inputs if (source := self.producer(tensor)) is not None}
            stack += [(source, False) for age, source in sorted(sources.items()) if age not in done]
        return order
