"""The tiny networks tests use."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ResidualCnn(nn.Module):
    """Two residual blocks with BatchNorm, ReLU, a strided 1x1 shortcut and a linear head; input (1, 12, 12)."""

    def __init__(self, channels: int = 16, classes: int = 4, in_channels: int = 1) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(2 * channels)
        self.shortcut = nn.Conv2d(channels, 2 * channels, 1, stride=2, bias=False)
        self.shortcut_norm = nn.BatchNorm2d(2 * channels)
        self.relu = nn.ReLU()
        self.head = nn.Linear(2 * channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem_norm(self.stem(x)))
        x = self.relu(self.first_norm(self.first(x)) + x)
        x = self.relu(self.second_norm(self.second(x)) + self.shortcut_norm(self.shortcut(x)))
        return self.head(x.mean((2, 3)))


class DepthwiseCnn(nn.Module):
    """An inverted bottleneck with ReLU6 and a depthwise convolution; input (1, 12, 12)."""

    def __init__(self, channels: int = 16, classes: int = 4, in_channels: int = 1) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU6(),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU6(),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.flatten(self.pool(self.features(x)), 1))


class Mlp(nn.Module):
    """Two linear layers; input (1, 12, 12)."""

    def __init__(self, hidden: int = 32, classes: int = 4) -> None:
        super().__init__()
        self.first = nn.Linear(144, hidden)
        self.relu = nn.ReLU()
        self.second = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.relu(self.first(torch.flatten(x, 1))))


TINY = {"residual": ResidualCnn, "depthwise": DepthwiseCnn, "mlp": Mlp}
INPUT_SHAPE = (1, 12, 12)


def settled(name: str, seed: int = 0) -> nn.Module:
    """Return a tiny network in eval mode whose BatchNorm statistics are not the trivial ones."""
    torch.manual_seed(seed)
    model = TINY[name]()
    model.train()
    with torch.no_grad():
        for _ in range(8):
            model(torch.randn(32, *INPUT_SHAPE) * 0.7 + 0.2)
    return model.eval()
