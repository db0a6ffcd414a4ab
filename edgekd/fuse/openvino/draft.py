"""A graph on its way to OpenVINO's executed graph: steps that passes merge, split and give a layout."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod

from edgekd.kernel import FusedKernel, Shape
from edgekd.onnx_graph.graph import Graph, Node

VIEW = "view"
"""What is executed without any work, such as a Reshape."""


@dataclass(eq=False)
class Step:
    """What may become one kernel: one or several operators of the graph."""

    code: str
    inputs: list[str]
    """Activations read."""
    outputs: list[str]
    node: Node
    """The operator whose weights and window are used."""
    covers: list[str] = field(default_factory=list)
    fused: list[str] = field(default_factory=list)
    constants: list[Shape] = field(default_factory=list)
    """Shapes of the constants an elementwise operator reads."""
    reads: list[str] = field(default_factory=list)
    """The inputs of an elementwise step, as often as its operators read them."""
    strides: tuple[int, ...] = ()
    """Of a convolution or pooling."""
    layout: str = ""
    bundle: int = 0
    """Elementwise operators computed in one go."""

    @property
    def output(self) -> str:
        """The tensor it is known by."""
        return self.outputs[0]


class Draft:
    """The steps in a topological order, with what the passes ask of a graph."""

    def __init__(self, graph: Graph, steps: Iterable[Step], converted: bool) -> None:
        self.graph = graph
        self.steps = list(steps)
        self.shapes = dict(graph.shapes)
        self.types = dict(graph.types)
        self.converted = converted
        """Whether quantizers were merged with their inverses when the file was converted to OpenVINO's own form."""
        self.shifted: set[str] = set()
        """Integers with a zero point other than 0."""
        for step in self.steps:
            for name in step.outputs:
                if name and name not in self.shapes:
                    self.name(name, step.inputs[0])
                    if name.endswith("/mean"):
                        self.shapes[name] = (*self.shapes[name][:-1], 1)
        self.reindex()

    def name(self, tensor: str, like: str, type_: str | None = None) -> None:
        """Make known a tensor that the graph does not have."""
        self.shapes[tensor], self.types[tensor] = self.shapes[like], type_ or self.types[like]

    def reindex(self) -> None:
        """Find producers and consumers again after a step was changed by hand."""
        self._producers = {name: step for step in self.steps for name in step.outputs if name}
        self._consumers: dict[str, list[Step]] = {}
        for step in self.steps:
            for name in dict.fromkeys(step.inputs):
                self._consumers.setdefault(name, []).append(step)

    def producer(self, tensor: str) -> Step | None:
        """Return the step that writes `tensor`."""
        return self._producers.get(tensor)

    def consumers(self, tensor: str) -> list[Step]:
        """Return the steps that read `tensor`, each once."""
        return self._consumers.get(tensor, [])

    def only_consumer(self, step: Step) -> Step | None:
        """Return the step that alone reads the one output of `step`; None where the output is also the graph's."""
        if len([name for name in step.outputs if self.consumers(name)]) != 1 or step.output in self.graph.outputs:
            return None
        readers = self.consumers(step.output)
        return readers[0] if len(readers) == 1 else None

    def depends(self, step: Step, on: Step) -> bool:
        """Return whether `step` needs, directly or through others, what `on` makes."""
        waiting, seen = [step], {id(step)}
        while waiting:
            for name in waiting.pop().inputs:
                made = self.producer(name)
                if made is on:
                    return True
                if made is not None and id(made) not in seen:
                    seen.add(id(made))
                    waiting.append(made)
        return False

    def absorb(self, step: Step, follower: Step) -> None:
        """Let `step` compute `follower`, which reads it, along; it then stands where the follower stood."""
        own = set(step.outputs)
        step.inputs = list(dict.fromkeys([*step.inputs, *(name for name in follower.inputs if name not in own)]))
        step.outputs = [
            *follower.outputs,
            *(name for name in step.outputs if name not in follower.inputs or self._outlives(name, follower)),
        ]
        step.covers += follower.covers
        self.steps.remove(step)
        self.steps[self.steps.index(follower)] = step
        self.reindex()

    def _outlives(self, tensor: str, follower: Step) -> bool:
        return tensor in self.graph.outputs or any(reader is not follower for reader in self.consumers(tensor))

    def remove(self, step: Step) -> None:
        """Take a step out."""
        self.steps.remove(step)
        self.reindex()

    def insert(self, step: Step, before: Step | None) -> None:
        """Put a new step before another one, or at the end."""
        self.steps.insert(len(self.steps) if before is None else self.steps.index(before), step)
        self.reindex()

    def insert_after(self, step: Step, maker: Step) -> None:
        """Put a new step after another one."""
        self.steps.insert(self.steps.index(maker) + 1, step)
        self.reindex()

    def bypass(self, step: Step) -> None:
        """Take out a step with one input and one output that does nothing; its readers read its input."""
        source, target = step.inputs[0], step.output
        if target in self.graph.outputs:
            step.code = VIEW
            return
        for reader in self.consumers(target):
            reader.inputs = list(dict.fromkeys(source if name == target else name for name in reader.inputs))
        self.remove(step)

    def rank(self, tensor: str) -> int:
        """Return the number of dimensions."""
        return len(self.shapes[tensor])

    def kernel(self, step: Step) -> FusedKernel:
        """Return the finished kernel."""
        weights, groups, strides, window = _geometry(self.graph, step)
        first = self.types[step.inputs[0]] if step.inputs else "f32"
        weight_type = first if not weights else "s8" if first in {"u8", "s8"} else "f32"
        shapes = [self.shapes[name] for name in step.inputs]
        return FusedKernel(
            code=step.code,
            name=step.output,
            inputs=tuple(shapes),
            output=self._written(step),
            weights=weights,
            groups=groups,
            strides=strides,
            window=window,
            types=(first, weight_type, self.types[step.output]),
            fused=tuple(step.fused),
            covers=tuple(step.covers),
        )

    def _written(self, step: Step) -> Shape:
        shapes = [self.shapes[name] for name in step.outputs if name in self.shapes and self._read(name)]
        if len(shapes) < 2:
            return self.shapes[step.output]
        return (sum(prod(shape) for shape in shapes),)

    def _read(self, tensor: str) -> bool:
        return tensor in self.graph.outputs or bool(self.consumers(tensor))


def _geometry(graph: Graph, step: Step) -> tuple[Shape, int, int, int]:
    node = step.node
    attributes = node.attributes
    strides = prod(step.strides)
    if step.code.removeprefix("q").startswith("conv"):
        shape = graph.shapes[node.inputs[1]]
        groups = int(attributes.get("group", 1))
        if node.op == "ConvTranspose":
            shape = (shape[1] * groups, shape[0] // groups, *shape[2:])
        return shape, groups, strides, prod(shape[2:])
    if step.code.endswith("fully_connected"):
        shape = graph.shapes[node.inputs[1]]
        return (shape[::-1] if node.op == "Gemm" and attributes.get("transB", 0) else shape), 1, 1, 1
    if step.code.split(".")[0].removeprefix("q") == "pool":
        if step.output.endswith("/strided"):
            return (), 1, strides, 1
        return (), 1, strides, prod(attributes.get("kernel_shape", (1,)))
    return (), 1, 1, _looked_at(graph, step)


def _looked_at(graph: Graph, step: Step) -> int:
    """Return how many values an attention or a mean looks at for one of its own."""
    output = graph.shapes[step.node.outputs[0]]
    if step.code == "attention":
        return output[-1]
    if step.code.removeprefix("q") == "reduce":
        return max(1, prod(graph.shapes[step.node.inputs[0]]) // max(1, prod(output)))
    return 1
