"""How well figures repeat: the ratio of two engines and the peak memory, ten times over, without and with other work.

    python -m tools.study_repeat [--repeats 10] [--processes 22]

Prints the coefficient of variation of the ratio (goal: 1 % without other work, 2 % while a load comes and goes at
random) and the range of each engine's peak memory (goal: 2 MB). Exit code 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from edgekd.budget import OperatingPoint
from edgekd.connection.connection import local
from edgekd.measure.comparison import paired_ratio
from edgekd.measure.engine import Engine
from edgekd.measure.meter import Setup, create
from edgekd.measure.series import measure
from edgekd.stage import Progress
from tests.measure.tiny_engines import engine, write_inputs, write_onnx, write_openvino
from tools.study_load import load_at_random

MOST_VARIATION = {"without load": 0.01, "under load": 0.02}
MOST_MEMORY_RANGE_MB = 2.0
SHAPE = (1, 16, 16)


def ratio(engines: list[Engine], inputs: Path, raw: Path, processes: int) -> float:
    """Return the p90 of the first engine as a share of the second's, from one series."""
    series = measure(
        engines, inputs, OperatingPoint(), 90, processes=processes, raw=raw, progress=Progress(), title="latency"
    )
    return paired_ratio(series.records[0], series.records[1], 90, "ratio").value


def memory(engines: list[Engine], inputs: Path, raw: Path) -> dict[str, float]:
    """Return the peak memory by engine in MB."""
    with local() as connection:
        setup = Setup(inputs, OperatingPoint(), 90, "host", connection, raw)
        found = create("memory").measure(engines, setup)
    figures = {key: {figure.name: figure.value for figure in these} for key, these in found.figures.items()}
    return {key: these["peak_memory_mb"] for key, these in figures.items()}


def main() -> int:
    """Repeat both, without and with load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--processes", type=int, default=22)
    asked = parser.parse_args()
    missed = False
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        inputs = write_inputs(folder / "inputs.npy", shape=SHAPE)
        heavy = write_onnx(folder / "heavy.onnx", layers=40, channels=48, shape=SHAPE)
        light = write_onnx(folder / "light.onnx", layers=20, channels=48, shape=SHAPE)
        pairs = {
            "onnxruntime": [engine(light, "light"), engine(heavy, "heavy")],
            "openvino": [
                engine(write_openvino(path, folder / path.stem), path.stem, "openvino") for path in (light, heavy)
            ],
        }
        for situation, limit in MOST_VARIATION.items():
            with load_at_random(random.Random(0)) if situation == "under load" else nullcontext():
                for runtime, engines in pairs.items():
                    names = [folder / f"{situation}-{runtime}-{number}" for number in range(asked.repeats)]
                    ratios = [ratio(engines, inputs, name.with_suffix(".jsonl"), asked.processes) for name in names]
                    variation = statistics.stdev(ratios) / statistics.mean(ratios)
                    peaks = [memory(engines, inputs, name) for name in names]
                    ranges = [max(p[e.key] for p in peaks) - min(p[e.key] for p in peaks) for e in engines]
                    missed |= variation > limit or max(ranges) > MOST_MEMORY_RANGE_MB
                    sizes = ", ".join(f"{peaks[0][e.key]:.1f}" for e in engines)
                    print(
                        f"{situation}, {runtime}: ratio {statistics.mean(ratios):.4f}, coefficient of variation "
                        f"{variation:.2%} over {asked.repeats} series of {asked.processes} processes; peak memory "
                        f"{sizes} MB, range at most {max(ranges):.2f} MB",
                        flush=True,
                    )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
