"""How far a measurement through ssh is from one without: the same machine at both ends, in rounds that take turns.

python -m tools.study_device MODEL.onnx --device user@this-machine [--rounds 31]
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.artifact import digest_of_path
from edgekd.budget import OperatingPoint
from edgekd.connection.connection import local
from edgekd.connection.device import named
from edgekd.connection.ssh import remote
from edgekd.disk import scratch
from edgekd.measure.engine import Engine
from edgekd.measure.statistics import percentile_of, ratio_bounds
from edgekd.measure.turns import Round, blocks_needed
from edgekd.runtime.session import open_session


def main() -> None:
    """Print the ratio of the latencies, with ssh over without."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--device", required=True)
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--rounds", type=int, default=31)
    asked = parser.parse_args()
    engine = Engine("network", "given", asked.runtime, asked.model, digest_of_path(asked.model))
    (port,) = open_session(asked.runtime, str(asked.model)).inputs
    with ExitStack() as stack:
        folder = stack.enter_context(scratch("edgekd-study"))
        inputs = folder / "inputs.npy"
        np.save(inputs, np.random.default_rng(0).random((64, *(size or 1 for size in port.shape[1:])), np.float32))
        here, there = stack.enter_context(local()), stack.enter_context(remote(named(asked.device)))
        stack.enter_context(here.locked())
        rounds = [Round(place, [engine], inputs, OperatingPoint(), 120.0) for place in (here, there)]
        taken: list[list[dict[str, Any]]] = [[], []]
        for number in range(asked.rounds):
            for side in (0, 1) if number % 2 == 0 else (1, 0):
                taken[side] += rounds[side].run(number, blocks_needed(90))
        for percentile in (50, 90):
            without, through = ([percentile_of(_times(found), percentile) for found in side] for side in taken)
            ratio = ratio_bounds(through, without)
            print(
                f"p{percentile}: {np.median(without):.4f} ms here, {np.median(through):.4f} ms through ssh, ratio "
                f"{ratio.value:.3f} [{ratio.lower:.3f}, {ratio.upper:.3f}] over {asked.rounds} processes each"
            )


def _times(process: dict[str, Any]) -> list[float]:
    return [ms for block in process["blocks"] for ms in block["ms"]]


if __name__ == "__main__":
    main()
