"""Transformers and what learned from them: ViT, text encoders, ConvNeXt, MLP-Mixer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
from onnx import ModelProto

from tools.topologies.builder import Value
from tools.topologies.layers import Layers


def attention(net: Layers, x: Value, heads: int) -> Value:
    """Self-attention with three products of their own, as written for BERT."""
    _, tokens, width = x.shape
    size = width // heads

    def part(*order: int) -> Value:
        return net.transpose(net.reshape(net.project(x, width), 1, tokens, heads, size), *order)

    query, key, value = part(0, 2, 1, 3), part(0, 2, 3, 1), part(0, 2, 1, 3)
    scores = net.matmul(query, key)
    scores = net.op("Div", [scores, net.constant(math.sqrt(size))], scores.shape)
    return net.project(_joined(net, net.matmul(net.softmax(scores), value)), width)


def packed_attention(net: Layers, x: Value, heads: int) -> Value:
    """Self-attention with one product for all three, as timm's ViT leaves torch.onnx."""
    _, tokens, width = x.shape
    size = width // heads
    packed = net.transpose(net.reshape(net.project(x, 3 * width), 1, tokens, 3, heads, size), 2, 0, 3, 1, 4)
    query, key, value = (
        net.op("Gather", [packed, net.constant(which, np.int64)], packed.shape[1:], axis=0) for which in range(3)
    )
    root = net.constant(size**-0.25)
    key = net.mul(net.transpose(key, 0, 1, 3, 2), root)
    weights = net.softmax(net.matmul(net.mul(query, root), key))
    return net.project(_joined(net, net.matmul(weights, value)), width)


def _joined(net: Layers, x: Value) -> Value:
    _, heads, tokens, size = x.shape
    return net.reshape(net.transpose(x, 0, 2, 1, 3), 1, tokens, heads * size)


def vit(resolution: int, patch: int, width: int, *, depth: int, heads: int, gelu: str) -> ModelProto:
    """Vision transformer with a class token, normalised before each part (2010.11929)."""
    net = Layers(_opset(gelu))
    x = net.conv(net.input(3, resolution, resolution), width, patch, patch, pads=(0, 0, 0, 0))
    tokens = x.shape[2] * x.shape[3]
    x = net.transpose(net.reshape(x, 1, width, tokens), 0, 2, 1)
    x = net.concat(net.weight((1, 1, width), 1), x, axis=1)
    x = net.add(x, net.weight((1, tokens + 1, width), 1))
    for _ in range(depth):
        x = net.add(x, packed_attention(net, net.layer_norm(x), heads))
        x = net.add(x, net.project(net.project(net.layer_norm(x), 4 * width, gelu), width))
    x = net.layer_norm(x)
    first = net.op("Gather", [x, net.constant(0, np.int64)], (1, width), axis=1)
    return net.model(net.linear(first, 1000))


def text_encoder(tokens: int, width: int, *, depth: int, heads: int, gelu: str) -> ModelProto:
    """BERT's encoder on embeddings, normalised after each part, with the pooled first token (1810.04805)."""
    net = Layers(_opset(gelu))
    x = net.layer_norm(net.add(net.input(tokens, width), net.weight((1, tokens, width), 1)))
    for _ in range(depth):
        x = net.layer_norm(net.add(attention(net, x, heads), x))
        x = net.layer_norm(net.add(net.project(net.project(x, 4 * width, gelu), width), x))
    first = net.op("Gather", [x, net.constant(0, np.int64)], (1, width), axis=1)
    return net.model(net.linear(net.linear(first, width, "tanh"), 2))


def convnext(resolution: int, widths: Sequence[int], depths: Sequence[int], gelu: str) -> ModelProto:
    """ConvNeXt: 7x7 depthwise, LayerNorm and two products with channels last, scaled, added (2201.03545)."""
    net = Layers(_opset(gelu))

    def norm(x: Value) -> Value:
        return net.transpose(net.layer_norm(net.transpose(x, 0, 2, 3, 1)), 0, 3, 1, 2)

    none = (0, 0, 0, 0)
    x = norm(net.conv(net.input(3, resolution, resolution), widths[0], 4, 4, pads=none))
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        x = net.conv(norm(x), width, 2, 2, pads=none) if stage else x
        for _ in range(depth):
            y = net.layer_norm(net.transpose(net.depthwise(x, 7), 0, 2, 3, 1))
            y = net.transpose(net.project(net.project(y, 4 * width, gelu), width), 0, 3, 1, 2)
            scale = net.constant(np.linspace(0.1, 0.2, width).reshape(1, width, 1, 1))
            x = net.add(net.mul(y, scale), x)
    x = net.layer_norm(net.flatten(net.global_pool(x)))
    return net.model(net.linear(x, 1000))


def _opset(gelu: str) -> int:
    """Return the first opset that has this way of writing GELU."""
    return 20 if gelu == "gelu" else 17


def mixer(resolution: int, patch: int, width: int, depth: int) -> ModelProto:
    """MLP-Mixer: products along the tokens, then along the channels (2105.01601)."""
    net = Layers()
    x = net.conv(net.input(3, resolution, resolution), width, patch, patch, pads=(0, 0, 0, 0))
    tokens = x.shape[2] * x.shape[3]
    x = net.transpose(net.reshape(x, 1, width, tokens), 0, 2, 1)
    for _ in range(depth):
        y = net.transpose(net.layer_norm(x), 0, 2, 1)
        y = net.project(net.project(y, width // 2, "gelu_decomposed"), tokens)
        x = net.add(x, net.transpose(y, 0, 2, 1))
        x = net.add(x, net.project(net.project(net.layer_norm(x), 4 * width, "gelu_decomposed"), width))
    return net.model(net.linear(net.mean(net.layer_norm(x), 1), 1000))


TOPOLOGIES = {
    "vit_tiny_224": partial(vit, 224, 16, 192, depth=12, heads=3, gelu="gelu_decomposed"),
    "vit_small_images_32": partial(vit, 32, 4, 128, depth=6, heads=4, gelu="gelu"),
    "bert_mini_64": partial(text_encoder, 64, 256, depth=4, heads=4, gelu="gelu_decomposed"),
    "bert_tiny_128": partial(text_encoder, 128, 128, depth=2, heads=2, gelu="gelu"),
    "convnext_atto_160": partial(convnext, 160, (40, 80, 160, 320), (2, 2, 6, 2), "gelu_decomposed"),
    "convnext_femto_224": partial(convnext, 224, (48, 96, 192, 384), (2, 2, 6, 2), "gelu"),
    "mixer_small_images_64": partial(mixer, 64, 8, 128, 8),
}
