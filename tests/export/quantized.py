"""A small int8 network, and how it is put where the quantize stage puts one."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edgekd.export import onnx_file
from tests.models import INPUT_SHAPE


def _symbolic(op: str, inputs: tuple[Tensor, ...], attributes: dict[str, int], dtype: torch.dtype, shape) -> Tensor:
    return torch.onnx.ops.symbolic(op, inputs, attributes, dtype=dtype, shape=shape, version=20)


class QuantizeDequantize(nn.Module):
    """u8 with zero point 0, which is also a ReLU, or with a free one."""

    def __init__(self, scale: float, zero_point: int = 0) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))
        self.register_buffer("zero_point", torch.tensor(zero_point, dtype=torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_exporting():
            integers = ((x / self.scale).round() + self.zero_point).clamp(0, 255)
            return (integers - self.zero_point) * self.scale
        constants = (self.scale, self.zero_point)
        integers = _symbolic("QuantizeLinear", (x, *constants), {}, torch.uint8, x.shape)
        return _symbolic("DequantizeLinear", (integers, *constants), {}, torch.float32, x.shape)


class IntegerConv(nn.Module):
    """A convolution whose weight is 7-bit integers, so that no processor saturates."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randint(-63, 64, (outputs, inputs, 3, 3), dtype=torch.int8))
        self.register_buffer("scale", torch.full((outputs,), 0.02))
        self.register_buffer("zero_point", torch.zeros(outputs, dtype=torch.int8))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            inputs = (self.weight, self.scale, self.zero_point)
            weight = _symbolic("DequantizeLinear", inputs, {"axis": 0}, torch.float32, self.weight.shape)
        else:
            weight = self.weight * self.scale.reshape(-1, 1, 1, 1)
        return nn.functional.conv2d(x, weight, self.bias, padding=1)


class QuantizedCnn(nn.Module):
    """Two integer convolutions and a float mean; input (1, 12, 12)."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(
            QuantizeDequantize(0.03, 128),
            IntegerConv(1, 8),
            QuantizeDequantize(0.05),
            IntegerConv(8, classes),
            QuantizeDequantize(0.2, 128),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).mean((2, 3))


def written(folder: Path) -> tuple[QuantizedCnn, Path]:
    """Return the network and its ONNX file."""
    network = QuantizedCnn().eval()
    onnx_file.write(network, folder / "model.onnx", INPUT_SHAPE)
    return network, folder / "model.onnx"


def record_probe(network: nn.Module, folder: Path, count: int = 16) -> None:
    """Record inputs and answers as every checkpoint does."""
    probe = torch.randn(count, *INPUT_SHAPE, generator=torch.Generator().manual_seed(2))
    folder.mkdir(parents=True)
    with torch.no_grad():
        save_file({"input": probe, "output": network(probe).contiguous()}, folder / "probe.safetensors")
