"""The rules on hand-made operator graphs, without any framework."""

from __future__ import annotations

from edgekd.placement.graph import Operator, OperatorGraph
from edgekd.placement.place import QUANTIZED, place
from edgekd.placement.scheme import SCHEMES

U8 = SCHEMES["u8w7"]


def graph(*operators: Operator) -> OperatorGraph:
    return OperatorGraph(operators)


def placed(*operators: Operator, scheme: str = "u8w7") -> dict[str, str]:
    return {tensor.operator: tensor.signedness for tensor in place(graph(*operators), SCHEMES[scheme]).tensors}


X = Operator("x", "input")
CONV = Operator("conv", "conv", ("x",))


def test_a_convolution_is_quantized_after_its_relu_which_the_quantizer_replaces() -> None:
    operators = (X, CONV, Operator("relu", "relu", ("conv",)), Operator("y", "output", ("relu",)))
    plan = place(graph(*operators), U8)
    assert [(t.operator, t.signedness, t.absorbs) for t in plan.tensors] == [
        ("x", "affine", False),
        ("relu", "unsigned", True),
    ]
    assert plan.weights == ("conv",)


def test_symmetric_integers_cannot_replace_a_relu() -> None:
    plan = place(graph(X, CONV, Operator("relu", "relu", ("conv",))), SCHEMES["s8"])
    assert [(t.signedness, t.absorbs) for t in plan.tensors] == [("symmetric", False)] * 2


def test_a_clip_limits_its_quantizer() -> None:
    plan = place(graph(X, CONV, Operator("clip", "clip", ("conv",), limit=6.0)), U8)
    assert (plan.tensors[1].absorbs, plan.tensors[1].limit) == (True, 6.0)


def test_both_inputs_and_the_output_of_a_residual_sum_are_quantized() -> None:
    operators = (
        X,
        CONV,
        Operator("sum", "add", ("conv", "x")),
        Operator("relu", "relu", ("sum",)),
        Operator("next", "conv", ("relu",)),
        Operator("y", "output", ("next",)),
    )
    assert placed(*operators) == {"x": "affine", "conv": "affine", "relu": "unsigned", "next": "affine"}


def test_a_tensor_with_two_readers_is_quantized_before_its_relu_as_well() -> None:
    sum_ = Operator("sum", "add", ("conv", "relu"))
    operators = (X, CONV, Operator("relu", "relu", ("conv",)), sum_, Operator("next", "linear", ("sum",)))
    assert placed(*operators) == {"x": "affine", "conv": "affine", "relu": "unsigned", "sum": "affine"}


def test_a_sum_that_no_layer_reads_is_left_in_float() -> None:
    norm, head = Operator("norm", "other", ("sum",)), Operator("head", "linear", ("norm",))
    plan = place(graph(X, CONV, Operator("sum", "add", ("conv", "x")), norm, head), U8)
    assert plan.integers == ("conv", "head")
    assert [tensor.operator for tensor in plan.tensors] == ["x", "conv", "norm"]


def test_layers_named_floating_keep_their_weights_and_nothing_is_rounded_for_them() -> None:
    operators = (X, CONV, Operator("relu", "relu", ("conv",)), Operator("next", "conv", ("relu",)))
    plan = place(graph(*operators), U8, floating={"conv"})
    assert plan.weights == ("next",)
    assert [tensor.operator for tensor in plan.tensors] == ["relu", "next"]


def test_further_kinds_are_computed_in_integers_when_asked_for() -> None:
    gate = (Operator("gate", "sigmoid", ("conv",)), Operator("scaled", "mul", ("conv", "gate")))
    operators = (X, CONV, *gate, Operator("next", "conv", ("scaled",)))
    assert "scaled" not in place(graph(*operators), U8).integers
    plan = place(graph(*operators), U8, kinds=QUANTIZED | {"mul"})
    assert "scaled" in plan.integers
    assert {t.operator: t.signedness for t in plan.tensors}["gate"] == "unsigned"


def test_operators_that_move_values_share_the_quantizer_before_them() -> None:
    operators = (
        X,
        CONV,
        Operator("relu", "relu", ("conv",)),
        Operator("pool", "max_pool", ("relu",)),
        Operator("flat", "reshape", ("pool",)),
        Operator("head", "linear", ("flat",)),
        Operator("y", "output", ("head",)),
    )
    assert placed(*operators) == {"x": "affine", "relu": "unsigned"}


def test_pooling_is_quantized_on_both_sides_and_keeps_the_sign() -> None:
    ends = (Operator("pool", "average_pool", ("relu",)), Operator("head", "linear", ("pool",)))
    operators = (X, CONV, Operator("relu", "relu", ("conv",)), *ends)
    assert placed(*operators)["pool"] == "unsigned"
    linear_end = (X, CONV, Operator("relu", "other", ("conv",)), *ends)
    assert placed(*linear_end)["pool"] == "affine"


def test_logits_stay_float_but_a_convolution_never_does() -> None:
    assert "head" not in placed(X, Operator("head", "linear", ("x",)), Operator("y", "output", ("head",)))
    assert "conv" in placed(X, CONV, Operator("y", "output", ("conv",)))


def test_a_float_operator_gets_its_output_quantized_only_for_integer_readers() -> None:
    gelu = Operator("gelu", "other", ("head",))
    head = Operator("head", "linear", ("x",))
    assert placed(X, head, gelu, Operator("last", "linear", ("gelu",))) == {"x": "affine", "gelu": "affine"}
    assert placed(X, head, gelu, Operator("y", "output", ("gelu",))) == {"x": "affine"}
