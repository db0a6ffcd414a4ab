"""What a network's latency becomes with other operators: those that devices prefer, or squeeze-and-excitation.

    python -m tools.bench_swaps [--networks vit|mobile-cells] [--rounds 9]

`vit`: ReLU for GELU and NoNorm for LayerNorm in ViTs of two sizes (MobileBERT's swaps, Sun et al. 2020; see the space
`vit`). `mobile-cells`: squeeze-and-excitation in every cell (Hu et al. 2018; see the space `mobile-cells`), in the
default network of that family and in one of half its channels. Random weights, fp32, on ONNX Runtime and OpenVINO,
28x28 images, one thread. Every round runs all engines once, each next one in the opposite order; printed is the share
of the latency that the first network of the same size has in the same round: the median, and the second smallest and
second largest. A minute; wants a quiet machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from statistics import median
from typing import TypeVar

import torch

from edgekd.connection.connection import local
from edgekd.connection.lock import measurement_lock
from edgekd.disk import scratch
from edgekd.export.backend import BACKENDS
from edgekd.export.onnx_file import write
from edgekd.kernels.bench import Bench
from edgekd.models.build import build
from edgekd.recipe import ModelSpec
from edgekd.search.space import create

Key = TypeVar("Key")

SHAPE, CLASSES = (1, 28, 28), 10
VIT_SIZES: dict[str, dict[str, int]] = {"default size": {}, "width 192": {"width": 192, "depth": 6, "heads": 6}}
SWAPS = (("gelu", "layernorm"), ("relu", "layernorm"), ("gelu", "nonorm"), ("relu", "nonorm"))
CELLS: dict[str, object] = {"widths": (0.5, 1.0), "kernels": (3,), "expansions": (6,), "squeezes": (False, True)}
CELL_SIZES = {"half the channels": 0, "default size": 1}
"""By the position of the width."""
RUNTIMES = ("onnxruntime", "openvino")
SERIES_S = 0.1


def vits() -> dict[str, dict[str, ModelSpec]]:
    """Return ViTs by size and operators, the plain ones first."""
    return {
        size: {
            ", ".join(swap): ModelSpec(name="vit", options={**options, "activation": swap[0], "norm": swap[1]})
            for swap in SWAPS
        }
        for size, options in VIT_SIZES.items()
    }


def cells() -> dict[str, dict[str, ModelSpec]]:
    """Return networks of cells by size, those without excitation first."""
    space = create("mobile-cells", CELLS, ModelSpec(name="mobile-cells"), step=8)
    return {
        size: {name: space.at((width, 0, 0, 0, excited)) for excited, name in enumerate(("plain", "excited"))}
        for size, width in CELL_SIZES.items()
    }


NETWORKS = {"vit": vits, "mobile-cells": cells}


def built(folder: Path, spec: ModelSpec, runtime: str) -> Path:
    """Return the engine of a network, in a new folder."""
    folder.mkdir()
    torch.manual_seed(0)
    write(build(spec, SHAPE, CLASSES).eval(), folder / "network.onnx", SHAPE)
    return BACKENDS.get(runtime)().build(folder / "network.onnx", folder)


def in_turns(networks: Mapping[Key, tuple[ModelSpec, str]], rounds: int) -> dict[Key, list[float]]:
    """Return the latency, in ms, of every network on its runtime in every round; each next round goes backwards."""
    with scratch("edgekd-in-turns") as folder, measurement_lock(), local() as connection, Bench(connection) as bench:
        engines = {key: built(folder / str(at), *own) for at, (key, own) in enumerate(networks.items())}
        found: dict[Key, list[float]] = {key: [] for key in networks}
        for number in range(rounds):
            for key, engine in list(engines.items())[:: -1 if number % 2 else 1]:
                found[key].append(bench.time(networks[key][1], engine, SERIES_S).ms)
    return found


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", choices=NETWORKS, default="vit")
    parser.add_argument("--rounds", type=int, default=9, help="four or more")
    asked = parser.parse_args()
    networks = NETWORKS[asked.networks]()
    keys = [(size, name, runtime) for size, named in networks.items() for name, runtime in product(named, RUNTIMES)]
    found = in_turns({key: (networks[key[0]][key[1]], key[2]) for key in keys}, asked.rounds)
    for (size, name, runtime), latencies in found.items():
        pairs = zip(latencies, found[size, next(iter(networks[size])), runtime], strict=True)
        shares = sorted(own / plain for own, plain in pairs)
        print(f"{size}, {runtime}, {name}: {median(shares):.3f} [{shares[1]:.3f}, {shares[-2]:.3f}]")


if __name__ == "__main__":
    main()
