"""The blocked layout NCHWc: which operators work in it, and where tensors are brought into it and out of it.

The channels are cut into blocks of the width of a vector register, the positions of a block lie side by side. Rules as
ONNX Runtime 1.31 executes them.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekd.fuse.onnxruntime.draft import Draft, Operator
from edgekd.fuse.onnxruntime.transposes import perm_of

ALIGNMENT = 4
"""The input channels of a convolution are padded to whole blocks, but only from multiples of this."""
_POOLS = {"MaxPool", "AveragePool"}
_GLOBAL_POOLS = {"GlobalMaxPool", "GlobalAveragePool"}
_FUSED = {"Relu", "Sigmoid", "Tanh", "HardSigmoid"}
_ELEMENTWISE = _FUSED | {"Gelu", "FastGelu", "QuickGelu"}
_EXACT = 1e-5
_LINEAR = ("asymmetric", "align_corners", "half_pixel")


@dataclass
class _Tensor:
    """A tensor that is there in blocks."""

    name: str
    source: Operator
    channels: int
    uses: int
    left: int
    """Uses which still want it as it was, in NCHW."""


class Blocking:
    """One pass over a draft, in the order of execution."""

    def __init__(self, draft: Draft, block: int) -> None:
        self.draft = draft
        self.block = block
        self._blocked: dict[str, _Tensor] = {}
        self._reordered: dict[str, str] = {}
        self._gone: set[int] = set()

    def apply(self) -> None:
        """Rewrite the draft in place."""
        for operator in self.draft.ordered():
            self._transform(operator)
        for tensor, blocked in self._blocked.items():
            if blocked.left > 0:
                self._reorder_output(blocked, tensor)
        for operator in list(self.draft):
            if operator.op == "Transpose" and not self._uses(operator.output):
                self.draft.remove(operator)

    def _transform(self, operator: Operator) -> None:
        op = operator.op
        if operator.age in self._gone:
            return
        if op in {"Conv", "FusedConv"}:
            self._convolution(operator)
        elif op in _POOLS:
            self._pool(operator)
        elif any(self._unblocked(tensor) for tensor in operator.inputs if tensor):
            return
        elif op in {"Add", "Sum", "Mul"}:
            self._binary(operator)
        elif op == "Concat":
            self._concat(operator)
        elif op in _ELEMENTWISE:
            self._activation(operator)
        elif op == "BatchNormalization":
            self._normalization(operator)
        elif op == "Transpose":
            self._transpose(operator)
        elif op in {"Resize", "Upsample"}:
            self._resize(operator)
        elif op in _GLOBAL_POOLS:
            self._pool(operator)

    def _unblocked(self, tensor: str) -> bool:
        """Return whether an operator writes `tensor`, and not in blocks."""
        return tensor not in self._blocked and self.draft.producer(tensor) is not None

    def _convolution(self, conv: Operator) -> None:
        draft, block = self.draft, self.block
        weight = draft.shapes.get(conv.inputs[1], ())
        if len(weight) != 4 or not draft.is_constant(conv.inputs[1]) or draft.types[conv.inputs[0]] != "f32":
            return
        if len(conv.inputs) > 2 and conv.inputs[2] and not draft.is_constant(conv.inputs[2]):
            return
        out_channels, in_channels = weight[:2]
        groups = int(conv.attributes.get("group", 1))
        reads_blocks = True
        if groups > 1:
            if in_channels == 1 and out_channels == groups:
                if out_channels % ALIGNMENT:
                    return
            elif in_channels % block or out_channels % groups or (out_channels // groups) % block:
                return
        elif in_channels < block:
            reads_blocks = False
        elif in_channels % ALIGNMENT:
            return
        conv.op = "Conv"
        if reads_blocks:
            self._read_blocked(conv, 0)
        self._write_blocked(conv, out_channels)

    def _pool(self, pool: Operator) -> None:
        source = pool.inputs[0]
        shape = self.draft.shapes[source]
        if len(pool.outputs) > 1 or self.draft.types[source] != "f32" or len(shape) != 4 or shape[1] % self.block:
            return
        self._read_blocked(pool, 0)
        self._write_blocked(pool, shape[1])

    def _binary(self, operator: Operator) -> None:
        found = [self._blocked.get(tensor) for tensor in operator.inputs]
        inputs = [one for one in found if one is not None]
        shapes = {self.draft.shapes[tensor] for tensor in operator.inputs}
        if len(inputs) < len(found):
            if operator.op == "Mul" and len(found) == 2 and len(inputs) == 1:
                self._scale(operator, found.index(inputs[0]))
            return
        if len(shapes) > 1:
            return
        names = list(operator.inputs)
        for position in range(len(names)):
            self._read_blocked(operator, position)
        if operator.op != "Mul" and len(names) == 2:
            for position, one in enumerate(inputs):
                conv = one.source
                takes = conv.op == "Conv" and conv.blocked and len(conv.inputs) < 4 and one.uses == 1
                if takes and not conv.fused:
                    self._into_convolution(operator, one, inputs[1 - position])
                    return
        operator.blocked = False
        self._write_blocked(operator, inputs[0].channels, is_nchwc=False)

    def _into_convolution(self, add: Operator, one: _Tensor, other: _Tensor) -> None:
        """Let the convolution that wrote `one` add `other` to it in place."""
        conv, output = one.source, add.output
        self.draft.remove(add)
        while len(conv.inputs) < 3:
            self.draft.read(conv, len(conv.inputs), "")
        self.draft.read(conv, 3, other.source.output)
        conv.covers += add.covers
        conv.fused += (add.op,)
        self._taken_over(conv, one, output)

    def _taken_over(self, source: Operator, one: _Tensor, output: str) -> None:
        """Let `source`, which wrote `one`, write what stood for `output`."""
        name = self.draft.tensor(output, "nchwc")
        self.draft.write(source, [name])
        uses = self._uses(output)
        self._blocked[output] = _Tensor(name, source, one.channels, uses, uses)

    def _scale(self, mul: Operator, position: int) -> None:
        """Compute a factor per channel as a depthwise convolution of one position."""
        draft, factor = self.draft, mul.inputs[1 - position]
        channels = self._blocked[mul.inputs[position]].channels
        shape = draft.shapes[factor]
        shape = shape[1:] if len(shape) == 4 and shape[0] == 1 else shape
        if not draft.is_constant(factor) or shape != (channels, 1, 1):
            return
        self._read_blocked(mul, position)
        if position == 1:
            source = mul.inputs[1]
            draft.read(mul, 1, factor)
            draft.read(mul, 0, source)
        self._pointwise(mul, channels)

    def _normalization(self, operator: Operator) -> None:
        one = self._blocked.get(operator.inputs[0])
        if one is None or len([name for name in operator.outputs if name]) > 1:
            return
        self._read_blocked(operator, 0)
        self._pointwise(operator, one.channels)

    def _pointwise(self, operator: Operator, channels: int) -> None:
        operator.attributes = {"group": channels, "scales": operator.op}
        operator.op = "Conv"
        self._write_blocked(operator, channels)

    def _concat(self, concat: Operator) -> None:
        inputs = [self._blocked.get(tensor) for tensor in concat.inputs]
        if concat.attributes.get("axis") != 1 or any(one is None or one.channels % self.block for one in inputs):
            return
        channels = sum(one.channels for one in inputs if one is not None)
        for position in range(len(inputs)):
            self._read_blocked(concat, position)
        self._write_blocked(concat, channels, is_nchwc=False)

    def _activation(self, operator: Operator) -> None:
        one = self._blocked.get(operator.inputs[0])
        if one is None:
            return
        conv = one.source
        takes = conv.op == "Conv" and conv.blocked and one.uses == 1 and operator.op in _FUSED
        if takes and set(conv.fused) <= {"Add", "Sum"}:
            one.left -= 1
            output = operator.output
            self.draft.remove(operator)
            conv.covers += operator.covers
            conv.fused += (operator.op,)
            self._taken_over(conv, one, output)
            return
        if operator.op == "HardSigmoid" and self._swish(operator, one):
            return
        self._read_blocked(operator, 0)
        self._write_blocked(operator, one.channels, is_nchwc=False)

    def _swish(self, gate: Operator, one: _Tensor) -> bool:
        """Let a convolution compute x * hard sigmoid(x) where that is a HardSwish, and no output of the graph."""
        conv, times = one.source, self.draft.only_reader(gate)
        alpha, beta = gate.attributes.get("alpha", 0.2), gate.attributes.get("beta", 0.5)
        if conv.op != "Conv" or not conv.blocked or one.uses != 2 or not set(conv.fused) <= {"Add", "Sum"}:
            return False
        if times is None or times.op != "Mul" or abs(alpha - 1 / 6) > _EXACT or abs(beta - 1 / 2) > _EXACT:
            return False
        if set(times.inputs) != {gate.inputs[0], gate.output} or times.output in self.draft.outputs:
            return False
        one.left -= 2
        output = times.output
        for absorbed in (times, gate):
            self.draft.remove(absorbed)
            self._gone.add(absorbed.age)
        conv.covers += tuple(dict.fromkeys(gate.covers + times.covers))
        conv.fused += ("HardSwish",)
        self._taken_over(conv, one, output)
        return True

    def _transpose(self, transpose: Operator) -> None:
        one = self._blocked.get(transpose.inputs[0])
        if one is None or tuple(transpose.attributes.get("perm", ())) != (0, 2, 3, 1):
            return
        self._read_blocked(transpose, 0)
        transpose.op, transpose.blocked = "ReorderOutput", True
        transpose.attributes = {"channels_last": 1}

    def _resize(self, resize: Operator) -> None:
        draft = self.draft
        one = self._blocked.get(resize.inputs[0])
        if one is None:
            return
        scales = resize.inputs[2 if resize.op == "Resize" and len(resize.inputs) > 2 else 1]
        known = draft.values.get(scales) if scales else None
        if len(resize.inputs) > 3 or known is None or known.size != 4:
            return
        factors = known.reshape(-1).tolist()
        if factors[:2] != [1, 1] or any(factor < 1 or factor != int(factor) for factor in factors):
            return
        mode = resize.attributes.get("mode", "nearest")
        place = resize.attributes.get("coordinate_transformation_mode", "half_pixel")
        if resize.op == "Resize":
            nearest = (place, resize.attributes.get("nearest_mode")) == ("asymmetric", "floor")
            if not (nearest if mode == "nearest" else mode == "linear" and place in _LINEAR):
                return
        resize.op = "Upsample"
        self._read_blocked(resize, 0)
        self._write_blocked(resize, one.channels)

    def _uses(self, tensor: str) -> int:
        return len(self.draft.readers(tensor)) + (tensor in self.draft.outputs)

    def _read_blocked(self, operator: Operator, position: int) -> None:
        tensor = operator.inputs[position]
        one = self._blocked.get(tensor)
        if one is not None:
            one.left -= 1
            self.draft.read(operator, position, one.name)
            return
        if tensor not in self._reordered:
            self._reordered[tensor] = self._reorder_input(tensor)
        self.draft.read(operator, position, self._reordered[tensor])

    def _reorder_input(self, tensor: str) -> str:
        """Bring a tensor into blocks, from the layout it had before a transpose into NCHW."""
        draft = self.draft
        name = draft.tensor(tensor, "nchwc")
        transpose = draft.producer(tensor)
        if transpose is None or transpose.op != "Transpose" or perm_of(draft, transpose) != (0, 3, 1, 2):
            draft.add("ReorderInput", [tensor], [name]).blocked = True
            return name
        reorder = draft.add(
            "ReorderInput", [transpose.inputs[0]], [name], {"channels_last": 1}, covers=transpose.covers
        )
        reorder.blocked = True
        return name

    def _write_blocked(self, operator: Operator, channels: int, is_nchwc: bool = True) -> None:
        output = operator.output
        uses = self._uses(output)
        name = self.draft.tensor(output, "nchwc")
        self.draft.write(operator, [name])
        operator.blocked = is_nchwc
        if is_nchwc:
            operator.name = f"{output}_nchwc"
        self._blocked[output] = _Tensor(name, operator, channels, uses, uses)

    def _reorder_output(self, one: _Tensor, tensor: str) -> None:
        self.draft.add("ReorderOutput", [one.name], [tensor]).blocked = True
