"""Whole transformers: layers of attention and products over tokens, of pictures, of text or of features."""

from __future__ import annotations

from edgekd.kernels.families.heads import classes
from edgekd.kernels.families.tokens import attention_block, feed_forward_block, picture_tokens
from edgekd.kernels.layers import gemm, layer_norm, linear, mean
from edgekd.kernels.segment import Segment, whole_network


def encoder(net: Segment) -> None:
    """Build one to eight layers of one style over tokens; the first token, or all of them, tell the classes."""
    dice = net.dice
    heads = dice.pick((1, 2, 3, 3, 4, 4, 6, 8, 12))
    width = heads * dice.pick((16, 32, 32, 64, 64, dice.whole(8, 96)))
    name, first = dice.pick(("gelu", "gelu", "gelu", "relu", "silu")), dice.chance(0.7)
    together, early = dice.chance(0.5), dice.chance(0.3)
    wide = width * dice.pick((2, 3, 4, 4, 4)) if dice.chance(0.7) else dice.width(width, 4 * width)
    if dice.chance(0.5):
        x = picture_tokens(net, width)
    else:
        tokens = dice.pick((16, 32, 64, 128, 128, 197, 256, dice.log(8, 256)))
        x = net.input((1, tokens, width))
    for _ in range(dice.whole(1, 8)):
        x = attention_block(net, x, heads, normalised=first, together=together, early=early)
        x = x if first else layer_norm(net, x)
        x = feed_forward_block(net, x, wide, name, first)
        x = x if first else layer_norm(net, x)
    if dice.chance(0.4):
        linear(net, x, classes(net))
        return
    if dice.chance(0.5):
        x = net.add("Gather", [x, net.constant("token", 0)], (1, width), axis=1)
    else:
        x = mean(net, x, (1,), (1, width))
    gemm(net, x, classes(net))


KINDS = {"encoder": whole_network(encoder, 24, nodes=(15, 260))}
