"""Writes tests/data/nas_bench_201/naswot.csv.gz: a score of every cell that ranks like accuracy, without training.

    python -m tools.write_naswot

NASWOT (Mellor et al. 2021, Neural Architecture Search without Training): the logarithm of the determinant of how alike
a batch's binary ReLU codes are in the untrained network; the paper reports a rank correlation of about 0.8 with the
published accuracies of NAS-Bench-201. Here 32 digits of mnist5k, one cell a stage (the benchmark has five) of 8, 16
and 32 channels. Cells that compute the same, because nobody uses some of their operators, share a score. One thread.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgekd.recipe import DataSpec
from edgekd.train import data
from tests.predict.nas_bench_201 import EDGES, NASWOT, OPERATORS, cells, live

CHANNELS, BATCH = (8, 16, 32), 32


class Codes:
    """How alike the images of a batch are in which ReLUs fire, summed over layers."""

    def __init__(self) -> None:
        self.alike = torch.zeros(BATCH, BATCH, dtype=torch.float64)

    def relu(self, values: Tensor) -> Tensor:
        """Apply a ReLU and note its codes."""
        fires = (values > 0).flatten(1).float()
        self.alike += (fires @ fires.T + (1 - fires) @ (1 - fires).T).double()
        return values.relu()


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


def score(cell: Sequence[int], images: Tensor) -> float:
    """Return the log-determinant of the similarities of codes, that of an untrained network of such cells."""
    torch.manual_seed(0)
    codes = Codes()
    values = _normal(_conv(1, CHANNELS[0], 3)(images))
    for stage, channels in enumerate(CHANNELS):
        if stage:
            values = _reduced(values, channels, codes)
        nodes = [values]
        for node in (1, 2, 3):
            ending = [(start, kind) for (start, end), kind in zip(EDGES, cell, strict=True) if end == node]
            nodes.append(sum((_apply(kind, nodes[start], codes) for start, kind in ending), torch.zeros_like(values)))
        values = nodes[3]
    codes.relu(_normal(values))
    return float(torch.linalg.slogdet(codes.alike + 1e-3 * torch.eye(BATCH, dtype=torch.float64))[1])


def _apply(kind: int, values: Tensor, codes: Codes) -> Tensor:
    name, channels = OPERATORS[kind], values.shape[1]
    if name == "none":
        return torch.zeros_like(values)
    if name == "skip_connect":
        return values
    if name == "avg_pool_3x3":
        return nn.functional.avg_pool2d(values, 3, 1, 1, count_include_pad=False)
    return _normal(_conv(channels, channels, 3 if name == "nor_conv_3x3" else 1)(codes.relu(values)))


def _reduced(values: Tensor, channels: int, codes: Codes) -> Tensor:
    """Return a residual block of stride 2."""
    inner = _normal(_conv(values.shape[1], channels, 3, 2)(codes.relu(values)))
    outer = _conv(values.shape[1], channels, 1)(nn.functional.avg_pool2d(values, 2, 2))
    found: Tensor = outer + _normal(_conv(channels, channels, 3)(codes.relu(inner)))
    return found


def _normal(values: Tensor) -> Tensor:
    return nn.functional.batch_norm(values, None, None, training=True)


def main() -> None:
    """Score every cell and write the table."""
    torch.set_num_threads(1)
    loaded = data.load(DataSpec(name="mnist5k"))
    images = torch.from_numpy(data.normalised(loaded.train.take(np.arange(BATCH)), loaded))
    found: dict[tuple[int, ...], float] = {}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["cell", "naswot"])
    with torch.inference_mode():
        for number, cell in enumerate(live()):
            key = tuple(int(kind) for kind in cell)
            if key not in found:
                found[key] = score(key, images)
            writer.writerow([number, f"{found[key]:.4f}"])
            if number % 1000 == 0:
                print(f"{number} of {len(cells())}, {len(found)} different", flush=True)
    with gzip.GzipFile(Path(NASWOT), "wb", mtime=0) as stream:
        stream.write(text.getvalue().encode())


if __name__ == "__main__":
    main()
