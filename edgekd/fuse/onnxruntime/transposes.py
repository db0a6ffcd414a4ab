"""Transposes are pushed through operators towards others, so that two meet and vanish.

An operator takes a transpose over from its inputs where that makes fewer dimensions to transpose than before. The cost
of a transpose is the number of its dimensions longer than 1.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgekd.fuse.onnxruntime.borders import repair
from edgekd.fuse.onnxruntime.draft import Draft, Operator
from edgekd.fuse.onnxruntime.permutations import Perm, inverse, split, to_first, to_last, widened, without

_SIMPLE = {
    "Cast", "Exp", "LeakyRelu", "Log", "Reciprocal", "Relu", "Sigmoid", "Sqrt", "Tanh", "Abs", "Ceil", "Floor", "Neg",
    "Erf", "HardSigmoid", "Round", "Selu", "Softplus", "Softsign", "HardSwish", "Clip", "Elu", "QLinearLeakyRelu",
    "QLinearSigmoid", "QuantizeLinear", "DequantizeLinear", "QuickGelu", "Gelu",
    "Celu", "ThresholdedRelu",
}  # fmt: skip
_BROADCAST = {"Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "PRelu", "Sum", "Mean", "QLinearAdd", "QLinearMul"}
_AXIS = {"Concat": None, "QLinearConcat": None, "Split": 0, "Softmax": -1, "QLinearSoftmax": -1}
_REDUCTIONS = {"ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum"}
_POOLS = {"QLinearAveragePool", "QLinearGlobalAveragePool"}
_OTHERS = {"Squeeze", "Unsqueeze", "Gather", "Slice", "Pad"}
_HANDLED = _SIMPLE | _BROADCAST | set(_AXIS) | _REDUCTIONS | _OTHERS
_INTEGERS = {"u8", "s8"}


class Transposing:
    """One pass over a draft; `late` is the pass behind the choice of integer kernels."""

    def __init__(self, draft: Draft, late: bool = False) -> None:
        self.draft = draft
        self.late = late

    def apply(self) -> None:
        """Push transposes through operators, in the order of execution."""
        order = self.draft.ordered()
        leading = self._leading(order)
        for operator in order:
            if operator.age not in self.draft.operators:
                continue
            for position, tensor in enumerate(operator.inputs):
                transpose = self.draft.producer(tensor) if tensor else None
                if transpose is None or transpose.op != "Transpose":
                    continue
                if self._process(operator, position, perm_of(self.draft, transpose), leading):
                    break
        if any(operator.op == "DequantizeLinear" for operator in order):
            repair(self.draft)

    def wrap(self, operator: Operator, perm: Perm) -> None:
        """Let an operator read its first input transposed by `perm`, and transpose its result back."""
        self._transpose_input(operator, 0, perm)
        self._transpose_outputs(operator, [inverse(perm)])

    def _leading(self, order: list[Operator]) -> set[str]:
        """Return the tensors from which operators lead to a transpose that take one over."""
        leading: set[str] = set()
        for operator in reversed(order):
            if operator.op == "Transpose":
                leading.add(operator.inputs[0])
            elif operator.op == "Reshape":
                continue
            elif any(tensor in leading for tensor in operator.outputs) and self._handles(operator):
                leading.update(operator.inputs[position] for position in self._inputs(operator))
        return leading

    def _handles(self, operator: Operator) -> bool:
        if operator.op == "Transpose" or operator.op in _HANDLED:
            return True
        return operator.op in {"MaxPool", "Resize", *_POOLS, "Reshape"}

    def _inputs(self, operator: Operator) -> list[int]:
        """Return the positions of the inputs that are transposed along."""
        if operator.op in _BROADCAST:
            return [at for at, tensor in enumerate(operator.inputs) if len(self.draft.shapes[tensor]) > 0]
        if operator.op in {"Concat", "QLinearConcat"}:
            return list(range(len(operator.inputs)))
        return [0]

    def _process(self, operator: Operator, position: int, perm: Perm, leading: set[str]) -> bool:
        if not self._handles(operator) or position not in self._inputs(operator):
            return False
        if operator.op == "Transpose":
            return self._combine(operator, perm)
        tensor = operator.inputs[position]
        pushed = self.late and operator.op == "MaxPool" and self.draft.types[tensor] in _INTEGERS
        if not pushed and self._cost(operator, perm, leading) >= 0:
            return False
        return self._push(operator, perm)

    def _cost(self, operator: Operator, perm: Perm, leading: set[str]) -> int:
        cost = sum(self._cost_of_input(operator.inputs[position], perm) for position in self._inputs(operator))
        if cost < 0 and operator.op != "Reshape" and not any(tensor in leading for tensor in operator.outputs):
            cost += max(self._rank(tensor) for tensor in operator.outputs)
        return cost

    def _cost_of_input(self, tensor: str, perm: Perm) -> int:
        if tensor in self.draft.constants:
            return 0
        source = self.draft.producer(tensor)
        if source is not None and source.op == "DequantizeLinear":
            source = self.draft.producer(source.inputs[0]) or source
        if source is None or source.op != "Transpose":
            return self._rank(tensor)
        if perm_of(self.draft, source) != perm:
            return 0
        removable = source.output not in self.draft.outputs and all(
            self._handles(reader) for reader in self.draft.readers(source.output)
        )
        return -self._rank(tensor) if removable else 0

    def _rank(self, tensor: str) -> int:
        return sum(size != 1 for size in self.draft.shapes[tensor])

    def _combine(self, transpose: Operator, perm: Perm) -> bool:
        """Make one transpose of two, or none."""
        source = self.draft.producer(transpose.inputs[0])
        if source is None:
            return False
        own = perm_of(self.draft, transpose)
        both = tuple(perm[axis] for axis in own)
        origin = source.inputs[0]
        if both != tuple(range(len(both))) or not self._is_renamed(transpose, origin):
            self.draft.read(transpose, 0, origin)
            transpose.attributes = {"perm": both}
            transpose.covers = tuple(dict.fromkeys((*source.covers, *transpose.covers)))
        self._drop_unread(source)
        return True

    def _is_renamed(self, transpose: Operator, origin: str) -> bool:
        """Remove a transpose that changes nothing; where its result is one of the graph, `origin` becomes that."""
        draft, output = self.draft, transpose.output
        maker = draft.producer(origin)
        if output not in draft.outputs:
            draft.rename_readers(output, origin)
            draft.remove(transpose)
            return True
        if maker is None or origin in draft.outputs:
            return False
        draft.remove(transpose)
        draft.write(maker, [output if name == origin else name for name in maker.outputs])
        draft.rename_readers(origin, output)
        return True

    def _push(self, operator: Operator, perm: Perm) -> bool:
        if operator.op == "MaxPool":
            if perm != to_first(len(perm)):
                return False
            operator.op = "NhwcMaxPool"
            operator.attributes = {**operator.attributes, "channels_last": 1}
        elif operator.op in _POOLS:
            last = bool(operator.attributes.get("channels_last", 0))
            if perm != (to_last(len(perm)) if last else to_first(len(perm))):
                return False
            operator.attributes = {**operator.attributes, "channels_last": int(not last)}
        perms = self._outputs(operator, perm)
        if perms is None:
            return False
        for position in self._inputs(operator):
            self._transpose_input(operator, position, inverse(perm))
        self._transpose_outputs(operator, perms)
        return True

    def _outputs(self, operator: Operator, perm: Perm) -> list[Perm] | None:
        """Return how the outputs are to be transposed, and change the axes; None where the rule does not hold."""
        if operator.op == "Resize":
            return [perm] if self.late and perm in {to_last(4), to_first(4)} else None
        if operator.op == "Reshape":
            return split(self.draft.shapes[operator.inputs[0]], self.draft.shapes[operator.output], perm)
        if operator.op in _AXIS:
            axis = int(operator.attributes.get("axis", _AXIS[operator.op] or 0)) % len(perm)
            operator.attributes = {**operator.attributes, "axis": perm[axis]}
        elif operator.op in _OTHERS | _REDUCTIONS:
            return self._reshaped(operator, perm)
        return [perm] * len(operator.outputs)

    def _reshaped(self, operator: Operator, perm: Perm) -> list[Perm] | None:
        """Return the same of an operator that removes or adds axes."""
        rank, attributes = len(perm), operator.attributes
        if operator.op == "Gather":
            return self._without(operator, perm, [int(attributes.get("axis", 0)) % rank], "axis")
        if operator.op in _REDUCTIONS or operator.op == "Squeeze":
            axes = self._axes(operator, rank)
            if axes is None:
                return None
            if operator.op == "Squeeze" or not attributes.get("keepdims", 1):
                return self._without(operator, perm, axes, "axes")
            operator.attributes = {**attributes, "axes": sorted(perm[axis] for axis in axes)}
        return self._with(operator, perm) if operator.op == "Unsqueeze" else [perm]

    def _axes(self, operator: Operator, rank: int) -> list[int] | None:
        axes = operator.attributes.get("axes")
        if axes is None and len(operator.inputs) > 1:
            axes = self.draft.values.get(operator.inputs[1])
        return None if axes is None else [int(axis) % rank for axis in axes]

    def _without(self, operator: Operator, perm: Perm, axes: list[int], key: str) -> list[Perm] | None:
        """Return what remains of a permutation when axes of its result are removed."""
        if operator.op == "Gather" and self.draft.shapes[operator.inputs[1]] != ():
            return None
        left, gone = without(perm, axes)
        operator.attributes = {**operator.attributes, key: gone[0] if key == "axis" else gone}
        return [left]

    def _with(self, operator: Operator, perm: Perm) -> list[Perm] | None:
        """Return a permutation with the axes which an Unsqueeze adds where they are."""
        axes = self._axes(operator, len(self.draft.shapes[operator.output]))
        if axes is None:
            return None
        operator.attributes = {**operator.attributes, "axes": axes}
        return [widened(perm, axes)]

    def _transpose_input(self, operator: Operator, position: int, perm: Perm) -> None:
        """Let an operator read one of its inputs transposed by `perm`, through as few transposes as possible."""
        draft, tensor = self.draft, operator.inputs[position]
        shape = draft.shapes[tensor]
        if len(shape) < len(perm):
            shape = (*(1 for _ in range(len(perm) - len(shape))), *shape)
        turned = tuple(shape[axis] for axis in perm)
        if tensor in draft.constants:
            name = draft.tensor(tensor, "turned", turned)
            draft.constants.add(name)
            draft.read(operator, position, name)
            return
        source = draft.producer(tensor)
        if source is not None and source.op == "Transpose":
            first = perm_of(draft, source)
            both = tuple(first[axis] for axis in perm)
            origin = source.inputs[0]
            name = origin if both == tuple(range(len(both))) else self._turned(origin, both, turned)
            draft.read(operator, position, name)
            self._drop_unread(source)
            return
        if source is None or not self._undone_below(source, operator, perm, turned, position):
            draft.read(operator, position, self._turned(tensor, perm, turned))

    def _undone_below(
        self, source: Operator, reader: Operator, perm: Perm, turned: tuple[int, ...], position: int
    ) -> bool:
        """Let a DequantizeLinear of this reader alone take in what was before a transpose that `perm` undoes."""
        draft = self.draft
        transpose = draft.producer(source.inputs[0]) if source.op == "DequantizeLinear" else None
        if transpose is None or transpose.op != "Transpose" or draft.only_reader(source) is not reader:
            return False
        first = perm_of(draft, transpose)
        if tuple(first[axis] for axis in perm) != tuple(range(len(perm))):
            return False
        name = draft.tensor(source.output, "turned", turned)
        draft.read(source, 0, transpose.inputs[0])
        draft.write(source, [name])
        draft.read(reader, position, name)
        self._drop_unread(transpose)
        return True

    def _turned(self, tensor: str, perm: Perm, shape: tuple[int, ...]) -> str:
        for reader in self.draft.readers(tensor):
            if reader.op == "Transpose" and perm_of(self.draft, reader) == perm and reader.age >= 0:
                return reader.output
        name = self.draft.tensor(tensor, "turned", shape)
        self.draft.add("Transpose", [tensor], [name], {"perm": perm})
        return name

    def _transpose_outputs(self, operator: Operator, perms: list[Perm]) -> None:
        draft, names = self.draft, []
        outputs = operator.outputs
        for tensor, perm in zip(outputs, perms, strict=True):
            shape = draft.shapes[tensor]
            back = inverse(perm)
            names.append(draft.tensor(tensor, "turned", tuple(shape[axis] for axis in back)))
        draft.write(operator, names)
        for tensor, name, perm in zip(outputs, names, perms, strict=True):
            if perm == tuple(range(len(perm))) and tensor not in draft.outputs:
                draft.rename_readers(tensor, name)
            else:
                draft.add("Transpose", [name], [tensor], {"perm": perm})

    def _drop_unread(self, transpose: Operator) -> None:
        draft = self.draft
        if transpose.age not in draft.operators or transpose.output in draft.outputs:
            return
        if not draft.readers(transpose.output):
            draft.remove(transpose)


def perm_of(draft: Draft, transpose: Operator) -> Perm:
    """Return the permutation of a Transpose."""
    rank = len(draft.shapes[transpose.inputs[0]])
    return tuple(int(axis) for axis in transpose.attributes.get("perm", range(rank - 1, -1, -1)))


def channels_last(draft: Draft) -> None:
    """Let integer convolutions read (N, *positions, C), with transposes where the layouts meet."""
    pass_ = Transposing(draft, late=True)
    found = list(_convolutions(draft))
    for conv in found:
        rank = len(draft.shapes[conv.inputs[0]])
        conv.attributes = {**conv.attributes, "channels_last": 1}
        pass_.wrap(conv, to_last(rank))
    if found:
        pass_.apply()


def _convolutions(draft: Draft) -> Iterator[Operator]:
    return (one for one in draft.ordered() if one.op == "QLinearConv")
