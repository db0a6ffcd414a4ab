"""TensorRT 10 and 11 on a GPU: strongly typed engines, addresses bound by name, copies and kernels in one stream."""

from __future__ import annotations

import os
from typing import Dict, List, Optional, Sequence, SupportsFloat, Tuple

import numpy as np
import tensorrt as trt

from . import tensorrt_key
from .cuda import Cuda
from .session import Port, TimedSession

_DTYPES = {
    trt.DataType.FLOAT: "float32",
    trt.DataType.HALF: "float16",
    trt.DataType.INT8: "int8",
    trt.DataType.UINT8: "uint8",
    trt.DataType.INT32: "int32",
    trt.DataType.INT64: "int64",
    trt.DataType.BOOL: "bool",
}


def identified(cuda: Cuda) -> Dict[str, str]:
    """Return what an engine built here would be bound to."""
    return {
        "GPU": cuda.name(),
        "compute capability": cuda.compute_capability(),
        "TensorRT": trt.__version__,
        "driver": cuda.driver(),
    }


class TensorRtSession(TimedSession):
    """An engine with pinned buffers here and buffers on the GPU; a call copies in, runs, and copies out.

    The engine's folder is refused where its key or digest is another: see `tensorrt_key`.
    """

    runtime = "tensorrt"

    def __init__(self, folder: str, batch: Optional[int], profile: bool = False) -> None:
        super().__init__()
        self._cuda = Cuda()
        tensorrt_key.refuse_foreign(folder, identified(self._cuda))
        self._logger = trt.Logger(trt.Logger.ERROR)
        self._runtime = trt.Runtime(self._logger)
        with open(os.path.join(folder, tensorrt_key.ENGINE), "rb") as stream:
            engine = self._runtime.deserialize_cuda_engine(stream.read())
        if engine is None:
            raise ValueError("TensorRT {} cannot load the engine in {}".format(trt.__version__, folder))
        self._engine = engine
        self._context = engine.create_execution_context()
        self._times: Optional[_Times] = None
        if profile:
            self._times = _Times()
            self._context.profiler = self._times
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        self.inputs = tuple(self._port(n) for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT)
        self.outputs = tuple(self._port(n) for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.OUTPUT)
        self._addresses: List[int] = []
        self._bind_batch(batch)

    def _port(self, name: str) -> Port:
        shape = tuple(None if size < 0 else size for size in _sizes(self._engine.get_tensor_shape(name)))
        return Port(name, _DTYPES[self._engine.get_tensor_dtype(name)], shape)

    def _bind(self, shapes: Sequence[Tuple[int, ...]]) -> None:
        for address in self._addresses:
            self._cuda.free(address)
        for port, shape in zip(self.inputs, shapes):
            if not self._context.set_input_shape(port.name, tuple(shape)):
                raise ValueError("the engine was not built for input '{}' of shape {}".format(port.name, shape))
        found = [_sizes(self._context.get_tensor_shape(port.name)) for port in self.outputs]
        self._sources = [self._cuda.pinned(tuple(s), p.dtype) for p, s in zip(self.inputs, shapes)]
        self._results = [self._cuda.pinned(s, p.dtype) for p, s in zip(self.outputs, found)]
        self._addresses = [self._cuda.on_device(array.nbytes) for array in self._sources + self._results]
        for port, address in zip(self.inputs + self.outputs, self._addresses):
            self._context.set_tensor_address(port.name, address)

    def _infer(self) -> None:
        count = len(self._sources)
        for source, address in zip(self._sources, self._addresses[:count]):
            self._cuda.to_device(address, source)
        if not self._context.execute_async_v3(self._cuda.stream):
            raise RuntimeError("TensorRT could not run the engine")
        for result, address in zip(self._results, self._addresses[count:]):
            self._cuda.from_device(result, address)
        self._cuda.wait()

    def _infer_plain(self, arrays: Sequence[np.ndarray]) -> List[np.ndarray]:
        return [result.copy() for result in self.run(arrays)]

    def layer_ms(self) -> List[Tuple[str, float]]:
        """Return the layers of the last run, in order, and what each took; the session was opened to profile."""
        return [] if self._times is None else self._times.last()


class _Times(trt.IProfiler):  # type: ignore[misc, unused-ignore]
    """Takes down what TensorRT reports of each layer."""

    def __init__(self) -> None:
        trt.IProfiler.__init__(self)
        self._rows: List[Tuple[str, float]] = []

    def report_layer_time(self, layer_name: str, ms: SupportsFloat) -> None:
        """Take down one layer."""
        self._rows.append((layer_name, float(ms)))

    def last(self) -> List[Tuple[str, float]]:
        """Return what was taken down since the last time."""
        rows, self._rows = self._rows, []
        return rows


def _sizes(dims: trt.Dims) -> Tuple[int, ...]:
    return tuple(int(dims[axis]) for axis in range(len(dims)))
