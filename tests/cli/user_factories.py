"""What a user writes beside his recipe: a network, a data set, and every mistake in them that was thought of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from edgekd.train.dataset import DataSet, Split, statistics


def split(samples, seed):
    random = np.random.default_rng(seed)
    labels = np.arange(samples, dtype=np.int64) % 4
    images = random.integers(0, 120, (samples, 1, 12, 12)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[0, 6 * row : 6 * row + 6, 6 * column : 6 * column + 6] += 60
    return Split(images, labels)


def data():
    first = split(96, 0)
    mean, std = statistics(first.inputs)
    return DataSet("quadrants", first, split(64, 1), split(16, 2), split(64, 3), ("nw", "ne", "sw", "se"), mean, std)


def network(width=8, middle=None):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        middle or nn.Identity(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * width, 4),
    )


def steep():
    return nn.Sequential(nn.Flatten(), nn.Linear(144, 32), nn.Linear(32, 32), nn.Linear(32, 4))


# networks that are none, or cannot become an engine


def no_network():
    return "a network"


def raising_network():
    raise RuntimeError("no such size")


def leaving_network():
    raise SystemExit(3)


def network_of_three():
    return nn.Sequential(nn.Flatten(), nn.Linear(144, 3))


class Undecided(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Determinant(nn.Module):
    def forward(self, x):
        return x + torch.linalg.det(x)[:, :, None, None]


def undecided_network():
    return network(middle=Undecided())


def unknown_network():
    return network(middle=Determinant())


# data sets that are none, or cannot be trained on


def generator():
    yield data()


def no_data():
    return [data()]


def raising_data():
    raise OSError("the archive is not there")


def iterator():
    return replace(data(), train=iter([(0, 0)]))


def lists():
    return replace(data(), validation=Split([[0]], [0]))


def flat():
    first = data().train
    return replace(data(), train=Split(first.inputs[:, 0], first.labels))


def doubles():
    first = data().train
    return replace(data(), train=Split(first.inputs.astype(np.float64), first.labels))


def nan():
    images = data().validation.inputs.astype(np.float32) / 255
    images[3, 0, 2, 2] = np.nan
    return replace(data(), validation=Split(images, data().validation.labels))


def missing_class():
    first = data().train
    return replace(data(), train=first.take(np.flatnonzero(first.labels != 2)))


def far_labels():
    last = data().test
    return replace(data(), test=Split(last.inputs, last.labels + 1))
