"""Writes networks, in float32 and in integers, where missing: python -m tools.topologies FOLDER [NAME ...]."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection
from pathlib import Path

from onnx import ModelProto

from edgekd.disk import whole_file
from edgekd.onnx_graph.quantized import quantized
from tools.topologies import topologies


def write(folder: Path, names: Collection[str] = ()) -> list[str]:
    """Write NAME.onnx and NAME.int8.onnx where one is missing, for these names or all (3 GB); return whose were."""
    folder.mkdir(parents=True, exist_ok=True)
    known, written = topologies(), []
    for name in names or known:
        plain, integers = folder / f"{name}.onnx", folder / f"{name}.int8.onnx"
        if plain.exists() and integers.exists():
            continue
        start = time.perf_counter()
        model = known[name]()
        _save(model, plain)
        _save(quantized(model), integers)
        written.append(name)
        print(f"{name}: {plain.stat().st_size / 1e6:.1f} MB in {time.perf_counter() - start:.1f} s", flush=True)
    return written


def _save(model: ModelProto, path: Path) -> None:
    with whole_file(path) as unfinished:
        unfinished.write_bytes(model.SerializeToString(deterministic=True))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python -m tools.topologies FOLDER [NAME ...]")
    if unknown := set(sys.argv[2:]) - topologies().keys():
        sys.exit(f"no topology is called {', '.join(sorted(unknown))}; there are: {', '.join(topologies())}")
    write(Path(sys.argv[1]), sys.argv[2:])
