"""How long does pruning itself take, without any training? Three sizes of a ResNet of bottlenecks (He et al. 2015).

    python -m tools.bench_pruning_cost [--runs 3]

Groups are found, channels scored by magnitude, widths allocated for half of the filled multiplications and channels
cut, for images of 64 by 64 pixels. Prints the least processor seconds of some runs, and how they grow with the number
of convolutions. One thread; nothing is measured on a device.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgekd.models.kernels import parameters
from edgekd.prune import allocator, criterion
from edgekd.prune.cost import FilledMacs
from edgekd.prune.cut import Cutter, perform
from edgekd.prune.samples import Samples
from edgekd.prune.trial import prunable
from edgekd.recipe import DataSpec
from edgekd.train import data

SHAPE, CLASSES, STEP = (3, 64, 64), 1000, 16
BLOCKS = ((2, 2, 3, 2), (3, 4, 6, 3), (3, 4, 22, 3))
"""Of the four stages; the one in the middle is ResNet-50."""


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1, four times as wide at its end, and a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.layers = nn.Sequential(
            *_conv(inputs, width, 1), nn.ReLU(), *_conv(width, width, 3, stride), nn.ReLU(), *_conv(width, outputs, 1)
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Sequential(*_conv(inputs, outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 4 * width, H / stride, W / stride)."""
        return nn.functional.relu(self.layers(x) + self.shortcut(x))


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)


def resnet(counts: Sequence[int]) -> nn.Module:
    """Return the network with so many bottlenecks in its stages."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [*_conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for stage, count in enumerate(counts):
        for position in range(count):
            layers.append(Bottleneck(inputs, 64 << stage, 2 if stage and not position else 1))
            inputs = 4 * (64 << stage)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, CLASSES)).eval()


def seconds(model: nn.Module) -> float:
    """Return the processor seconds of one pruning."""
    began = time.process_time()
    found, cost = prunable(model, SHAPE), FilledMacs(STEP)
    floors = allocator.floors(found.widths, 0.9, STEP, {group.name: group.unit for group in found.groups})
    # Magnitude looks at no sample.
    samples = Samples(data.load(DataSpec(name="mnist5k")), 1, 1, seed=0)
    cutter = Cutter(criterion.create("magnitude", {}), allocator.create("latency", {}), samples, cost, STEP)
    cut = cutter.chooser(model, found, floors)(cost.of(found.kernels.whole) / 2)
    perform(model, found, cut)
    return time.process_time() - began


def main() -> None:
    """Prune and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| parameters, million | convolutions | seconds | ms a convolution |\n| ---: | ---: | ---: | ---: |")
    for counts in BLOCKS:
        model = resnet(counts)
        convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
        least = min(seconds(model) for _ in range(given.runs))
        millions = parameters(model) / 1e6
        print(f"| {millions:.1f} | {convolutions} | {least:.1f} | {1000 * least / convolutions:.0f} |", flush=True)


if __name__ == "__main__":
    main()
