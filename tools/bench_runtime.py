"""What `edgekd.runtime`'s predict costs over a bare call of the runtime, interleaved, on a network of about 1 ms.

    python -m tools.bench_runtime

Prints the ratio of the medians for each runtime; the goal is at most 1.05.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

import edgekd.runtime
from edgekd.runtime.without_telemetry import openvino
from tests import bundles

SHAPE = (3, 28, 28)
CALLS = 10


def ratio(folder: Path, runtime: str, rounds: int = 100) -> float:
    """Return the median of predict divided by the median of the bare call; blocks of both take turns."""
    place = folder / "bundle"
    if not place.is_dir():
        bundles.written(folder, channels=64, layers=7, shape=SHAPE)
    engine = edgekd.runtime.load(place, runtime)
    x = np.random.default_rng(0).normal(size=(1, *SHAPE)).astype(np.float32)
    bare = BARE[runtime](place)
    np.testing.assert_allclose(engine.predict(x), bare(x), rtol=1e-3, atol=1e-3)
    times: dict[str, list[float]] = {"bare": [], "predict": []}
    calls = {"bare": bare, "predict": engine.predict}
    for number in range(rounds):
        for name in ("bare", "predict", "predict", "bare") if number % 2 else ("predict", "bare", "bare", "predict"):
            times[name] += _block(calls[name], x)
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(
        f"{runtime}: bare {1e3 * medians['bare']:.3f} ms, predict {1e3 * medians['predict']:.3f} ms, "
        f"ratio {medians['predict'] / medians['bare']:.3f}"
    )
    return medians["predict"] / medians["bare"]


def _block(call: Callable[[np.ndarray], object], x: np.ndarray) -> list[float]:
    times = []
    call(x)  # the other session has just emptied the caches
    for _ in range(CALLS):
        begin = time.perf_counter()
        call(x)
        times.append(time.perf_counter() - begin)
    return times


def _bare_onnxruntime(place: Path) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = place / "variants/fp32/model.onnx"
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"input": x})[0]


def _bare_openvino(place: Path) -> Callable[[np.ndarray], np.ndarray]:
    package = openvino()
    core = package.Core()
    model = core.read_model(place / "variants/fp32/model.xml")
    model.reshape([1, *SHAPE])
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(model, "CPU", hints).create_infer_request()
    return lambda x: request.infer([x])[0]


BARE = {"onnxruntime": _bare_onnxruntime, "openvino": _bare_openvino}


def main() -> int:
    """Measure every runtime; 1 when one misses the goal."""
    with tempfile.TemporaryDirectory() as folder:
        ratios = [ratio(Path(folder), runtime) for runtime in BARE]
    return int(max(ratios) > 1.05)


if __name__ == "__main__":
    sys.exit(main())
