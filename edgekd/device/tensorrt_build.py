"""Builds TensorRT engines from strongly typed ONNX files: what is computed in which precision, the file alone says.

Two builds of one file differ: TensorRT times its kernels while it builds, on a machine that is never quite quiet. So a
file may be built several times, and the fastest engine is kept. A timing cache makes a build repeat the choices of an
earlier one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from statistics import median
from time import perf_counter_ns
from typing import Any, Dict, List, cast

import numpy as np
import tensorrt as trt

from ..runtime import tensorrt_key
from ..runtime.cuda import Cuda
from ..runtime.tensorrt_session import TensorRtSession, identified
from .parsing import LARGEST_BATCH, allow_batches, refusal
from .settle import settle

_RUNS = 200
_MOST_S = 10.0


class RefusedError(ValueError):
    """TensorRT does not take the file."""


def built(onnx: str, engine: str, key: str, builds: int, batch: int, *, sparse: bool = False) -> Dict[str, Any]:
    """Build the engine of an ONNX file `builds` times, write the fastest to `engine`, and to `key` what it is bound to.

    It takes batches of 1 to 32, or to `batch` where that is more, at which it is timed. Returns the `key` and the
    `ms` of each build, a median over runs. One build uses and extends the user's timing cache; several begin with
    none each, and the cache is then that of the one that is kept. With `sparse`, kernels that skip the zeros of 2:4
    weights take part.
    """
    if builds < 1:
        raise ValueError("an engine is built at least once, {} builds were asked for".format(builds))
    here, cache_file = identified(Cuda()), _timing_cache()
    os.makedirs(os.path.dirname(engine), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(engine)) as work:
        found = []
        for number in range(builds):
            place = os.path.join(work, str(number))
            os.makedirs(place)
            cache = _build(onnx, place, _read(cache_file) if builds == 1 else b"", max(batch, LARGEST_BATCH), sparse)
            written = tensorrt_key.write(place, here)
            found.append((_latency(place, batch), place, written, cache))
        _, place, written, cache = min(found, key=lambda one: one[0])
        _move(os.path.join(place, tensorrt_key.ENGINE), engine)
        _move(os.path.join(place, tensorrt_key.KEY), key)
        kept = os.path.join(work, "timing")
        with open(kept, "wb") as stream:
            stream.write(cache)
        _move(kept, cache_file)
    return {"key": written, "ms": [ms for ms, _, _, _ in found]}


def _timing_cache() -> str:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(cache, "edgekd", "tensorrt.timing")


def _move(source: str, destination: str) -> None:
    os.makedirs(os.path.dirname(destination), exist_ok=True)
    shutil.move(source, destination)


def _build(onnx: str, folder: str, known: bytes, most: int, sparse: bool) -> bytes:
    """Write one engine and return its timing cache."""
    told = _Told()
    builder = trt.Builder(told)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, told)
    if not parser.parse_from_file(onnx):
        error = parser.get_error(0)
        raise RefusedError(refusal("TensorRT {}".format(trt.__version__), error, os.path.basename(onnx)))
    config = builder.create_builder_config()
    cache = config.create_timing_cache(known)
    config.set_timing_cache(cache, False)
    if sparse:
        config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
    profile = builder.create_optimization_profile()
    for number in range(network.num_inputs):
        allow_batches(profile, network.get_input(number), most)
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise RefusedError(
            "TensorRT {} cannot build {}: {}".format(trt.__version__, os.path.basename(onnx), told.text())
        )
    with open(os.path.join(folder, tensorrt_key.ENGINE), "wb") as stream:
        stream.write(_content(engine))
        stream.flush()
        os.fsync(stream.fileno())
    return _content(cache.serialize())


def _content(memory: trt.IHostMemory) -> bytes:
    return bytes(cast(bytes, memory))  # it offers its bytes as a buffer, which its types do not say


def _latency(folder: str, batch: int) -> float:
    """Return the median latency of an engine at a batch, in milliseconds."""
    session = TensorRtSession(folder, batch)
    arrays = [np.zeros(tuple(size or batch for size in port.shape), port.dtype) for port in session.inputs]

    def run() -> int:
        start = perf_counter_ns()
        session.run(arrays)
        return perf_counter_ns() - start

    settle(run, 0.1, _MOST_S)
    return median(run() for _ in range(_RUNS)) / 1e6


def _read(path: str) -> bytes:
    if not os.path.isfile(path):
        return b""
    with open(path, "rb") as stream:
        return stream.read()


class _Told(trt.ILogger):  # type: ignore[misc, unused-ignore]
    """Keeps what the builder says of errors."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self._errors: List[str] = []

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        """Take note of an error."""
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            self._errors.append(" ".join(msg.split()))

    def text(self) -> str:
        """Return the first errors."""
        return "; ".join(self._errors[:3]) or "it gives no reason"
