"""Networks after structured pruning: any width may be any number, but what is added to each other is equally wide."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

from onnx import ModelProto

from tools.topologies import mobile, plain, residual
from tools.topologies.mobile import Inverted
from tools.topologies.residual import CIFAR, DIGITS, Block


class Shears:
    """Draws what is left of a width: a share between two bounds, never a multiple of four."""

    def __init__(self, seed: int, least: float = 0.4, most: float = 0.95) -> None:
        self._random = random.Random(seed)
        self._bounds = least, most

    def __call__(self, width: int) -> int:
        """Return one width that is left."""
        left = max(3, round(width * self._random.uniform(*self._bounds)))
        return left if left % 4 else left + self._random.choice((-1, 1))

    def residual(self, blocks: Sequence[Block], stem: int) -> tuple[int, list[Block]]:
        """Return the stem's and the blocks' widths; blocks of one sum share theirs, also with the stem."""
        cut = {width: self(width) for width in sorted({block.outputs for block in blocks} | {stem})}
        return cut[stem], [Block(self(block.inner), cut[block.outputs], block.stride) for block in blocks]

    def inverted(self, blocks: Sequence[Inverted]) -> list[Inverted]:
        """Return the blocks' widths; hidden ones of blocks without expansion follow what they read."""
        cut = {width: self(width) for width in sorted({block.outputs for block in blocks})}
        return [block._replace(hidden=self(block.hidden), outputs=cut[block.outputs]) for block in blocks]


def small_resnet(seed: int, shape: Sequence[int], depth: int, *, norm: bool = False) -> ModelProto:
    """Return a ResNet for small images."""
    blocks = residual.stages(residual.WIDTHS, [(depth - 2) // 6] * 3)
    return residual.small(shape, *Shears(seed).residual(blocks, 16), norm=norm)


def resnet(seed: int, resolution: int, depths: Sequence[int], *, deep: bool = False) -> ModelProto:
    """Return a ResNet for photographs; only `deep` ones have a stem of a width of its own."""
    blocks = residual.stages(residual.IMAGENET, depths, 4 if deep else 1)
    return residual.large(resolution, *Shears(seed).residual(blocks, 64), deep=deep)


def mobilenet_v1(seed: int, resolution: int) -> ModelProto:
    """Return a MobileNetV1."""
    cut = Shears(seed)
    blocks = [(cut(width), stride) for width, stride in mobile.V1]
    return mobile.v1((3, resolution, resolution), cut(32), blocks, 1000, norm=False)


def mobilenet_v2(seed: int, shape: Sequence[int], stem_stride: int, width: float = 1.0) -> ModelProto:
    """Return a MobileNetV2; the first block does not expand, so it is as wide inside as the stem."""
    cut = Shears(seed)
    blocks = cut.inverted(mobile.v2_blocks(width, early=stem_stride))
    return mobile.v2(shape, (blocks[0].hidden, stem_stride), blocks, cut(1280), 100)


def vgg(seed: int, layers: Sequence[int], *, norm: bool = False) -> ModelProto:
    """Return a VGG."""
    cut = Shears(seed, 0.2)
    return plain.vgg((3, 32, 32), [cut(width) if width else plain.POOL for width in layers], norm=norm)


TOPOLOGIES = {
    "pruned_resnet20_32": partial(small_resnet, 1, CIFAR, 20),
    "pruned_resnet32_28": partial(small_resnet, 2, DIGITS, 32),
    "pruned_resnet56_32": partial(small_resnet, 3, CIFAR, 56, norm=True),
    "pruned_resnet18_224": partial(resnet, 4, 224, [2] * 4),
    "pruned_resnet50_160": partial(resnet, 5, 160, [3, 4, 6, 3], deep=True),
    "pruned_mobilenet_v1_128": partial(mobilenet_v1, 6, 128),
    "pruned_mobilenet_v2_192": partial(mobilenet_v2, 7, (3, 192, 192), 2),
    "pruned_mobilenet_v2_32": partial(mobilenet_v2, 8, CIFAR, 1, 0.75),
    "pruned_vgg11_32": partial(vgg, 9, plain.VGG11),
    "pruned_vgg16_32": partial(vgg, 10, plain.VGG16, norm=True),
}
