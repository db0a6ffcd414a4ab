"""The last layers of classifiers, and networks of fully connected layers only."""

from __future__ import annotations

from edgekd.kernels.activations import PLAIN, activate
from edgekd.kernels.layers import conv, flatten, gemm, global_pool, pool, reshape
from edgekd.kernels.segment import Kind, Segment


def pooled(net: Segment) -> None:
    """Build a convolution, the mean over the map, one fully connected layer (or a 1×1 convolution in its place)."""
    dice = net.dice
    x = net.input(dice.feature_map(smallest=1, largest=64, narrowest=8))
    x = activate(net, conv(net, x, dice.near(net.shapes[x][1]), dice.pick((1, 1, 3))), dice.weighted(PLAIN))
    classifier(net, x)


def convolved(net: Segment) -> None:
    """Build a 1×1 convolution with one channel a class, then the mean."""
    dice = net.dice
    x = net.input(dice.feature_map(largest=64, narrowest=16))
    x = activate(net, conv(net, x, dice.near(net.shapes[x][1]), dice.pick((1, 3))), "relu")
    x = activate(net, conv(net, x, classes(net), 1), dice.pick(("relu", "none")))
    x = flatten(net, global_pool(net, x))
    net.add("Softmax", [x], net.shapes[x], axis=-1)


def flattened(net: Segment) -> None:
    """Build fully connected layers on all of a map, pooled or not: few weights or very many."""
    dice = net.dice
    x = net.input(dice.feature_map(smallest=2, largest=32, widest=512))
    if dice.chance(0.6):
        x = activate(net, conv(net, x, dice.near(net.shapes[x][1]), dice.pick((1, 3))), "relu")
    if dice.chance(0.5):
        x = pool(net, x, "MaxPool", 2, 2, same=False)
    connected(net, flatten(net, x), dice.whole(1, 3))


def perceptron(net: Segment) -> None:
    """Build fully connected layers on a row of features."""
    dice = net.dice
    x = net.input((1, dice.width(8, 4096)))
    if dice.chance(0.1):
        x = reshape(net, net.add("Mul", [x, net.constant("scale", 0.5)], net.shapes[x]), (1, net.shapes[x][1]))
    connected(net, x, dice.whole(2, 6))


def heavy(net: Segment) -> None:
    """Build the fully connected layers of old networks: more weights than any cache holds."""
    dice = net.dice
    x = net.input((1, dice.width(1024, 12288)))
    for _ in range(dice.whole(1, 2)):
        x = activate(net, gemm(net, x, dice.width(1024, 8192)), "relu")
    gemm(net, x, classes(net))


def classifier(net: Segment, x: str) -> None:
    """Add the mean over the map and one fully connected layer, or a 1×1 convolution in its place; seldom two layers."""
    dice = net.dice
    form = dice.weighted({"row": 0.25, "square": 0.25 if net.shapes[x][2] == net.shapes[x][3] else 0.0, "map": 0.5})
    if form == "row":
        x = global_pool(net, x, flat=True)
    elif form == "square":
        x = pool(net, x, "AveragePool", net.shapes[x][2], 1, same=False)
    else:
        x = global_pool(net, x)
    if form == "map" and dice.chance(0.4):
        x = flatten(net, conv(net, x, classes(net), 1))
    else:
        x = x if form == "row" else flatten(net, x)
        if dice.chance(0.2):
            x = activate(net, gemm(net, x, dice.width(16, 1280)), dice.pick(("relu", "hard-swish")))
        x = gemm(net, x, classes(net))
    if dice.chance(0.3):
        net.add("Softmax", [x], net.shapes[x], axis=-1)


def connected(net: Segment, x: str, layers: int) -> None:
    """Add so many fully connected layers to (1, features), and the one that tells classes."""
    dice = net.dice
    name = dice.pick(("relu", "relu", "relu", "tanh", "sigmoid", "relu6"))
    wide = dice.width(16, 4096)
    for _ in range(layers):
        x = activate(net, gemm(net, x, wide if dice.chance(0.6) else dice.width(8, 4096)), name)
    x = gemm(net, x, classes(net))
    if dice.chance(0.3):
        net.add("Softmax", [x], net.shapes[x], axis=-1)


def classes(net: Segment) -> int:
    """Return how many classes a network tells apart."""
    return net.dice.pick((10, 12, 100, 1000, 1000, net.dice.log(2, 1000)))


KINDS = {
    "pooled-head": Kind(pooled, 5),
    "convolved-head": Kind(convolved, 2),
    "flattened-head": Kind(flattened, 4, macs=(1e4, 1e8)),
    "perceptron": Kind(perceptron, 8, macs=(1e4, 1e7)),
    "heavy-perceptron": Kind(heavy, 1.5, macs=(8e6, 4.2e7), weight_bytes=170_000_000),
}
