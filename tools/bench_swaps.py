"""What a ViT's latency becomes with the operators that devices prefer: ReLU for GELU, NoNorm for LayerNorm.

    python -m tools.bench_swaps [--rounds 9]

ViTs of two sizes (MobileBERT's swaps, Sun et al. 2020; see the space `vit`) with random weights, fp32, on ONNX Runtime
and OpenVINO, 28x28 images, one thread. Every round runs all engines once, each next one in the opposite order; printed
is the share of the latency that the same network with GELU and LayerNorm has in the same round: the median, and the
second smallest and second largest. A minute; wants a quiet machine.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from statistics import median

import torch

from edgekd.connection.connection import local
from edgekd.connection.lock import measurement_lock
from edgekd.disk import scratch
from edgekd.export.backend import BACKENDS
from edgekd.export.onnx_file import write
from edgekd.kernels.bench import Bench
from edgekd.models.build import build
from edgekd.recipe import ModelSpec

SHAPE, CLASSES = (1, 28, 28), 10
SIZES: dict[str, dict[str, int]] = {"default size": {}, "width 192": {"width": 192, "depth": 6, "heads": 6}}
PLAIN = ("gelu", "layernorm")
SWAPS = (PLAIN, ("relu", "layernorm"), ("gelu", "nonorm"), ("relu", "nonorm"))
RUNTIMES = ("onnxruntime", "openvino")
SERIES_S = 0.1


def built(folder: Path, size: str, swap: tuple[str, str], runtime: str) -> Path:
    """Return the engine of a ViT."""
    own = folder / "-".join((size, *swap, runtime))
    own.mkdir()
    options = {**SIZES[size], "activation": swap[0], "norm": swap[1]}
    torch.manual_seed(0)
    write(build(ModelSpec(name="vit", options=options), SHAPE, CLASSES).eval(), own / "network.onnx", SHAPE)
    return BACKENDS.get(runtime)().build(own / "network.onnx", own)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="four or more")
    rounds = parser.parse_args().rounds
    with scratch("edgekd-swaps") as folder, measurement_lock(), local() as connection, Bench(connection) as bench:
        engines = {key: built(folder, *key) for key in product(SIZES, SWAPS, RUNTIMES)}
        found: dict[tuple[str, tuple[str, str], str], list[float]] = {key: [] for key in engines}
        for number in range(rounds):
            for key, engine in list(engines.items())[:: -1 if number % 2 else 1]:
                found[key].append(bench.time(key[2], engine, SERIES_S).ms)
    for (size, swap, runtime), latencies in found.items():
        pairs = zip(latencies, found[size, PLAIN, runtime], strict=True)
        shares = sorted(own / plain for own, plain in pairs)
        print(f"{size}, {runtime}, {', '.join(swap)}: {median(shares):.3f} [{shares[1]:.3f}, {shares[-2]:.3f}]")


if __name__ == "__main__":
    main()
