"""Whether others see what edgekd sees: OpenVINO's benchmark_app and a plain loop, on the same engine and settings.

    python -m tools.bench_agreement [--rounds 15]

Each round measures the same network once by edgekd (a fresh process of the `device` package), once by the other (a
fresh process, too), in turns; printed are the median over rounds of the ratio of their medians and its extremes. Exit
code 1 when one differs by more than 3 %.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from edgekd.budget import OperatingPoint
from edgekd.measure.engine import Engine
from edgekd.measure.series import measure
from edgekd.stage import Progress
from tests.measure.tiny_engines import engine, write_inputs, write_onnx, write_openvino

TOLERANCE = 0.03
LAYERS, CHANNELS, SHAPE = 16, 64, (1, 28, 28)
CALLS = 400

_LOOP = """
import sys, time, statistics, numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
images = numpy.load(sys.argv[2])
times = []
for number in range(int(sys.argv[3])):
    feed = {"input": images[number % len(images)][None]}
    begin = time.perf_counter()
    session.run(None, feed)
    times.append(time.perf_counter() - begin)
print(1e3 * statistics.median(times[len(times) // 4 :]))
"""


def plain_loop(path: Path, inputs: Path) -> float:
    """Return the median milliseconds of `session.run` in a plain loop, the first quarter left out."""
    command = [sys.executable, "-c", _LOOP, str(path), str(inputs), str(CALLS)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def benchmark_app(path: Path, inputs: Path) -> float:
    """Return the median milliseconds, to 0.01, of OpenVINO's own tool: one stream, one thread, not pinned, float32."""
    del inputs  # it makes up its own, of the same shape
    with tempfile.TemporaryDirectory() as folder:
        settings = {"-d": "CPU", "-api": "sync", "-hint": "none", "-nstreams": "1", "-nthreads": "1", "-pin": "NO"}
        length = {"-niter": str(CALLS), "-shape": f"[1,{','.join(map(str, SHAPE))}]", "-infer_precision": "f32"}
        report = {"-report_type": "no_counters", "-report_folder": folder}
        options = [word for pair in {**settings, **length, **report}.items() for word in pair]
        app = [str(Path(sys.executable).parent / "benchmark_app"), "-m", str(path / "model.xml"), "-json_stats"]
        done = subprocess.run([*app, *options], check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        found = json.loads((Path(folder) / "benchmark_report.json").read_text())
    return float(found["execution_results"]["latency (ms)"])


def ours(subject: Engine, inputs: Path, raw: Path) -> float:
    """Return edgekd's median milliseconds of one fresh process."""
    series = measure(
        [subject], inputs, OperatingPoint(), 90, processes=1, raw=raw, progress=Progress(), title=subject.runtime
    )
    return series.records[0].per_process["latency_ms_p50"][0]


def compare(subject: Engine, inputs: Path, other: Callable[[Path, Path], float], rounds: int) -> list[float]:
    """Return edgekd's median divided by the other's, a round each; who begins alternates."""
    found = []
    for number in range(rounds):
        raw = inputs.with_name(f"{subject.runtime}-{number}.jsonl")
        if number % 2:
            theirs, own = other(subject.path, inputs), ours(subject, inputs, raw)
        else:
            own, theirs = ours(subject, inputs, raw), other(subject.path, inputs)
        found.append(own / theirs)
    return found


def main() -> int:
    """Compare with both and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    worst = 0.0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        onnx = write_onnx(folder / "network.onnx", LAYERS, CHANNELS, shape=SHAPE)
        inputs = write_inputs(folder / "inputs.npy", shape=SHAPE)
        pairs: list[tuple[str, Engine, Callable[[Path, Path], float]]] = [
            ("a plain ONNX Runtime loop", engine(onnx, "network"), plain_loop),
            (
                "OpenVINO's benchmark_app",
                engine(write_openvino(onnx, folder / "ir"), "network", "openvino"),
                benchmark_app,
            ),
        ]
        for name, subject, other in pairs:
            ratios = compare(subject, inputs, other, rounds)
            middle = statistics.median(ratios)
            worst = max(worst, abs(middle - 1))
            print(
                f"edgekd / {name}: median of {rounds} rounds {middle:.3f}, from {min(ratios):.3f} to {max(ratios):.3f}",
                flush=True,
            )
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
