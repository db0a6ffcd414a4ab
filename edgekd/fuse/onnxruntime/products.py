"""Matrix products: with a bias they become Gemm, a Gemm takes in an activation, a product a factor or a transpose."""

from __future__ import annotations

from math import prod

from edgekd.fuse.onnxruntime.draft import Draft, Operator

_GEMM_ACTIVATIONS = {
    "Elu", "HardSigmoid", "LeakyRelu", "ParametricSoftplus", "Relu", "ScaledTanh", "Selu", "Sigmoid", "Softplus",
    "Softsign", "Tanh", "ThresholdedRelu",
}  # fmt: skip


def fuse_bias(draft: Draft) -> None:
    """Make a Gemm of MatMul and Add, with a view before and behind where the input has not two dimensions."""
    for product in list(draft):
        add = draft.only_reader(product)
        if product.op != "MatMul" or add is None or add.op != "Add" or draft.types[product.inputs[0]] != "f32":
            continue
        left, right = (draft.shapes[tensor] for tensor in product.inputs)
        (bias,) = [tensor for tensor in add.inputs if tensor != product.output] or [product.output]
        shape = draft.shapes[bias]
        row = len(right) == 2 and shape == right[1:]
        matrix = len(left) == len(right) == 2 and shape in {(1, right[1]), (left[0], 1), (left[0], right[1])}
        if not row and not matrix:
            continue
        draft.merge(product, add, "Gemm")
        product.name += "/MatMulAddFusion"
        draft.read(product, 2, bias)
        if len(left) != 2:
            _as_matrix(draft, product)


def _as_matrix(draft: Draft, gemm: Operator) -> None:
    """Let a Gemm see its input and its result as matrices."""
    source, output = gemm.inputs[0], gemm.output
    rows = prod(draft.shapes[source][:-1])
    inner = draft.tensor(source, "matrix", (rows, draft.shapes[source][-1]))
    draft.add("Reshape", [source], [inner], name="gemm_input_reshape")
    draft.read(gemm, 0, inner)
    result = draft.tensor(output, "matrix", (rows, draft.shapes[output][-1]))
    draft.write(gemm, [result])
    draft.add("Reshape", [result], [output], name="gemm_output_reshape", covers=gemm.covers)


def fuse_activations(draft: Draft) -> None:
    """Let a Gemm compute the activation behind it."""
    for gemm in list(draft):
        activation = draft.only_reader(gemm)
        if gemm.op != "Gemm" or activation is None:
            continue
        if activation.op in _GEMM_ACTIVATIONS and draft.types[gemm.inputs[0]] == "f32":
            draft.merge(gemm, activation, "FusedGemm")
            gemm.name = f"fused {gemm.name}"


def fuse_transposes(draft: Draft) -> None:
    """Let a product of activations read its inputs as they were before the last two dimensions were exchanged."""
    for product in list(draft):
        if product.op not in {"MatMul", "FusedMatMul"} or draft.types[product.inputs[0]] != "f32":
            continue
        for position, tensor in enumerate(list(product.inputs[:2])):
            transpose = draft.producer(tensor)
            if transpose is None or transpose.op != "Transpose" or len(draft.shapes[tensor]) < 2:
                continue
            perm = tuple(transpose.attributes.get("perm", reversed(range(len(draft.shapes[tensor])))))
            rank = len(perm)
            if perm != (*range(rank - 2), rank - 1, rank - 2):
                continue
            product.op = "FusedMatMul"
            product.attributes[f"trans{'AB'[position]}"] = 1
            draft.read(product, position, transpose.inputs[0])
            if not draft.readers(tensor) and tensor not in draft.outputs:
                draft.remove(transpose)
                product.covers = (*transpose.covers, *product.covers)


def fuse_factors(draft: Draft) -> None:
    """Let a product of two matrices multiply by the constant number before or behind it."""
    for product in list(draft):
        if product.op not in {"MatMul", "FusedMatMul"} or draft.types[product.inputs[0]] != "f32":
            continue
        for position, tensor in enumerate(list(product.inputs[:2])):
            source = draft.producer(tensor)
            if source is None or not (factor := _scaled(draft, source)) or draft.only_reader(source) is not product:
                continue
            draft.read(product, position, factor)
            draft.remove(source)
            _mark_scaled(product, source)
        behind = draft.only_reader(product)
        if behind is not None and _scaled(draft, behind) == product.output:
            covers, fused = behind.covers, behind.fused
            draft.merge(product, behind)
            product.covers, product.fused = (*product.covers[: -len(covers)], *covers), product.fused[: -1 - len(fused)]
            _mark_scaled(product, behind)


def _scaled(draft: Draft, operator: Operator) -> str:
    """Return what `operator` multiplies by a constant number; "" where it does something else."""
    if operator.op not in {"Mul", "Div"}:
        return ""
    first, second = operator.inputs
    if draft.is_scalar(second) and draft.is_constant(second):
        return first
    return second if operator.op == "Mul" and draft.is_scalar(first) and draft.is_constant(first) else ""


def _mark_scaled(product: Operator, factor: Operator) -> None:
    product.op = "FusedMatMul"
    product.covers += tuple(name for name in factor.covers if name not in product.covers)
    if not product.name.endswith("/MatMulScaleFusion/"):
        product.name += "/MatMulScaleFusion/"
