"""QuantizeLinear and DequantizeLinear around an operator become one operator on integers, where the runtime has one."""

from __future__ import annotations

from edgekd.fuse.onnxruntime.borders import DEQUANTIZE, QUANTIZE, have_same_scale
from edgekd.fuse.onnxruntime.draft import Draft, Operator

_UNARY = {"AveragePool", "GlobalAveragePool", "LeakyRelu", "Sigmoid", "Softmax"}
_BINARY = {"Add", "Mul"}
_PASSING = {
    "Expand", "Flatten", "Gather", "GatherElements", "Reshape", "Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze",
    "Resize", "MaxPool", "ReduceMax", "ReduceMin",
}  # fmt: skip
"""Operators that give out only numbers they were given: they may work on integers of one scale."""
_PROPAGATING = {"MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice"}
_BITS = {"u8": (0, 255), "s8": (-128, 127)}


def separate(draft: Draft) -> None:
    """Give every reader of a dequantized tensor a DequantizeLinear of its own."""
    for dequantize in list(draft):
        if dequantize.op != DEQUANTIZE:
            continue
        readers = list(draft.readers(dequantize.output))
        kept = 0 if dequantize.output in draft.outputs else 1
        for reader in readers[kept:]:
            position = reader.inputs.index(dequantize.output, 0)
            if len(set(reader.inputs)) < len(reader.inputs):
                position = max(at for at, tensor in enumerate(reader.inputs) if tensor == dequantize.output)
            _insert(draft, dequantize, reader, position, f"{dequantize.name}/duplicated")


def _insert(draft: Draft, dequantize: Operator, reader: Operator, position: int, name: str) -> None:
    made = draft.tensor(dequantize.output, "dequantized")
    if dequantize.output in draft.constants:
        draft.constants.add(made)
    draft.add(
        DEQUANTIZE, list(dequantize.inputs), [made], dict(dequantize.attributes), name=name, covers=dequantize.covers
    )
    draft.read(reader, position, made)


def propagate(draft: Draft) -> None:
    """Let operators that only move numbers do so with integers."""
    for dequantize in draft.ordered():
        if dequantize.op == DEQUANTIZE and _is_scalar(draft, dequantize):
            _forward(draft, dequantize)
    for quantize in draft.ordered():
        if quantize.op == QUANTIZE and _is_scalar(draft, quantize):
            _backward(draft, quantize)


def _is_scalar(draft: Draft, node: Operator) -> bool:
    return node.inputs[0] not in draft.constants and draft.shapes[node.inputs[1]] in {(), (1,)}


def _forward(draft: Draft, dequantize: Operator) -> None:
    moving = draft.only_reader(dequantize)
    if moving is None or moving.op not in _PROPAGATING or moving.inputs[0] != dequantize.output:
        return
    output = moving.output
    others = [reader for reader in draft.readers(output) if reader.op != QUANTIZE]
    if output in draft.outputs and not draft.readers(output):
        inner = draft.tensor(output, "moved")
        draft.write(moving, [inner])
        _pair(draft, dequantize, inner, output)
        return
    if not others or output in draft.outputs:
        return
    inner = draft.tensor(output, "moved")
    quantized = _integers(draft, dequantize, inner)
    draft.write(moving, [inner])
    draft.add(QUANTIZE, [inner, *dequantize.inputs[1:]], [quantized])
    for reader in list(draft.readers(output)):
        position = reader.inputs.index(output)
        if reader.op == QUANTIZE:
            draft.read(reader, position, inner)
            continue
        made = draft.tensor(output, "dequantized")
        after = draft.add(DEQUANTIZE, [quantized, *dequantize.inputs[1:]], [made], name=f"{output}_dq")
        draft.read(reader, position, made)
        _forward(draft, after)


def _pair(draft: Draft, like: Operator, source: str, output: str) -> None:
    quantized = _integers(draft, like, source)
    draft.add(QUANTIZE, [source, *like.inputs[1:]], [quantized])
    draft.add(DEQUANTIZE, [quantized, *like.inputs[1:]], [output], name=f"{output}_dq")


def _integers(draft: Draft, like: Operator, source: str) -> str:
    quantized = draft.tensor(source, "quantized")
    draft.types[quantized] = draft.types[like.inputs[0] if like.op == DEQUANTIZE else like.output]
    return quantized


def _backward(draft: Draft, quantize: Operator) -> None:
    tensor = quantize.inputs[0]
    while (moving := draft.producer(tensor)) is not None and moving.op in _PROPAGATING:
        if len(draft.readers(tensor)) != 1 or tensor in draft.outputs:
            return
        source = moving.inputs[0]
        before = draft.producer(source)
        if before is None or before.op == DEQUANTIZE or len(draft.readers(source)) != 1 or source in draft.outputs:
            return
        made = draft.tensor(source, "dequantized")
        _pair(draft, quantize, source, made)
        draft.read(moving, 0, made)
        tensor = source


def quantize_parameters(draft: Draft) -> None:
    """Store the weights and the bias of a layer as integers where its input and its result are integers."""
    for layer in list(draft):
        if layer.op not in {"Conv", "ConvTranspose", "Gemm"} or draft.types[layer.inputs[0]] != "f32":
            continue
        source = draft.producer(layer.inputs[0])
        behind = draft.only_reader(layer)
        if behind is not None and behind.op in {"Relu", "Clip"}:
            behind = draft.only_reader(behind)
        if source is None or source.op != DEQUANTIZE or behind is None or behind.op != QUANTIZE:
            continue
        if any(draft.producer(bias) is not None for bias in layer.inputs[2:] if bias):
            continue  # with a bias that is stored already, the runtime leaves the weights as they are, too
        for position, tensor in enumerate(layer.inputs[1:], 1):
            if draft.is_constant(tensor):
                _store(draft, layer, position, "s8" if position == 1 else "s32")


def _store(draft: Draft, layer: Operator, position: int, kind: str) -> None:
    tensor = layer.inputs[position]
    stored, made = draft.tensor(tensor, "integers"), draft.tensor(tensor, "dequantized")
    draft.types[stored] = kind
    draft.constants |= {stored, made}
    name = f"{layer.name}_{'weight' if position == 1 else 'bias'}_dq"
    draft.add(DEQUANTIZE, [stored], [made], name=name, covers=layer.covers)
    draft.read(layer, position, made)


def drop_activations(draft: Draft) -> None:
    """Remove a Relu or Clip that cuts nothing the integers behind it could represent."""
    for cut in list(draft):
        quantize = draft.only_reader(cut)
        if cut.op not in {"Relu", "Clip"} or quantize is None or quantize.op != QUANTIZE:
            continue
        if _is_redundant(draft, cut, quantize):
            draft.read(quantize, 0, cut.inputs[0])
            draft.remove(cut)
            quantize.covers = cut.covers + quantize.covers


def _is_redundant(draft: Draft, cut: Operator, quantize: Operator) -> bool:
    scale = draft.values.get(quantize.inputs[1])
    zero = draft.values.get(quantize.inputs[2]) if len(quantize.inputs) > 2 else None
    bits = _BITS.get(draft.types[quantize.output])
    if scale is None or scale.size != 1 or bits is None:
        return False
    offset = int(zero.reshape(-1)[0]) if zero is not None else 0
    lowest, highest = ((bit - offset) * float(scale.reshape(-1)[0]) for bit in bits)
    if cut.op == "Relu":
        return lowest >= 0
    low, high = (draft.values.get(tensor) for tensor in (*cut.inputs[1:], "", "")[:2])
    below = float("-inf") if low is None else float(low.reshape(-1)[0])
    above = float("inf") if high is None else float(high.reshape(-1)[0])
    return below <= lowest and highest <= above


def choose_kernels(draft: Draft) -> None:
    """Put operators on integers in the places of those between DequantizeLinear and QuantizeLinear."""
    for operator in draft.ordered():
        if operator.age in draft.operators and operator.op not in {QUANTIZE, DEQUANTIZE}:
            _choose(draft, operator)


def _choose(draft: Draft, operator: Operator) -> None:
    sources = [draft.producer(tensor) for tensor in operator.inputs]
    given = [one for one in sources if one is not None and one.op == DEQUANTIZE]
    if not given or any(draft.only_reader(one) is None for one in given):
        return
    behind = draft.only_reader(operator)
    quantize = behind if behind is not None and behind.op == QUANTIZE else None
    if operator.op == "Split":
        _split(draft, operator, given[0])
        return
    if quantize is None and operator.op not in {"MatMul", "Gemm"}:
        return
    if not _has_kernel(draft, operator, given, quantize):
        return
    if operator.op in _PASSING and not (
        sources[0] is given[0] and quantize and have_same_scale(draft, given[0], quantize)
    ):
        return
    for position, source in enumerate(sources):
        if source is not None and source.op == DEQUANTIZE:
            draft.read(operator, position, source.inputs[0])
            draft.remove(source)
            operator.covers = tuple(dict.fromkeys((*operator.covers, *source.covers)))
    if quantize is not None:
        draft.remove(quantize)
        draft.write(operator, quantize.outputs)
        operator.covers = tuple(dict.fromkeys((*operator.covers, *quantize.covers)))
    operator.op = _name(operator.op, quantize is not None)


def _has_kernel(draft: Draft, operator: Operator, given: list[Operator], quantize: Operator | None) -> bool:
    inputs = sum(bool(tensor) for tensor in operator.inputs)
    types = [draft.types[one.inputs[0]] for one in given]
    if quantize is not None and draft.types[quantize.output] != types[0]:
        return False
    if operator.op in _PASSING:
        return len(given) == 1
    if operator.op in _UNARY:
        return len(given) == 1
    if operator.op in _BINARY or operator.op == "Concat":
        return len(given) == inputs and len(set(types)) == 1
    if operator.op in {"Conv", "MatMul", "Gemm"}:
        return len(given) == inputs >= 2 and (inputs < 3 or types[2] == "s32")
    return False


def _name(op: str, to_integers: bool) -> str:
    if op in _PASSING:
        return op
    if op == "Gemm":
        return "QGemm"
    if op == "MatMul":
        return "QLinearMatMul" if to_integers else "MatMulIntegerToFloat"
    return f"QLinear{op}"


def _split(draft: Draft, split: Operator, dequantize: Operator) -> None:
    readers = [draft.readers(tensor) for tensor in split.outputs]
    if any(
        len(found) != 1 or found[0].op != QUANTIZE or not have_same_scale(draft, dequantize, found[0])
        for found in readers
    ):
        return
    quantizes = [found[0] for found in readers]
    draft.read(split, 0, dequantize.inputs[0])
    draft.remove(dequantize)
    for quantize in quantizes:
        draft.remove(quantize)
    draft.write(split, [quantize.output for quantize in quantizes])
