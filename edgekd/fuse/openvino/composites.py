"""Operators that exporters write as several nodes: OpenVINO recognises them before anything is fused."""

from __future__ import annotations

from collections.abc import Callable

from edgekd.fuse.openvino.draft import VIEW, Draft, Step


def recognise(draft: Draft) -> None:
    """Merge the nodes of an activation, a channel shuffle, a normalisation or an attention into one step."""
    for find in (
        _gelu,
        _gate,
        _clip_of_sum,
        _shuffle,
        _relu_before_max_pool,
        _layer_norm,
        _pad_into_window,
        _difference,
    ):
        for step in list(draft.steps):
            if step in draft.steps:
                find(draft, step)


def _is(step: Step | None, *ops: str) -> bool:
    """Return whether `step` is a single elementwise operator of one of these kinds."""
    return step is not None and step.code == "eltwise" and len(step.fused) == 1 and step.fused[0] in ops


def _scaled(step: Step | None) -> bool:
    return _is(step, "Mul", "Div", "Add") and step is not None and len(step.inputs) == 1


def _merge(draft: Draft, parts: list[Step], name: str) -> None:
    """Replace the parts, in order, by one elementwise step that is known as the operator `name`."""
    first = parts[0]
    sources = {name for part in parts for name in part.inputs} - {name for part in parts for name in part.outputs}
    for part in parts[1:]:
        draft.absorb(first, part)
    first.inputs = sorted(sources)
    first.outputs = first.outputs[:1]
    first.fused, first.constants, first.code, first.bundle = [name], [], "eltwise", 1
    draft.reindex()


def _gelu(draft: Draft, erf: Step) -> None:
    """Find x / sqrt(2) -> Erf -> + 1 -> times x -> times 0.5, in this or another order of the factors."""
    if not _is(erf, "Erf"):
        return
    before = draft.producer(erf.inputs[0])
    if before is None or not _scaled(before):
        return
    source = before.inputs[0]
    parts = [before, erf]
    step = draft.only_consumer(erf)
    known = {source, *_halves(draft, source)}
    while step is not None and _is(step, "Add", "Mul") and set(step.inputs) <= {parts[-1].output, *known}:
        for name in step.inputs:
            half = draft.producer(name)
            if half is not None and name in _halves(draft, source) and half not in parts:
                parts.insert(0, half)
        parts.append(step)
        if len([part for part in parts if _is(part, "Mul") and part is not before]) >= 2:
            break
        step = draft.only_consumer(step)
    if len(parts) >= 5:
        _merge(draft, parts, "Gelu")


def _halves(draft: Draft, source: str) -> set[str]:
    return {reader.output for reader in draft.consumers(source) if _is(reader, "Mul") and len(reader.inputs) == 1}


def _gate(draft: Draft, gate: Step) -> None:
    """Find x times a function of x: Swish, Mish."""
    if not _is(gate, "Sigmoid", "Tanh"):
        return
    product = draft.only_consumer(gate)
    if product is None or not _is(product, "Mul") or len(product.inputs) != 2:
        return
    other = next(name for name in product.inputs if name != gate.output)
    if gate.fused == ["Sigmoid"] and other == gate.inputs[0]:
        _merge(draft, [gate, product], "Swish")
    before = draft.producer(gate.inputs[0])
    if _is(before, "Softplus") and before is not None and before.inputs[0] == other:
        _merge(draft, [before, gate, product], "Mish")


def _clip_of_sum(draft: Draft, clip: Step) -> None:
    """Find Clip(x + 3, 0, 6) / 6, alone or times x."""
    if not _is(clip, "Clip"):
        return
    before, after = draft.producer(clip.inputs[0]), draft.only_consumer(clip)
    if before is None or after is None or not _is(before, "Add") or len(before.inputs) != 1:
        return
    if draft.only_consumer(before) is not clip:
        return
    source, parts = before.inputs[0], [before, clip]
    while after is not None and _is(after, "Mul", "Div") and set(after.inputs) <= {parts[-1].output, source}:
        parts.append(after)
        if len(parts) == 4:
            break
        after = draft.only_consumer(after)
    if len(parts) > 2:
        _merge(draft, parts, "HardSwish" if len(parts) == 4 else "HardSigmoid")


def _shuffle(draft: Draft, first: Step) -> None:
    """Find channels seen as two axes, exchanged, and seen as one again."""
    chain = _chain(draft, first, lambda s: s.code == VIEW, lambda s: s.code == "transpose", lambda s: s.code == VIEW)
    if chain is None or draft.rank(first.output) != draft.rank(first.inputs[0]) + 1:
        return
    order = list(chain[1].node.attributes.get("perm", ()))
    if order[:3] != [0, 2, 1] or draft.shapes[chain[2].output] != draft.shapes[first.inputs[0]]:
        return
    for step in chain[1:]:
        draft.absorb(first, step)
    first.code = "shuffle_channels"


def _chain(draft: Draft, first: Step, *wanted: Callable[[Step], bool]) -> list[Step] | None:
    steps = [first]
    if not wanted[0](first):
        return None
    for fits in wanted[1:]:
        step = draft.only_consumer(steps[-1])
        if step is None or not fits(step):
            return None
        steps.append(step)
    return steps


def _relu_before_max_pool(draft: Draft, pool: Step) -> None:
    """Move an activation before the pooling: the largest of cut off values is the cut off largest value."""
    relu = draft.only_consumer(pool)
    if pool.code != "pool.max" or relu is None or not _is(relu, "Relu"):
        return
    layer = draft.producer(pool.inputs[0])
    if layer is None or layer.code != "conv" or draft.only_consumer(layer) is not pool:
        return
    layer.fused.append("Relu")
    layer.covers += relu.covers
    pool.outputs = relu.outputs
    draft.remove(relu)


def _layer_norm(draft: Draft, mean: Step) -> None:
    """Find x - mean(x) over its own root mean square."""
    if mean.code != "reduce" or mean.node.op != "ReduceMean":
        return
    centred = draft.only_consumer(mean)
    if centred is None or not _is(centred, "Sub") or mean.inputs[0] not in centred.inputs:
        return
    inside = [centred]
    quotient = next((s for s in draft.consumers(centred.output) if _is(s, "Div")), None)
    if quotient is None or len(quotient.inputs) != 2:
        return
    root = draft.producer(next(name for name in quotient.inputs if name != centred.output))
    while root is not None and root is not centred and len(root.inputs) == 1:
        inside.insert(1, root)
        root = draft.producer(root.inputs[0])
    if root is not centred or not _is(inside[-1], "Sqrt"):
        return
    first = mean
    for step in [*inside, quotient]:
        draft.absorb(first, step)
    first.inputs, first.outputs, first.code, first.fused = first.inputs[:1], quotient.outputs, "mvn", []
    draft.reindex()


def _pad_into_window(draft: Draft, pad: Step) -> None:
    """Let a convolution add the zeros around an image by itself."""
    conv = draft.only_consumer(pad)
    constant = pad.node.attributes.get("mode", "constant") in {"constant", b"constant"}
    if pad.code != "pad" or not constant or conv is None or conv.code != "conv":
        return
    conv.inputs = [pad.inputs[0] if name == pad.output else name for name in conv.inputs]
    conv.covers = [*pad.covers, *conv.covers]
    draft.remove(pad)


def _difference(draft: Draft, step: Step) -> None:
    """Compute a - b as a + (-1 * b)."""
    if step.fused != ["Sub"] or len(step.inputs) != 2 or step.node.op != "Sub":
        return
    subtracted = step.node.inputs[1]
    if subtracted not in step.inputs:
        return
    negative = f"{step.output}/negative"
    draft.name(negative, subtracted)
    draft.insert(Step("eltwise", [subtracted], [negative], step.node, [], ["Mul"], bundle=1), step)
    step.inputs = [negative if name == subtracted else name for name in step.inputs]
    step.fused = ["Add"]
    draft.reindex()


_RULES = (_gelu, _gate, _clip_of_sum, _shuffle, _relu_before_max_pool, _layer_norm, _pad_into_window, _difference)
