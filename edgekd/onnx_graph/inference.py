"""Shapes, types and small constant values of every tensor, in one walk over the operators of an ONNX model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekd.errors import ExportError, UsageError
from edgekd.kernel import BYTES
from edgekd.onnx_graph import operators
from edgekd.onnx_graph.node import Node

if TYPE_CHECKING:
    import onnx

SMALL = 4096
"""Constants with at most so many elements are computed; of larger ones only the shape is known."""
_PACKED = {"int4", "uint4"}
_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}


@dataclass
class Draft:
    """A graph that is still being simplified; the fields are those of `edgekd.onnx_graph.graph.Graph`."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: list[Node] = field(default_factory=list)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    constants: set[str] = field(default_factory=set)
    values: dict[str, np.ndarray] = field(default_factory=dict)

    def store(self, name: str, shape: tuple[int, ...], type_: str, value: np.ndarray | None = None) -> None:
        """Make `name` a constant."""
        self.shapes[name], self.types[name] = shape, type_
        self.constants.add(name)
        if value is not None and value.size <= SMALL:
            self.values[name] = value


def inferred(model: onnx.ModelProto, inputs: Mapping[str, tuple[int, ...]], folder: Path | None) -> Draft:
    """Return the operators of `model` that do not only compute constants, with the shapes of all their tensors.

    `inputs` are the shapes of those that are fed in; external data are looked for in `folder`.
    Raises ExportError where an operator's result has no shape before the network runs, or where it holds a graph.
    """
    return _Walk(model, inputs, folder).draft


def checked_types(draft: Draft) -> dict[str, str]:
    """Return the type of every tensor still in use; raises ExportError for one that no cost model knows."""
    makers = {output: node for node in draft.nodes for output in node.outputs}
    names = [*draft.inputs, *(name for node in draft.nodes for name in (*node.inputs, *node.outputs)), *draft.outputs]
    used = {name: draft.types[name] for name in names if name}
    for name, type_ in used.items():
        if type_ not in BYTES:
            where = f"node '{makers[name].name}' ({makers[name].op})" if name in makers else f"the tensor '{name}'"
            remedy = "export the network in float32"
            if type_ in _PACKED:
                remedy = "predict the float network, and measure this one with `edgekd compare`"
            raise ExportError(f"{where} is of type {type_}; known: {', '.join(BYTES)}; {remedy}")
    return used


class _Walk:
    def __init__(self, model: onnx.ModelProto, inputs: Mapping[str, tuple[int, ...]], folder: Path | None) -> None:
        self._rules = operators.Operators(model)
        self._folder = folder
        self._declared = {value.name: value.type for value in (*model.graph.value_info, *model.graph.output)}
        self._kept: set[str] = set()
        """Constants that operators of the graph make, because runtimes look at how they are made."""
        self.draft = Draft(tuple(inputs), tuple(value.name for value in model.graph.output))
        for value in model.graph.input:
            if value.name in inputs:
                self.draft.shapes[value.name] = inputs[value.name]
                self.draft.types[value.name] = operators.type_name(value.type.tensor_type.elem_type)
        self._read = operators.read(model.graph)
        self._store_all(model.graph)
        for node in self._sorted(model.graph):
            self._visit(node)

    def _store_all(self, graph: onnx.GraphProto) -> None:
        for tensor in graph.initializer:
            self._store(tensor.name, tensor)
        for sparse in graph.sparse_initializer:
            self.draft.store(sparse.values.name, tuple(sparse.dims), operators.type_name(sparse.values.data_type))

    def _store(self, name: str, tensor: onnx.TensorProto) -> None:
        shape = tuple(tensor.dims)
        value = operators.array(tensor, self._folder) if prod(shape) <= SMALL else None
        self.draft.store(name, shape, operators.type_name(tensor.data_type), value)

    def _sorted(self, graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
        """Yield the operators, each after its inputs; old files do not always list them so."""
        known = {"", *self.draft.shapes}
        waiting = list(graph.node)
        while waiting:
            late = []
            for node in waiting:
                if all(name in known for name in node.input):
                    known.update(node.output)
                    yield node
                else:
                    late.append(node)
            if len(late) == len(waiting):
                missing = next(name for name in late[0].input if name not in known)
                raise UsageError(
                    f"the ONNX graph is damaged: node '{_name(late[0])}' ({late[0].op_type}) reads '{missing}', "
                    "which nothing writes; export it again"
                )
            waiting = late

    def _visit(self, node: onnx.NodeProto) -> None:
        if node.op_type == "Constant":
            self._store_constant(node)
        elif operators.holds_graph(node):
            self._choose_branch(node)
        elif self._computes_constants(node):
            self._fold(node)
        else:
            self._add(node)

    def _store_constant(self, node: onnx.NodeProto) -> None:
        (attribute,) = node.attribute
        if attribute.name == "value":
            self._store(node.output[0], attribute.t)
        else:
            value = operators.listed(attribute)
            self.draft.store(node.output[0], value.shape, operators.type_name_of(value), value)

    def _choose_branch(self, node: onnx.NodeProto) -> None:
        """Put the branch of an If in its place where the condition is known, as after a test of a shape."""
        condition = self.draft.values.get(node.input[0]) if node.op_type == "If" else None
        if condition is None:
            raise ExportError(
                f"node '{_name(node)}' ({node.op_type}) holds a graph of its own, whose cost depends on the data; "
                "export the network without control flow"
            )
        taken = "then_branch" if condition.item() else "else_branch"
        (branch,) = (attribute.g for attribute in node.attribute if attribute.name == taken)
        self._store_all(branch)
        for inner in branch.node:
            self._visit(inner)
        for result, output in zip(branch.output, node.output, strict=True):
            self._visit(operators.identity(result.name, output))

    def _computes_constants(self, node: onnx.NodeProto) -> bool:
        if node.op_type in {"Shape", "Size"}:
            return True
        if node.op_type in _RANDOM or node.op_type == "DequantizeLinear" or node.domain not in operators.ONNX:
            return False
        return all(name in self.draft.constants - self._kept for name in node.input if name)

    def _fold(self, node: onnx.NodeProto) -> None:
        draft = self.draft
        if node.op_type in {"Shape", "Size"}:
            value = operators.measured(node, draft.shapes[node.input[0]])
            draft.store(node.output[0], value.shape, "s64", value)
            return
        outputs = self._infer(node)
        known = all(name in draft.values for name in node.input if name)
        if known and all(shape is None or prod(shape) <= SMALL for shape, _ in outputs.values()):
            for name, value in self._rules.compute(node, draft.values).items():
                draft.store(name, value.shape, operators.type_name_of(value), value)
        for name, (shape, type_) in outputs.items():
            if name not in draft.constants:
                draft.store(name, self._settled(node, name, shape), type_)

    def _add(self, node: onnx.NodeProto) -> None:
        # Optional results nobody reads, such as the mask of a Dropout, may have no shape, and no runtime computes them.
        outputs = tuple(
            name if name in self._read or not self._rules.is_optional(node, position) else ""
            for position, name in enumerate(node.output)
        )
        for name, (shape, type_) in self._infer(node).items():
            if name in outputs:
                self.draft.shapes[name], self.draft.types[name] = self._settled(node, name, shape), type_
        self.draft.nodes.append(
            Node(
                op=operators.qualified(node),
                name=_name(node),
                inputs=tuple(node.input),
                outputs=outputs,
                attributes=operators.attributes(node),
            )
        )
        if node.input and all(name in self.draft.constants for name in node.input if name):
            made = {name for name in outputs if name}
            self.draft.constants |= made
            self._kept |= made

    def _infer(self, node: onnx.NodeProto) -> dict[str, tuple[tuple[int, ...] | None, str]]:
        found = self._rules.infer(node, self.draft.shapes, self.draft.types, self.draft.values)
        for name in node.output:
            if name and found.get(name, (None, ""))[0] is None and name in self._declared:
                found[name] = operators.shape_and_type(self._declared[name])
        return {name: found.get(name, (None, "?")) for name in node.output if name}

    def _settled(self, node: onnx.NodeProto, name: str, shape: tuple[int, ...] | None) -> tuple[int, ...]:
        if shape is None:
            raise ExportError(
                f"the shape of '{name}', which node '{_name(node)}' ({node.op_type}) writes, is unknown before the "
                "network runs; export it with fixed sizes"
            )
        return shape


def _name(node: onnx.NodeProto) -> str:
    return node.name or next((name for name in node.output if name), node.op_type)
