"""Operators that a network spells out in smaller ones: Gelu, layer normalization, swish; and what joins them."""

from __future__ import annotations

from math import sqrt

from edgekd.fuse.onnxruntime.draft import Draft, Operator


def merge_equal(draft: Draft) -> None:
    """Compute what is spelled out twice only once."""
    seen: dict[tuple[object, ...], Operator] = {}
    for operator in draft.ordered():
        attributes = tuple(sorted((key, str(value)) for key, value in operator.attributes.items()))
        key = (operator.op, tuple(operator.inputs), attributes, len(operator.outputs))
        first = seen.setdefault(key, operator)
        if (
            first is operator
            or "Random" in operator.op
            or operator.op == "DequantizeLinear"
            or any(name in draft.outputs for name in operator.outputs)
        ):
            continue
        for tensor, same in zip(operator.outputs, first.outputs, strict=True):
            draft.rename_readers(tensor, same)
        first.covers += operator.covers
        draft.remove(operator)


def spell_out(draft: Draft) -> None:
    """Put the definitions of operators for which the runtime has no code in their places."""
    for operator in list(draft):
        if operator.op not in {"HardSwish", "Mish"}:
            continue
        source, output = operator.inputs[0], operator.output
        draft.remove(operator)
        factor = source
        attributes = {"alpha": 1 / 6, "beta": 0.5}
        for op in ("HardSigmoid",) if operator.op == "HardSwish" else ("Softplus", "Tanh"):
            made = draft.tensor(output, op)
            draft.add(op, [factor], [made], attributes if op == "HardSigmoid" else {}, covers=operator.covers)
            factor = made
        draft.add("Mul", [source, factor], [output], name=operator.name, covers=operator.covers)


def fuse_gelu(draft: Draft) -> None:
    """Find x * (1 + erf(x / sqrt 2)) / 2 in its two spellings."""
    for erf in [one for one in draft if one.op == "Erf"]:
        divide, add = draft.producer(erf.inputs[0]), draft.only_reader(erf)
        if divide is None or add is None or add.op != "Add" or draft.only_reader(divide) is not erf:
            continue
        source = _factor(draft, divide, sqrt(0.5))
        times = draft.only_reader(add)
        if source is None or times is None or times.op != "Mul" or not any(draft.is_scalar(t, 1) for t in add.inputs):
            continue
        (other,) = [tensor for tensor in times.inputs if tensor != add.output] or [""]
        half = draft.only_reader(times)
        chain = [divide, erf, add, times]
        if other == source and half is not None and _factor(draft, half, 0.5) == times.output:
            chain.append(half)
        elif (half := draft.producer(other)) is not None and _factor(draft, half, 0.5) == source:
            if draft.only_reader(half) is not times:
                continue
            chain.insert(3, half)
        else:
            continue
        _replace(draft, chain, "Gelu", [source], "Gelu")


def _factor(draft: Draft, operator: Operator, value: float) -> str | None:
    """Return what `operator` multiplies by `value`, None where it does something else."""
    if operator.op == "Mul":
        for tensor, other in (operator.inputs, operator.inputs[::-1]):
            if draft.is_scalar(other, value):
                return tensor
    if operator.op == "Div" and draft.is_scalar(operator.inputs[1], 1 / value):
        return operator.inputs[0]
    return None


def _replace(draft: Draft, chain: list[Operator], op: str, inputs: list[str], name: str) -> Operator:
    """Put one operator in the place of a chain, the last of which writes the result."""
    output = chain[-1].output
    covers = tuple(name for one in chain for name in one.covers)
    for one in chain:
        draft.remove(one)
    return draft.add(op, inputs, [output], name=name, covers=covers)


def fuse_layer_normalization(draft: Draft) -> None:
    """Find (x - mean) / sqrt(mean((x - mean)^2) + epsilon) * scale + bias over the last dimension."""
    for root in [one for one in draft if one.op == "Sqrt"]:
        chain = _normalization(draft, root)
        if chain is not None:
            inputs = [chain[0].inputs[0], *(_constant(draft, one) for one in chain[-2:])]
            _replace(draft, chain, "LayerNormalization", inputs, f"{chain[-2].name}/LayerNormFusion/")


def _normalization(draft: Draft, root: Operator) -> list[Operator] | None:
    epsilon = draft.producer(root.inputs[0])
    variance = _source(draft, epsilon, "Add")
    power = draft.producer(variance.inputs[0]) if variance is not None and variance.op == "ReduceMean" else None
    if epsilon is None or variance is None or power is None or power.op not in {"Pow", "Mul"}:
        return None
    centred = draft.producer(power.inputs[0])
    divide = draft.only_reader(root)
    if centred is None or centred.op != "Sub" or divide is None or divide.op != "Div":
        return None
    mean = draft.producer(centred.inputs[1])
    scale = draft.only_reader(divide)
    if mean is None or mean.op != "ReduceMean" or mean.inputs[0] != centred.inputs[0] or scale is None:
        return None
    shift = draft.only_reader(scale)
    last = (len(draft.shapes[mean.inputs[0]]) - 1, -1)
    if scale.op != "Mul" or shift is None or shift.op != "Add" or not _constant(draft, scale):
        return None
    if not _constant(draft, shift) or any(axis not in last for axis in _axes(draft, mean)) or not _axes(draft, mean):
        return None
    return [mean, centred, power, variance, epsilon, root, divide, scale, shift]


def _source(draft: Draft, operator: Operator | None, op: str) -> Operator | None:
    if operator is None or operator.op != op:
        return None
    (tensor,) = [name for name in operator.inputs if not draft.is_constant(name)][:1] or [""]
    return draft.producer(tensor)


def _constant(draft: Draft, operator: Operator) -> str:
    return next((tensor for tensor in operator.inputs if draft.is_constant(tensor)), "")


def _axes(draft: Draft, reduce: Operator) -> list[int]:
    axes = reduce.attributes.get("axes")
    if axes is None and len(reduce.inputs) > 1:
        axes = draft.values.get(reduce.inputs[1])
    return [int(axis) for axis in axes] if axes is not None else []


def fuse_skip_normalization(draft: Draft) -> None:
    """Let a layer normalization add its two inputs, and the bias of the product before them."""
    for norm in list(draft):
        if norm.op != "LayerNormalization":
            continue
        add = draft.producer(norm.inputs[0])
        shape = draft.shapes[norm.inputs[0]]
        if add is None or add.op != "Add" or draft.only_reader(add) is not norm or len(shape) not in (2, 3):
            continue
        if any(draft.shapes[tensor] != shape for tensor in add.inputs):
            continue
        inputs = [*add.inputs, *norm.inputs[1:]]
        for biased in [draft.producer(tensor) for tensor in add.inputs]:
            if biased is None or biased.op != "Add" or draft.only_reader(biased) is not add:
                continue
            product = next(
                (p for t in biased.inputs if (p := draft.producer(t)) is not None and p.op == "MatMul"), None
            )
            if product is not None and (bias := _constant(draft, biased)):
                inputs[inputs.index(biased.output)] = product.output
                inputs.append(bias)
                _replace(draft, [biased, add, norm], "SkipLayerNormalization", inputs, "SkipLayerNormalization")
                break
        else:
            _replace(draft, [add, norm], "SkipLayerNormalization", inputs, "SkipLayerNormalization")


def fuse_quick_gelu(draft: Draft) -> None:
    """Find x * sigmoid(alpha x)."""
    for sigmoid in [one for one in draft if one.op == "Sigmoid" and draft.types[one.inputs[0]] == "f32"]:
        times = draft.only_reader(sigmoid)
        if times is None or times.op != "Mul":
            continue
        (other,) = [tensor for tensor in times.inputs if tensor != sigmoid.output] or [""]
        before = draft.producer(sigmoid.inputs[0])
        scaled = None
        if before is not None and before.op == "Mul" and draft.only_reader(before) is sigmoid:
            scaled = next((t for t, c in (before.inputs, before.inputs[::-1]) if draft.is_scalar(c)), None)
        if scaled == other and before is not None:
            _replace(draft, [before, sigmoid, times], "QuickGelu", [other], f"{times.name}/QuickGeluFusion/")
        elif other == sigmoid.inputs[0]:
            _replace(draft, [sigmoid, times], "QuickGelu", [other], f"{times.name}/QuickGeluFusion/")


def fuse_bias_gelu(draft: Draft) -> None:
    """Let Gelu add a bias of the last dimension before it."""
    for gelu in [one for one in draft if one.op in {"Gelu", "FastGelu"}]:
        add = draft.producer(gelu.inputs[0])
        if add is None or add.op != "Add" or draft.only_reader(add) is not gelu:
            continue
        bias = _constant(draft, add)
        if bias and draft.shapes[bias] == draft.shapes[gelu.output][-1:]:
            (source,) = [tensor for tensor in add.inputs if tensor != bias]
            op = "BiasGelu" if gelu.op == "Gelu" else "FastGelu"
            _replace(draft, [add, gelu], op, [source, bias], "BiasGelu")


def fuse_splits(draft: Draft) -> None:
    """Make one Split of the operators that take all slices of a tensor along an axis one by one."""
    for source in list(dict.fromkeys(one.inputs[0] for one in draft if one.op == "Gather")):
        readers = draft.readers(source)
        axes = {int(one.attributes.get("axis", 0)) % len(draft.shapes[source]) for one in readers if one.op == "Gather"}
        indices = [draft.values.get(one.inputs[1]) for one in readers if one.op == "Gather"]
        if len(axes) != 1 or len(indices) < len(readers) or any(index is None or index.shape for index in indices):
            continue
        (axis,) = axes
        size = draft.shapes[source][axis]
        places = [int(index) % size for index in indices if index is not None]
        if sorted(places) != list(range(size)):
            continue
        gathers = dict(zip(places, list(readers), strict=True))
        shape = (*draft.shapes[source][:axis], 1, *draft.shapes[source][axis + 1 :])
        parts = [draft.tensor(source, "part", shape) for _ in range(size)]
        covers = tuple(name for one in gathers.values() for name in one.covers)
        outputs = {place: one.output for place, one in gathers.items()}
        name = readers[-1].name
        for one in gathers.values():
            draft.remove(one)
        draft.add("Split", [source], parts, {"axis": axis}, name=name, covers=covers)
        for place, output in outputs.items():
            draft.add("Squeeze", [parts[place]], [output], {"axes": [axis]})


def fuse_relu_clip(draft: Draft) -> None:
    """Let a Clip cut what a Relu before it cuts."""
    for relu in [one for one in draft if one.op == "Relu"]:
        clip = draft.only_reader(relu)
        if clip is not None and clip.op == "Clip" and all(draft.is_constant(t) for t in clip.inputs[1:] if t):
            draft.read(clip, 0, relu.inputs[0])
            draft.remove(relu)
            clip.covers = relu.covers + clip.covers
