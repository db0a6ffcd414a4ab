"""Elementwise operators that hang together are compiled into one kernel, and so is attention."""

from __future__ import annotations

from math import prod

from edgekd.fuse.openvino.draft import VIEW, Draft, Step

MOST_PORTS = 11
"""Tensors that one compiled kernel reads and writes."""

NOT_COMPILED = {"Mish", "Softplus"}
"""Elementwise operators that stay kernels of their own."""

MLP_WIDTH = 256
"""Two products with constants of a single row are one kernel, as long as no side is wider."""


def bundle(draft: Draft) -> None:
    """Merge attention, small products and chains of elementwise operators."""
    rules = (("softmax", _attention), ("fully_connected", _products), ("eltwise", _chain), ("eltwise", _siblings))
    for code, merge in rules:
        for step in list(draft.steps):
            if step in draft.steps and step.code == code:
                merge(draft, step)


def _chain(draft: Draft, step: Step) -> None:
    """Merge what makes an operand, if it is elementwise, too, and nothing stands in between."""
    while True:
        for name in step.inputs:
            made = draft.producer(name)
            if made is not None and made.code == "eltwise" and _may_join(draft, made, step):
                made.fused += step.fused
                made.bundle += step.bundle
                made.constants += step.constants
                made.reads = [
                    *(made.reads or made.inputs),
                    *(n for n in step.reads or step.inputs if n not in made.outputs),
                ]
                draft.absorb(made, step)
                step = made
                break
        else:
            return


def _siblings(draft: Draft, step: Step) -> None:
    """Merge what reads the same integers, where taking their zero point off is common work."""
    for name in step.inputs:
        if name not in draft.shifted or draft.types[name] != "u8":
            continue
        for other in draft.consumers(name):
            if _width(draft, step, other) > MOST_PORTS:
                continue
            if (
                other is not step
                and other.code == "eltwise"
                and not draft.depends(other, step)
                and not draft.depends(step, other)
            ):
                step.fused += other.fused
                step.bundle += other.bundle
                step.constants += other.constants
                step.reads = [*(step.reads or step.inputs), *(n for n in other.reads or other.inputs if n != name)]
                draft.absorb(step, other)
                return


def _width(draft: Draft, *steps: Step) -> int:
    """Return how many tensors one kernel for all steps would read and write, constants per channel included."""
    inputs = {name for step in steps for name in step.inputs}
    constants = sum(min(4, sum(prod(shape) > 1 for shape in step.constants)) for step in steps)
    after_concat = any((made := draft.producer(name)) is not None and made.code == "concat" for name in inputs)
    return len(inputs) + constants + after_concat + sum(len(step.outputs) for step in steps)


def _may_join(draft: Draft, made: Step, step: Step) -> bool:
    """Return whether nothing else that `step` reads needs `made`: otherwise each would wait for the other."""
    if made.bundle < 1 or step.bundle < 1:
        return False
    if NOT_COMPILED.intersection(made.fused) or NOT_COMPILED.intersection(step.fused):
        return False
    others = (draft.producer(name) for name in step.inputs if name not in made.outputs)
    return all(other is None or (other is not made and not draft.depends(other, made)) for other in others)


def _attention(draft: Draft, softmax: Step) -> None:
    """Product, scale, softmax, product, with the transposed operands."""
    second = draft.only_consumer(softmax)
    if second is None or second.code != "matmul" or draft.rank(second.output) < 3:
        return
    middle: list[Step] = []
    first = draft.producer(softmax.inputs[0])
    while first is not None and first.code == "eltwise" and draft.only_consumer(first) is not None:
        middle.insert(0, first)
        first = draft.producer(first.inputs[0])
    if first is None or first.code != "matmul" or draft.only_consumer(first) is None:
        return
    if draft.rank(second.output) != 4:
        return
    query, key = first.node.inputs[0], first.node.inputs[1]
    if [step.fused for step in middle] in ([["Mul"]], [["Div"]]) and len(middle[0].inputs) == 1:
        _scale_before(draft, key, middle[0])
    if first.fused in (["Mul"], ["Div"]):
        _scale_before(draft, key, first)
    before = draft.producer(query)
    if before is not None and before.fused in (["Mul"], ["Div"]) and len(before.inputs) == 1:
        _swallow(draft, first, before)
        _scale_before(draft, before.inputs[0], before)
    fused = [*first.fused, *(op for step in middle for op in step.fused), "Softmax", "MatMul"]
    for step in [*middle, softmax, second]:
        draft.absorb(first, step)
    first.code, first.fused = "attention", fused
    for name in list(first.inputs):
        made = draft.producer(name)
        if made is not None and made.code == "transpose" and draft.only_consumer(made) is first:
            turns = (0, 1, 3, 2) if name == key else (0, 2, 1, 3)
            if _order(made) == turns:
                _swallow(draft, first, made)
    after = draft.only_consumer(first)
    rounded = "QuantizeLinear" in second.fused
    if after is not None and not rounded and after.code == "transpose" and _order(after) == (0, 2, 1, 3):
        draft.absorb(first, after)


def _swallow(draft: Draft, step: Step, maker: Step) -> None:
    """Let `step` read what `maker` reads, and do its work."""
    step.inputs = [maker.inputs[0] if name == maker.output else name for name in step.inputs]
    step.covers = [*maker.covers, *step.covers]
    draft.remove(maker)


def _scale_before(draft: Draft, tensor: str, scale: Step) -> None:
    """Scale an operand where it is made, before it is split into heads."""
    reader, made = None, draft.producer(tensor)
    while made is not None and made.code in {"transpose", VIEW} and draft.only_consumer(made) is not None:
        reader, tensor = made, made.inputs[0]
        made = draft.producer(tensor)
    if made is not None and made.code == "fully_connected" and draft.only_consumer(made) is not None:
        made.fused.append(scale.fused[0])
    elif reader is not None or draft.types[tensor] == "f32":
        reader = reader or draft.consumers(tensor)[0]
        scaled = f"{tensor}/scaled"
        draft.name(scaled, tensor)
        draft.insert(Step("eltwise", [tensor], [scaled], scale.node, [], ["Mul"], bundle=1), reader)
        reader.inputs = [scaled if name == tensor else name for name in reader.inputs]
        draft.reindex()


def _order(turn: Step) -> tuple[int, ...]:
    return tuple(turn.node.attributes.get("perm", ()))


def _products(draft: Draft, first: Step) -> None:
    """Merge products with constants of a single row: two of floats, any number of integers, and their quantizer."""
    if draft.rank(first.output) != 2 or draft.shapes[first.inputs[0]][-1] > MLP_WIDTH:
        return
    integers = draft.types[first.inputs[0]] == "u8"
    merged = 1
    while (second := draft.only_consumer(first)) is not None and (integers or merged < 2):
        widths = (draft.shapes[first.output][-1], draft.shapes[second.output][-1])
        if second.code != "fully_connected" or max(widths) > MLP_WIDTH:
            break
        first.fused = [*first.fused, second.node.op, *second.fused]
        draft.absorb(first, second)
        merged += 1
    if merged < 2:
        return
    first.code = "mlp"
    quantizer = draft.producer(first.inputs[0])
    if not integers or quantizer is None or draft.only_consumer(quantizer) is not first:
        return
    if quantizer.fused == ["QuantizeLinear"] and quantizer.code == "eltwise":
        _swallow(draft, first, quantizer)
    elif quantizer.fused[-1:] == ["QuantizeLinear"] and quantizer.code == "fully_connected":
        quantizer.fused.pop()
        draft.types[quantizer.output] = "f32"
