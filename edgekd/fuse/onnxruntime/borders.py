"""Precision borders: pairs of QuantizeLinear and DequantizeLinear that are joined, dropped or put in."""

from __future__ import annotations

from edgekd.fuse.onnxruntime.draft import Draft, Operator

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


def merge_pairs(draft: Draft) -> None:
    """Quantize once what is quantized, dequantized and quantized again."""
    for second in [one for one in draft if one.op == QUANTIZE]:
        between = draft.producer(second.inputs[0])
        first = draft.producer(between.inputs[0]) if between is not None and between.op == DEQUANTIZE else None
        if between is None or first is None or first.op != QUANTIZE or second.output in draft.outputs:
            continue
        if draft.only_reader(first) is not between or draft.only_reader(between) is not second:
            continue
        draft.remove(between)
        draft.remove(second)
        draft.write(first, second.outputs)


def drop_pairs(draft: Draft) -> None:
    """Remove a DequantizeLinear with a QuantizeLinear of the same scale behind it, where that has a single reader."""
    for quantize in list(draft):
        if quantize.op != QUANTIZE:
            continue
        dequantize = draft.producer(quantize.inputs[0])
        if dequantize is None or dequantize.op != DEQUANTIZE or draft.only_reader(dequantize) is not quantize:
            continue
        single = len(draft.readers(quantize.output)) == 1 and quantize.output not in draft.outputs
        if single and have_same_scale(draft, dequantize, quantize):
            draft.remove(quantize)
            draft.remove(dequantize)
            draft.rename_readers(quantize.output, dequantize.inputs[0])


def have_same_scale(draft: Draft, dequantize: Operator, quantize: Operator) -> bool:
    """Return whether two precision borders have the same scale and zero point."""
    for first, second in zip(dequantize.inputs[1:], quantize.inputs[1:], strict=False):
        known = draft.values.get(first), draft.values.get(second)
        if first != second and (known[0] is None or known[1] is None or (known[0] != known[1]).any()):
            return False
    return len(dequantize.inputs) == len(quantize.inputs)


def repair(draft: Draft) -> None:
    """Put precision borders on both sides of a transpose that stands on one side of them."""
    for transpose in [one for one in draft if one.op == "Transpose"]:
        source = draft.producer(transpose.inputs[0])
        readers = draft.readers(transpose.output)
        if source is None or len(readers) > 1:
            continue
        quantized = bool(readers) and readers[0].op == "QuantizeLinear"
        if source.op == "DequantizeLinear" and not quantized:
            inner = draft.tensor(transpose.output, "float")
            output = transpose.output
            draft.write(transpose, [inner])
            _insert(draft, source.inputs[1:], inner, output, draft.types[source.inputs[0]])
        elif source.op != "DequantizeLinear" and quantized and len(draft.readers(transpose.inputs[0])) == 1:
            made = draft.tensor(transpose.inputs[0], "dequantized")
            _insert(draft, readers[0].inputs[1:], transpose.inputs[0], made, draft.types[readers[0].output])
            draft.read(transpose, 0, made)


def _insert(draft: Draft, constants: list[str], source: str, target: str, kind: str) -> None:
    quantized = draft.tensor(source, "quantized")
    draft.types[quantized] = kind
    draft.add("QuantizeLinear", [source, *constants], [quantized])
    draft.add("DequantizeLinear", [quantized, *constants], [target])
