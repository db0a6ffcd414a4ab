"""Blocks of products with the last axis: transformers, and convolutional networks built like them."""

from __future__ import annotations

from math import sqrt

from edgekd.kernels.activations import activate
from edgekd.kernels.layers import add, conv, depthwise, layer_norm, linear, reshape, split, transpose
from edgekd.kernels.segment import Kind, Segment


def convnext(net: Segment) -> None:
    """Build a wide depthwise window, then two products on channels that lie last."""
    dice = net.dice
    x = net.input(dice.feature_map(smallest=4, largest=96, narrowest=16, widest=768))
    width = net.shapes[x][1]
    if dice.chance(0.4):
        x = conv(net, x, width, dice.pick((1, 2)), 1, same=False)
    convnext_block(net, x, dice.kernel((7, 7, 5, 3), 2 * net.shapes[x][2]), _wider(net, width), dice.chance(0.5))


def attention(net: Segment) -> None:
    """Build tokens that look at each other: queries, keys and values from one product or from three."""
    dice = net.dice
    x, heads = _tokens(net)
    normalised, together, early = dice.chance(0.7), dice.chance(0.6), dice.chance(0.3)
    attention_block(net, x, heads, normalised=normalised, together=together, early=early)


def feed_forward(net: Segment) -> None:
    """Build two products with an activation between them, around which the input goes."""
    dice = net.dice
    x, _ = _tokens(net)
    name = dice.pick(("gelu", "gelu", "relu", "silu"))
    for _ in range(dice.pick((1, 1, 2)) if name != "gelu" else 1):
        x = feed_forward_block(net, x, _wider(net, net.shapes[x][-1]), name, dice.chance(0.8))


def convnext_block(net: Segment, x: str, kernel: int, wide: int, scaled: bool) -> str:
    """Add a depthwise window, two products on channels that lie last, maybe a factor a channel, the sum around them."""
    width = net.shapes[x][1]
    y = layer_norm(net, transpose(net, depthwise(net, x, kernel), (0, 2, 3, 1)))
    y = linear(net, activate(net, linear(net, y, wide), "gelu"), width)
    if scaled:
        y = net.add("Mul", [y, net.weight("gamma", (width,), 0.5)], net.shapes[y])
    return add(net, transpose(net, y, (0, 3, 1, 2)), x)


def attention_block(net: Segment, x: str, heads: int, *, normalised: bool, together: bool, early: bool) -> str:
    """Add attention of x (1, tokens, width) to itself; `early` scales the queries instead of the scores."""
    _, tokens, width = net.shapes[x]
    each = width // heads
    y = layer_norm(net, x) if normalised else x
    q, k, v = (_together if together else _apart)(net, y, heads)
    k = transpose(net, k, (0, 1, 3, 2))
    if early:
        q = net.add("Mul", [q, net.constant("factor", 1 / sqrt(each))], net.shapes[q])
    scores = net.add("MatMul", [q, k], (1, heads, tokens, tokens), heads * tokens * tokens * each)
    if not early:
        scores = net.add("Div", [scores, net.constant("divisor", sqrt(each))], net.shapes[scores])
    weights = net.add("Softmax", [scores], net.shapes[scores], axis=-1)
    y = net.add("MatMul", [weights, v], (1, heads, tokens, each), heads * tokens * tokens * each)
    y = reshape(net, transpose(net, y, (0, 2, 1, 3)), (1, tokens, width))
    return add(net, linear(net, y, width), x)


def feed_forward_block(net: Segment, x: str, wide: int, name: str, normalised: bool) -> str:
    """Add two products with an activation between them, and the sum around them."""
    y = layer_norm(net, x) if normalised else x
    y = activate(net, linear(net, y, wide), name)
    return add(net, linear(net, y, net.shapes[x][-1]), x)


def patch_tokens(net: Segment) -> None:
    """Build a picture cut into patches, as rows of tokens, and the first product on them."""
    width = net.dice.width(32, 768)
    linear(net, layer_norm(net, picture_tokens(net, width)), net.dice.near(width))


def picture_tokens(net: Segment, width: int) -> str:
    """Declare a picture and add what cuts it into patches and makes a row of tokens (1, patches, width) of them."""
    dice = net.dice
    size = dice.pick((4, 8, 16, 16))
    rows = dice.whole(2, 16)
    x = net.input((1, 3, rows * size, rows * size))
    y = reshape(net, conv(net, x, width, size, size, same=False), (1, width, rows * rows))
    y = transpose(net, y, (0, 2, 1))
    return net.add("Add", [y, net.weight("position", (1, rows * rows, width), 0.1)], net.shapes[y])


def _tokens(net: Segment) -> tuple[str, int]:
    """Declare the input, (1, tokens, width), and return it with a number of heads that divides the width."""
    dice = net.dice
    heads = dice.pick((1, 2, 3, 4, 4, 6, 8, 12))
    width = heads * max(1, dice.width(max(8.0, 32 / heads), min(96.0, 768 / heads)))
    tokens = dice.pick((16, 49, 50, 64, 65, 128, 196, 197, 256, dice.log(4, 256), dice.log(4, 256), dice.log(4, 256)))
    return net.input((1, tokens, width)), heads


def _wider(net: Segment, width: int) -> int:
    dice = net.dice
    return width * dice.pick((2, 3, 4, 4)) if dice.chance(0.6) else dice.width(width, 4 * width)


def _together(net: Segment, x: str, heads: int) -> list[str]:
    """Return queries, keys and values, each (1, heads, tokens, features), from one product."""
    width = net.shapes[x][-1]
    parts = split(net, linear(net, x, 3 * width), (width,) * 3, axis=2)
    return [_by_head(net, part, heads) for part in parts]


def _apart(net: Segment, x: str, heads: int) -> list[str]:
    return [_by_head(net, linear(net, x, net.shapes[x][-1]), heads) for _ in range(3)]


def _by_head(net: Segment, x: str, heads: int) -> str:
    _, tokens, width = net.shapes[x]
    return transpose(net, reshape(net, x, (1, tokens, heads, width // heads)), (0, 2, 1, 3))


KINDS = {
    "convnext": Kind(convnext, 4),
    "attention": Kind(attention, 4),
    "feed-forward": Kind(feed_forward, 4),
    "patch-tokens": Kind(patch_tokens, 2),
}
