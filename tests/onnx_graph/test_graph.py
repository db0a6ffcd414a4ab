from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import external_data_helper, helper, numpy_helper

from edgekd.errors import ExportError, UsageError
from edgekd.onnx_graph.graph import Graph, read
from tests.onnx_graph.onnx_graphs import NAMES, classic, model


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


@pytest.mark.parametrize("name", NAMES)
def test_classic_graphs_are_read_down_to_their_layers(name: str) -> None:
    graph = read(classic(name))
    assert [graph.shapes[name] for name in graph.inputs] == [(1, 3, 224, 224)]
    assert graph.shapes[graph.outputs[0]][:2] == (1, 1000)
    assert not {"ConstantOfShape", "Unsqueeze", "Dropout", "Identity"} & set(ops(graph))
    assert name == "densenet121" or "BatchNormalization" not in ops(graph)
    for node in graph.nodes:
        for tensor in (*node.inputs, *node.outputs):
            assert tensor in graph.constants or graph.producer(tensor) or tensor in graph.inputs
            assert len(graph.shapes[tensor]) == 0 or min(graph.shapes[tensor]) > 0
            assert graph.types[tensor] in {"f32", "s64"}


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet"])
def test_shapes_are_those_onnx_runtime_computes(name: str) -> None:
    graph = read(classic(name))
    made = [output for node in graph.nodes for output in node.outputs]
    whole = onnx.load(classic(name))
    del whole.graph.output[:]
    whole.graph.output.extend(helper.make_empty_tensor_value_info(tensor) for tensor in made)
    for value in whole.graph.output:
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results = session.run(made, {graph.inputs[0]: np.zeros((1, 3, 224, 224), np.float32)})
    assert {tensor: graph.shapes[tensor] for tensor in made} == {
        tensor: result.shape for tensor, result in zip(made, results, strict=True)
    }


def test_normalisation_and_factors_of_channels_become_part_of_the_convolution() -> None:
    text = """g (float[n, 3, 8, 8] x) => (float[n, 4, 8, 8] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w)
        b = BatchNormalization (a, s, t, m, v)
        c = Mul (b, k)
        d = Add (t1, c)
        e = Dropout (d)
        y = Relu (e)
    }"""
    weights = {"w": (4, 3, 3, 3), "s": (4,), "t": (4,), "m": (4,), "v": (4,), "k": (4, 1, 1), "t1": (1, 4, 1, 1)}
    graph = read(model(text, **weights))
    assert ops(graph) == ["Conv", "Relu"]
    conv = graph.nodes[0]
    assert graph.shapes[conv.inputs[1]] == (4, 3, 3, 3)
    assert graph.shapes[conv.inputs[2]] == (4,)
    assert graph.shapes["x"] == (1, 3, 8, 8)
    assert graph.consumers(conv.outputs[0]) == (graph.nodes[1],)
    assert not {"w", "s", "k"} & set(graph.constants), "weights that are no longer read"


def test_a_convolution_others_read_keeps_its_normalisation() -> None:
    text = """g (float[1, 3, 8, 8] x) => (float[1, 4, 8, 8] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w)
        b = BatchNormalization (a, s, s, s, s)
        c = Mul (b, row)
        y = Add (a, c)
    }"""
    assert ops(read(model(text, w=(4, 3, 3, 3), s=(4,), row=(8,)))) == ["Conv", "BatchNormalization", "Mul", "Add"]


def test_a_factor_of_columns_is_no_factor_of_channels() -> None:
    text = """g (float[1, 3, 8, 8] x) => (float[1, 8, 8, 8] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w)
        y = Mul (a, row)
    }"""
    assert ops(read(model(text, w=(8, 3, 3, 3), row=(8,)))) == ["Conv", "Mul"]


def test_shapes_that_are_computed_from_shapes_are_constants() -> None:
    text = """g (float[n, 3, 8, 8] x) => (float[n, k] y) {
        shape = Shape (x)
        zero = Constant <value_int = 0> ()
        batch = Gather (shape, zero)
        axes = Constant <value_ints = [0]> ()
        one = Unsqueeze (batch, axes)
        rest = Constant <value_ints = [-1]> ()
        target = Concat <axis = 0> (one, rest)
        y = Reshape (x, target)
    }"""
    graph = read(model(text))
    assert ops(graph) == ["Reshape"]
    assert graph.values["target"].tolist() == [1, -1]
    assert graph.shapes["y"] == (1, 192)


def test_a_branch_that_depends_on_shapes_only_is_taken() -> None:
    text = """g (float[1, 4] x) => (float[1, 4] y) {
        size = Size (x)
        four = Constant <value_int = 4> ()
        is_four = Equal (size, four)
        z = If (is_four) <
            then_branch = a () => (float[1, 4] p) { p = Relu (x) },
            else_branch = b () => (float[1, 4] q) { q = Tanh (x) }
        >
        y = Neg (z)
    }"""
    assert ops(read(model(text))) == ["Relu", "Neg"]


def test_control_flow_is_refused_by_name() -> None:
    text = """g (float[1, 4] x, bool c) => (float[1, 4] y) {
        y = If (c) <
            then_branch = a () => (float[1, 4] p) { p = Relu (x) },
            else_branch = b () => (float[1, 4] q) { q = Tanh (x) }
        >
    }"""
    with pytest.raises(ExportError, match=r"node 'y' \(If\)"):
        read(model(text))


def test_a_result_without_a_shape_is_refused_by_name() -> None:
    with pytest.raises(ExportError, match=r"'i', which node 'i' \(NonZero\)"):
        read(model("g (float[1, 4] x) => (int64[2, k] y) { i = NonZero (x) y = Neg (i) }"))


def test_free_sizes_are_asked_for() -> None:
    free = model("g (float[n, 3, h, w] x) => (float[n, 3, h, w] y) { y = Relu (x) }")
    with pytest.raises(UsageError, match=r"'x' has free sizes, nx3xhxw; give --shape x=1x3x224x224"):
        read(free)
    assert read(free, {"x": (2, 3, 6, 5)}).shapes["y"] == (2, 3, 6, 5)
    with pytest.raises(UsageError, match="is nx3xhxw, the shape given is 1x4x6x6"):
        read(free, {"x": (1, 4, 6, 6)})
    with pytest.raises(UsageError, match="no input 'z'"):
        read(free, {"z": (1,)})


def test_a_named_size_is_the_same_everywhere() -> None:
    pair = model("g (float[n, 3, h] x, float[n, h, 2] z) => (float[n, 3, 2] y) { y = MatMul (x, z) }")
    graph = read(pair, {"x": (1, 3, 7)})
    assert graph.shapes["z"] == (1, 7, 2)


def test_integer_weights_stay_behind_their_scale() -> None:
    text = """g (float[1, 5, 8] x) => (float[1, 5, 6] y) {
        w = DequantizeLinear <axis = 0> (q, s, z)
        t = Transpose <perm = [1, 0]> (w)
        y = MatMul (x, t)
    }"""
    graph = read(
        model(
            text,
            q=np.arange(48, dtype=np.int8).reshape(6, 8),
            s=np.ones(6, np.float32),
            z=np.zeros(6, np.int8),
        )
    )
    assert ops(graph) == ["DequantizeLinear", "MatMul"]
    weight = graph.nodes[0]
    assert weight.outputs[0] in graph.constants
    assert weight.attributes["axis"] == 1
    assert graph.types[weight.inputs[0]] == "s8"
    assert graph.values[weight.inputs[0]].tolist() == np.arange(48).reshape(6, 8).T.tolist()


def test_weights_in_another_file_are_not_needed(tmp_path: Path) -> None:
    built = model("g (float[1, 3, 8, 8] x) => (y) { y = Conv (x, w) }", w=(128, 3, 5, 5))
    external_data_helper.convert_model_to_external_data(built, location="weights.bin", size_threshold=0)
    onnx.save(built, tmp_path / "net.onnx")
    (tmp_path / "weights.bin").unlink()
    graph = read(tmp_path / "net.onnx")
    assert graph.shapes["y"] == (1, 128, 4, 4)
    assert "w" not in graph.values


@pytest.mark.parametrize("content", [b"", b"not a network at all", None])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "net.onnx"
    if content is None:
        content = classic("squeezenet").read_bytes()[:9000]
    path.write_bytes(content)
    with pytest.raises(UsageError, match="damaged or no ONNX file"):
        read(path)


def test_types_without_a_cost_are_refused() -> None:
    with pytest.raises(ExportError, match="'x' is of type double"):
        read(model("g (double[1, 4] x) => (double[1, 4] y) { y = Relu (x) }"))


def test_a_result_that_is_a_copy_keeps_its_name() -> None:
    graph = read(model("g (float[1, 4] x) => (float[1, 4] y) { a = Relu (x) b = Identity (a) y = Identity (b) }"))
    assert ops(graph) == ["Relu"]
    assert graph.nodes[0].outputs == ("y",)
    assert graph.nodes[0].name == "a"


def test_nodes_out_of_order_are_sorted() -> None:
    built = model("g (float[1, 4] x) => (float[1, 4] y) { a = Relu (x) y = Neg (a) }")
    swapped = [built.graph.node[1], built.graph.node[0]]
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in swapped]
    del built.graph.node[:]
    built.graph.node.extend(nodes)
    assert ops(read(built)) == ["Relu", "Neg"]
    built.graph.node[0].input[0] = "nowhere"
    with pytest.raises(UsageError, match="reads 'nowhere'"):
        read(built)


def test_big_constants_are_not_computed() -> None:
    text = "g (float[1, 300] x) => (y) { a = Transpose <perm = [1, 0]> (w) b = Mul (a, a) y = MatMul (x, b) }"
    graph = read(model(text, w=(200, 300)))
    assert ops(graph) == ["MatMul"]
    assert graph.shapes["b"] == (300, 200)
    assert "b" in graph.constants
    assert "b" not in graph.values


def test_small_constants_are_computed() -> None:
    text = "g (float[1, 3] x) => (y) { a = Transpose <perm = [1, 0]> (w) y = MatMul (x, a) }"
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    built = model(text, w=weight)
    assert read(built).values["a"].tolist() == weight.T.tolist()
    assert numpy_helper.to_array(built.graph.initializer[0]).shape == (2, 3)
