"""Integer form made up from a float file, compared with what the quantizer itself writes and both runtimes run."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from edgekd.errors import UsageError
from edgekd.export.onnx_file import write
from edgekd.onnx_graph.graph import Graph, read
from edgekd.onnx_graph.quantized import quantized
from edgekd.placement.scheme import scheme_named
from edgekd.quantize.calibration import CalibrationConfig
from edgekd.quantize.emission import freeze
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.runtime import without_telemetry
from tests.onnx_graph.onnx_graphs import classic, model


class Network(nn.Module):
    """A bit of everything the rules tell apart."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.squeeze = nn.Conv2d(8, 8, 1)
        self.tokens = nn.Linear(8, 16)
        self.expand = nn.Sequential(nn.Conv2d(8, 16, 1), nn.ReLU6())
        self.head = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = nn.functional.max_pool2d(torch.relu(x + self.second(x)), 2)
        x = x * torch.sigmoid(self.squeeze(x.mean((2, 3), keepdim=True)))
        tokens = nn.functional.gelu(self.tokens(x.flatten(2).transpose(1, 2))).mean(1)
        x = self.expand(x)
        x = nn.functional.avg_pool2d(torch.cat([x, nn.functional.hardswish(x)], 1), 2).mean((2, 3))
        result: Tensor = self.head(x) + tokens
        return result


def edges(graph: Graph) -> Counter[tuple[str, ...]]:
    """Return how often which operator reads what: operators' results, inputs and constants of which type and shape."""
    found = Counter[tuple[str, ...]]()
    for node in graph.nodes:
        made = [maker.op if (maker := graph.producer(name)) else graph.types[name] for name in node.inputs if name]
        axis = [str(graph.shapes[node.inputs[1]])] if node.op == "DequantizeLinear" else []
        found[(node.op, *made, *axis)] += 1
    return found


def test_a_network_gets_the_form_the_quantizer_gives_it(tmp_path: Path) -> None:
    network, images = Network().eval(), torch.randn(4, 3, 16, 16)
    write(network, tmp_path / "float.onnx", (3, 16, 16))
    prepared = prepare(network, images, scheme_named("u8w8"))
    # A bias that is nothing but a correction would be one more.
    calibrate(prepared, images.numpy(), CalibrationConfig(bias_correction=False))
    write(freeze(prepared), tmp_path / "integer.onnx", (3, 16, 16))
    made_up = edges(read(quantized(onnx.load(tmp_path / "float.onnx"))))
    real = edges(read(tmp_path / "integer.onnx"))
    assert made_up == real


@pytest.mark.parametrize(
    ("name", "integer", "floats"),
    [
        ("bvlc_alexnet", {"QLinearConv": 5, "QGemm": 3}, {"LRN": 2}),
        ("squeezenet", {"QLinearConv": 26, "QLinearConcat": 8}, {"GlobalAveragePool": 1}),
        ("shufflenet", {"QLinearConv": 49, "QLinearAdd": 13, "QLinearConcat": 3, "QLinearAveragePool": 4}, {}),
        ("resnet50", {"QLinearConv": 53, "QLinearAdd": 16, "QGemm": 1}, {"Softmax": 1}),
    ],
)
def test_classic_graphs_run_in_integers_on_both_runtimes(
    tmp_path: Path, name: str, integer: dict[str, int], floats: dict[str, int]
) -> None:
    made = quantized(onnx.load(classic(name)))
    onnx.checker.check_model(made)
    content = made.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "executed.onnx")
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).standard_normal((1, 3, 224, 224), np.float32)
    (result,) = session.run(None, {session.get_inputs()[0].name: image})
    executed = Counter(node.op_type for node in onnx.load(tmp_path / "executed.onnx").graph.node)
    assert {op: executed[op] for op in integer | floats} == integer | floats
    assert not {"Conv", "FusedConv", "Gemm"} & set(executed)
    core = without_telemetry.openvino().Core()
    compiled = core.compile_model(core.read_model(content), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    other = compiled(image)[0]
    assert np.isfinite(other).all()
    assert np.abs(other - result).max() < 0.01
    layers = [op.get_rt_info() for op in compiled.get_runtime_model().get_ops()]
    convolutions = [info for info in layers if info["layerType"].astype(str) == "Convolution"]
    precisions = {info["runtimePrecision"].astype(str) for info in convolutions}
    assert precisions == {"u8"}


def test_relu6_disappears_into_a_scale_that_ends_at_six() -> None:
    text = """g (float[1, 3, 8, 8] x) => (float[1, 4, 6, 6] y) {
        a = Conv (x, w)
        b = Clip (a, low, high)
        y = Conv (b, v)
    }"""
    bounds = {"low": np.zeros((), np.float32), "high": np.full((), 6, np.float32)}
    graph = read(quantized(model(text, w=(4, 3, 3, 3), v=(4, 4, 1, 1), **bounds)))
    assert "Clip" not in {node.op for node in graph.nodes}
    (quantizer,) = [node for node in graph.nodes if node.name == "b/quantize"]
    assert graph.values[quantizer.inputs[1]] <= 6 / 255
    assert graph.values[quantizer.inputs[2]] == 0
    assert graph.values["x.zero_point"] == 128


def test_results_keep_their_names_and_big_weights_their_shapes() -> None:
    built = model("g (float[1, 3, 8, 8] x) => (float[1, 200, 6, 6] y) { y = Conv (x, w) }", w=(200, 3, 3, 3))
    made = quantized(built)
    graph = read(made)
    assert graph.outputs == ("y",)
    assert graph.inputs == ("x",)
    conv = next(node for node in graph.nodes if node.op == "Conv")
    weight = graph.producer(conv.inputs[1])
    assert weight is not None
    assert (graph.shapes[weight.inputs[0]], graph.types[weight.inputs[0]]) == ((200, 3, 3, 3), "s8")
    assert len({node.name for node in made.graph.node}) == len(made.graph.node)


def test_sums_of_three_become_sums_of_two() -> None:
    text = """g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) {
        a = Conv (x, w) b = Conv (x, w) c = Conv (x, w)
        y = Sum (a, b, c)
    }"""
    graph = read(quantized(model(text, w=(3, 3, 1, 1))))
    assert [node.op for node in graph.nodes].count("Add") == 2
    assert "Sum" not in {node.op for node in graph.nodes}


def test_what_is_quantized_already_is_refused() -> None:
    made = quantized(model("g (float[1, 3, 8, 8] x) => (float[1, 4, 6, 6] y) { y = Conv (x, w) }", w=(4, 3, 3, 3)))
    with pytest.raises(UsageError, match="quantized already"):
        quantized(made)
