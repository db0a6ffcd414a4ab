"""Where an executed graph computes in integers: how far the integers of QuantizeLinear reach."""

from __future__ import annotations

from math import prod

from edgekd.fuse.openvino.draft import VIEW, Draft, Step

MOVES = {
    *("pool.max", "concat", "split", "slice", "transpose", "shuffle_channels", "gather", "pad", "interpolate"),
    *("depth_to_space", "space_to_depth", "broadcast", "tile", VIEW),
}
"""What only moves values: done with the integers themselves."""

READS = {"eltwise", "reduce", "pool.average"}
"""What takes integers and computes in floats."""

LAYERS = {"conv", "conv.transposed", "fully_connected", "matmul"}


def spread(draft: Draft) -> None:
    """Let integers flow through what moves them into what multiplies them; make floats where nothing else is left."""
    for step in list(draft.steps):
        if step.code == "dequantize":
            _resolve(draft, step)
        elif _moves(step) and step.inputs and all(draft.types[name] == "u8" for name in step.inputs):
            _move(draft, step)
    for step in list(draft.steps):
        if not (_moves(step) or step.code in READS) or _rounds_up(step) or (_moves(step) and _mixed(draft, step)):
            _give_floats(draft, step)
        elif step.code == "pool.average" and draft.types[step.inputs[0]] == "u8":
            _scale_average(draft, step)
    for name in draft.graph.outputs:
        if draft.types[name] != draft.graph.types[name]:
            _end_in_floats(draft, name)


def _moves(step: Step) -> bool:
    mode = step.node.attributes.get("mode", "nearest")
    return step.code in MOVES and (step.code != "interpolate" or mode in {"nearest", b"nearest"})


def _mixed(draft: Draft, step: Step) -> bool:
    return len({draft.types[name] for name in step.inputs}) > 1


def _resolve(draft: Draft, step: Step) -> None:
    """Take a DequantizeLinear out: its readers read the integers, and each sees to it by itself."""
    source, target = step.inputs[0], step.output
    zero = draft.graph.values.get(step.node.inputs[2]) if len(step.node.inputs) > 2 else None
    if zero is not None and zero.any() and not draft.converted:
        draft.shifted.add(source)
    if target in draft.graph.outputs or all(_needs_floats(draft, reader, target) for reader in draft.consumers(target)):
        _at_the_end(draft, step)
        return
    for reader in draft.consumers(target):
        reader.inputs = [source if name == target else name for name in reader.inputs]
    draft.types[source] = "u8"
    quantizer = draft.producer(source)
    if quantizer is not None:
        quantizer.covers += step.covers  # the one may be known by the other's name
    draft.remove(step)


def _needs_floats(draft: Draft, reader: Step, tensor: str) -> bool:
    if reader.code == "eltwise":
        return len(reader.inputs) == 1 and reader.fused[0] not in {*_AFFINE, "QuantizeLinear"}
    if reader.code in LAYERS:
        return not _has_integers(draft, reader) or reader.inputs[0] != tensor
    return not (_moves(reader) or reader.code in READS) or _rounds_up(reader)


def _rounds_up(step: Step) -> bool:
    """Return whether an average is over an incomplete window at the border, which integer code cannot do."""
    return step.code == "pool.average" and bool(step.node.attributes.get("ceil_mode", 0))


def _at_the_end(draft: Draft, step: Step) -> None:
    """Round in floats what no integers are computed from, unless its zero point has to be taken off."""
    quantizer = draft.producer(step.inputs[0])
    step.code, step.fused, step.bundle = "eltwise", ["DequantizeLinear"], 1
    if quantizer is None or quantizer.fused != ["QuantizeLinear"] or step.inputs[0] in draft.shifted:
        return
    if draft.only_consumer(quantizer) is step:
        draft.absorb(quantizer, step)
        quantizer.fused = ["FakeQuantize"]


def _move(draft: Draft, step: Step) -> None:
    """Let a step move integers; values that were only moved need no new rounding, but a concatenation's operands do."""
    for name in step.outputs:
        draft.types[name] = "u8"
        if draft.shifted.intersection(step.inputs):
            draft.shifted.add(name)
    quantizer = draft.only_consumer(step)
    between = []
    while (
        quantizer is not None
        and quantizer.code == "eltwise"
        and quantizer.fused[0] in _AFFINE
        and len(quantizer.inputs) == 1
    ):
        between.append(quantizer)
        quantizer = draft.only_consumer(quantizer)
    if quantizer is None or quantizer.fused != ["QuantizeLinear"]:
        return
    if step.code == "concat":
        for position, name in enumerate(step.inputs):
            rounded = f"{quantizer.output}/{position}"
            draft.name(rounded, name)
            again = Step(
                "eltwise", [name], [rounded], quantizer.node, list(quantizer.covers), ["QuantizeLinear"], bundle=1
            )
            again.constants = [(1, prod(shape), 1, 1) for one in between for shape in one.constants]
            step.inputs = [rounded if other == name else other for other in step.inputs]
            draft.insert(again, step)
    elif between or not _same_scale(draft, step, quantizer):
        return
    for gone in [*between, quantizer]:
        step.covers += gone.covers
        draft.types[gone.output] = "u8"
        draft.bypass(gone)


_AFFINE = {"Add", "Sub", "Mul", "Div", "BatchNormalization"}


def _is_affine(step: Step) -> bool:
    return step.code == "eltwise" and step.fused[0] in _AFFINE and len(step.inputs) == 1


def _same_scale(draft: Draft, step: Step, quantizer: Step) -> bool:
    """Return whether the values are stored in the steps in which they are already."""
    source: Step | None = step
    while source is not None and source.code in MOVES:
        source = draft.producer(source.inputs[0])
    if source is None or source.node.op != "QuantizeLinear":
        return True
    old, new = (draft.graph.values.get(one.node.inputs[1]) for one in (source, quantizer))
    return old is None or new is None or bool((old == new).all())


def _scale_average(draft: Draft, step: Step) -> None:
    """Scale an average of integers by a kernel of its own, unless it is rounded to integers again."""
    reader = draft.only_consumer(step)
    if reader is not None and reader.fused == ["QuantizeLinear"]:
        return
    average = f"{step.output}/integers"
    draft.name(average, step.output)
    scale = Step("eltwise", [average], step.outputs, step.node, [], ["DequantizeLinear"], bundle=1)
    step.outputs = [average]
    draft.insert_after(scale, step)


def _end_in_floats(draft: Draft, name: str) -> None:
    """Put the conversion behind the step that makes integers of a result of the network."""
    made = draft.producer(name)
    if made is None:
        return
    integers = f"{name}/integers"
    draft.name(integers, name)
    draft.types[name] = draft.graph.types[name]
    made.outputs = [integers if other == name else other for other in made.outputs]
    for reader in draft.consumers(name):
        reader.inputs = [integers if other == name else other for other in reader.inputs]
    draft.insert_after(Step("eltwise", [integers], [name], made.node, [], ["DequantizeLinear"], bundle=1), made)


def convert(draft: Draft) -> None:
    """Convert what a convolution writes onto or makes where it computes in the other type."""
    for step in list(draft.steps):
        if step.code == "conv" and draft.types[step.inputs[0]] == "f32" and draft.types[step.output] == "u8":
            floats = f"{step.output}/floats"
            draft.name(floats, step.output, "f32")
            draft.insert_after(Step("convert", [floats], step.outputs, step.node), step)
            step.outputs = [floats]
            draft.reindex()
        if step.code == "conv" and "Add" in step.fused and len(step.inputs) > 1 and draft.types[step.output] == "f32":
            target = step.inputs[-1]
            if draft.types[target] == "u8" and draft.types[step.inputs[0]] == "u8":
                floats = f"{target}/sum"
                draft.name(floats, target, "f32")
                draft.insert(Step("convert", [target], [floats], step.node), step)
                step.inputs[-1] = floats
                draft.reindex()


def _give_floats(draft: Draft, step: Step) -> None:
    """Put the conversion in front of a step without integer code."""
    if step.code in LAYERS and _multiplies_integers(draft, step):
        return
    for name in list(step.inputs):
        if draft.types[name] == "u8":
            _convert(draft, name, step)


def _multiplies_integers(draft: Draft, step: Step) -> bool:
    if step.code == "matmul":
        return all(draft.types[name] == "u8" for name in step.inputs)
    return _has_integers(draft, step) and draft.types[step.inputs[0]] == "u8"


def _has_integers(draft: Draft, step: Step) -> bool:
    """Return whether the weights are stored as integers."""
    if step.code == "matmul":
        return True
    maker = draft.graph.producer(step.node.inputs[1])
    return maker is not None and maker.op == "DequantizeLinear"


def _convert(draft: Draft, tensor: str, reader: Step | None) -> None:
    floats = f"{tensor}/floats"
    known = draft.producer(floats)
    if known is None:
        maker = draft.producer(tensor)
        if maker is None:
            return
        known = Step("eltwise", [tensor], [floats], maker.node, [], ["DequantizeLinear"], bundle=1)
        draft.name(floats, tensor, "f32")
        draft.insert_after(known, maker)
    if reader is not None:
        reader.inputs = [floats if name == tensor else name for name in reader.inputs]
        draft.reindex()
