"""Where does width pay? Time of a small stack of 3x3 convolutions against its width, per precision and runtime.

    python -m tools.bench_channel_step [--widths 16 24 31 32 33 40 48 56 63 64]

Latency is relative to the widest stack, measured interleaved in fresh processes. A width that costs no less than the
next larger one wastes lanes: the step of `channel_step` in a target file is read from this table.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgekd import target as targets
from edgekd.artifact import digest_of_path
from edgekd.budget import OperatingPoint
from edgekd.cli.progress import best_for_this_output
from edgekd.export import onnx_file
from edgekd.export.backend import BACKENDS
from edgekd.measure import machine
from edgekd.measure.series import Engine, measure
from edgekd.placement.scheme import scheme_named
from edgekd.quantize.emission import freeze
from edgekd.quantize.prepare import calibrate, prepare

SHAPE = (64, 28, 28)


def stack(width: int) -> nn.Module:
    """Return 64 -> width -> width -> width -> 64 channels, 3x3, each followed by ReLU."""
    sizes = [64, width, width, width, 64]
    layers = [
        layer
        for inputs, outputs in itertools.pairwise(sizes)
        for layer in (nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU())
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)).eval()


def build(width: int, scheme: str, runtime: str, folder: Path) -> Engine:
    """Export one stack for one runtime."""
    torch.manual_seed(0)
    network = stack(width)
    images = np.random.default_rng(0).normal(size=(16, *SHAPE)).astype(np.float32)
    place = folder / f"{width}-{scheme}-{runtime}"
    if scheme != "fp32":
        prepared = prepare(network, torch.from_numpy(images[:2]), scheme_named(scheme))
        calibrate(prepared, images)
        network = freeze(prepared)
    onnx_file.write(network, place / "model.onnx", SHAPE)
    path = BACKENDS.get(runtime)().build(place / "model.onnx", place)
    return Engine(f"width-{width}", scheme, runtime, path, digest_of_path(path))


def main() -> None:
    """Build, measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 24, 31, 32, 33, 40, 48, 56, 63, 64])
    parser.add_argument("--processes", type=int, default=5)
    given = parser.parse_args()
    given.widths.sort()
    target = targets.load("host", machine.host_target())
    print(f"target {target.name}; latency relative to width {max(given.widths)}")
    print("width".ljust(28), *(f"{width:>6}" for width in given.widths))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "inputs.npy", np.random.default_rng(1).normal(size=(8, *SHAPE)).astype(np.float32))
        for runtime in target.runtimes:
            for scheme in ("fp32", target.scheme_for(runtime) or "fp32"):
                engines = [build(width, scheme, runtime, folder) for width in given.widths]
                series = measure(
                    engines,
                    folder / "inputs.npy",
                    OperatingPoint(),
                    50,
                    processes=given.processes,
                    raw=folder / f"{scheme}-{runtime}.jsonl",
                    progress=best_for_this_output(),
                    title=f"{scheme} in {runtime}",
                )
                times = np.array([np.median(record.per_process["latency_ms_p50"]) for record in series.records])
                print(f"{scheme} in {runtime}".ljust(28), *(f"{ratio:6.2f}" for ratio in times / times[-1]))


if __name__ == "__main__":
    main()
