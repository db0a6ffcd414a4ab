"""A float32 file in half precision: the same network, with casts where half precision would spoil it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from edgekd.errors import ExportError
from edgekd.export import onnx_file
from edgekd.export.half import halved
from edgekd.runtime.session import REFERENCE, open_session
from tests.models import DepthwiseCnn, ResidualCnn

SHAPE = (1, 12, 12)


class Attention(nn.Module):
    """Tokens, LayerNorm, softmax attention and GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 16, 3, 3)
        self.norm = nn.LayerNorm(16)
        self.heads = nn.Linear(16, 48)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(self.patches(x).flatten(2).transpose(1, 2))
        q, k, v = self.heads(tokens).chunk(3, -1)
        mixed = torch.softmax(q @ k.transpose(1, 2) / 4, -1) @ v
        return self.head(nn.functional.gelu(tokens + mixed).mean(1))


def samples(count: int = 8) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, *SHAPE)).astype(np.float32)


def answers(path: Path) -> np.ndarray:
    session = open_session(REFERENCE, str(path), batch=8)
    return session.run([samples()])[0].copy()


@pytest.mark.parametrize("network", [ResidualCnn, DepthwiseCnn, Attention])
def test_it_answers_as_the_float_file_does(network: type[nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    onnx_file.write(network().eval(), tmp_path / "float.onnx", SHAPE)
    kept = halved(tmp_path / "float.onnx", tmp_path / "half.onnx", samples())
    exact, rounded = answers(tmp_path / "float.onnx"), answers(tmp_path / "half.onnx")
    assert rounded.dtype == np.float32
    assert 0 < np.abs(exact - rounded).max() < 0.01 * np.ptp(exact)
    graph = onnx.load(tmp_path / "half.onnx").graph
    weights = [t for t in graph.initializer if len(t.dims) > 1]
    assert {t.data_type for t in weights} == {TensorProto.FLOAT16}
    products = {n.op_type: n.name for n in graph.node if n.op_type in {"Conv", "MatMul", "Gemm"}}
    assert products
    assert not set(products.values()) & set(kept)
    if network is Attention:
        assert any("LayerNormalization" in name or "layer_norm" in name or "norm" in name for name in kept)
    assert (tmp_path / "half.onnx").stat().st_size < 0.8 * (tmp_path / "float.onnx").stat().st_size


def chain(*ops: tuple[str, float], factor: float = 1.0) -> onnx.ModelProto:
    """Return x -> op(x, constant) -> ..., on (N, 4)."""
    names = ["input", *(f"t{n}" for n in range(len(ops) - 1)), "logits"]
    nodes = [
        helper.make_node(op, [names[n], f"c{n}"], [names[n + 1]], name=f"node{n}") for n, (op, _) in enumerate(ops)
    ]
    constants = [helper.make_tensor(f"c{n}", TensorProto.FLOAT, [1], [value]) for n, (_, value) in enumerate(ops)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("input", "logits")]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_values_and_constants_beyond_half_precision_stay_in_float(tmp_path: Path) -> None:
    onnx.save(chain(("Mul", 1e4), ("Mul", 1e-4), ("Add", 1e6), ("Add", -1e6)), tmp_path / "float.onnx")
    values = np.full((2, 4), 5.0, np.float32)
    assert halved(tmp_path / "float.onnx", tmp_path / "blind.onnx") == ["node2", "node3"]
    assert halved(tmp_path / "float.onnx", tmp_path / "half.onnx", values) == ["node0", "node1", "node2", "node3"]
    session = open_session(REFERENCE, str(tmp_path / "half.onnx"), batch=2)
    assert session.run([values])[0] == pytest.approx(values, rel=0.02)


def test_the_same_file_gives_the_same_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    onnx_file.write(ResidualCnn().eval(), tmp_path / "float.onnx", SHAPE)
    for name in ("a", "b"):
        halved(tmp_path / "float.onnx", tmp_path / f"{name}.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_what_is_quantized_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("QuantizeLinear", ["input", "s", "z"], ["logits"], name="q")
    constants = [
        helper.make_tensor("s", TensorProto.FLOAT, [], [1.0]),
        helper.make_tensor("z", TensorProto.INT8, [], [0]),
    ]
    ends = [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1])]
    result = [helper.make_tensor_value_info("logits", TensorProto.INT8, [1])]
    onnx.save(helper.make_model(helper.make_graph([node], "q", ends, result, constants)), tmp_path / "q.onnx")
    with pytest.raises(ExportError, match="QuantizeLinear 'q' is quantized"):
        halved(tmp_path / "q.onnx", tmp_path / "half.onnx")
