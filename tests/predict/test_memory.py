import numpy as np
import onnx
import pytest

from edgekd.fuse.fusion import FUSIONS
from edgekd.kernel import FusedKernel, MemoryProbe
from edgekd.onnx_graph.graph import read
from edgekd.onnx_graph.quantized import quantized
from edgekd.predict.memory import MemoryModel, activation_peak_bytes, weights_bytes
from tests.onnx_graph.onnx_graphs import classic, model

CHAIN = """g (float[1, 1, 10, 10] x) => (float[1, 1, 10, 10] y) {
    a = Conv (x, w)
    b = Relu (a)
    c = Conv (b, v)
    y = Conv (c, v)
}"""
SHAPES = {"w": (8, 1, 1, 1), "v": (1, 8, 1, 1)}


def test_weights_are_counted_once() -> None:
    text = CHAIN.replace("y = Conv (c, v)", "d = Conv (c, w) y = Conv (d, v)")
    assert weights_bytes(read(model(text, **SHAPES))) == (8 + 8) * 4


def test_the_peak_is_where_most_is_alive() -> None:
    text = CHAIN.replace("y = Conv (c, v)", "y = Neg (c)")
    # Input and result are bound for good; beside them lie a, over which b is written, and c while it is computed.
    assert activation_peak_bytes(read(model(text, **SHAPES))) == 400 + 400 + 3200 + 400


def test_what_is_read_later_is_not_written_over() -> None:
    text = """g (float[1, 100] x) => (float[1, 100] y) {
        a = Neg (x) b = Relu (a) c = Tanh (b) d = Add (a, c) y = Neg (d)
    }"""
    assert activation_peak_bytes(read(model(text))) == 4 * 400
    chain = text.replace("Add (a, c)", "Add (c, c)")
    assert activation_peak_bytes(read(model(chain))) == 3 * 400


def test_tensors_within_a_kernel_take_no_memory() -> None:
    text = """g (float[1, 100] x) => (float[1, 100] y) { a = MatMul (x, w) b = Relu (a) y = MatMul (b, v) }"""
    graph = read(model(text, w=(100, 1000), v=(1000, 100)))
    whole = FusedKernel("mlp", "y", ((1, 100),), (1, 100), covers=("a", "b", "y"))
    assert activation_peak_bytes(graph) == 400 + 4000 + 400
    assert activation_peak_bytes(graph, [whole]) == 400 + 400


def test_integers_take_a_quarter() -> None:
    built = onnx.load(classic("vgg19"))
    graph, integer = read(built), read(quantized(built))
    assert 3.9 < weights_bytes(graph) / weights_bytes(integer) <= 4.0
    floats = 4 * (3 * 224 * 224 + 1000)
    largest = 64 * 224 * 224
    assert activation_peak_bytes(graph) == floats + 2 * 4 * largest
    assert activation_peak_bytes(integer) == floats + 2 * largest


def test_the_memory_model_finds_what_is_kept_of_weights_and_activations() -> None:
    chance = np.random.default_rng(0)
    sizes = chance.uniform(0.1, 20, (10, 2))
    probes = [
        MemoryProbe(name=str(n), scheme="fp32", runtime="r", peak_mb=9 + 3 * w + 2 * a, weights_mb=w, activations_mb=a)
        for n, (w, a) in enumerate(sizes)
    ]
    graph = read(classic("squeezenet"))
    kernels = FUSIONS.get("onnxruntime")().kernels(graph)
    found = MemoryModel(probes).peak_mb(graph, kernels)
    truth = 9 + 3 * weights_bytes(graph) / 1e6 + 2 * activation_peak_bytes(graph, kernels) / 1e6
    assert found.value == pytest.approx(truth, rel=0.01)
    assert found.origin == "predicted"
    assert found.lower is not None
    assert found.upper is not None
    assert found.lower <= truth <= found.upper + 1e-6
