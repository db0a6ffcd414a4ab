"""A built engine, opened and bound once; edgekd and an app call a runtime only this way, so both see the same cost."""

from __future__ import annotations

import importlib
import os
from abc import ABC, abstractmethod
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from . import without_telemetry

RUNTIMES = ("onnxruntime", "openvino")
TENSORRT = "tensorrt"
"""Runs on GPUs of NVIDIA's; its engines are folders, built where they run (`tensorrt_key`)."""
REFERENCE = "reference"
"""What an ONNX file says, operator by operator: ONNX Runtime without any rewriting. Slow, and right everywhere."""

_NUMPY_FROM_ONNX = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


class Port(NamedTuple):
    """One input or output of an engine; a dimension of None is free."""

    name: str
    dtype: str
    shape: Tuple[Optional[int], ...]


class Session(ABC):
    """One engine with preallocated buffers.

    `run` copies the arrays into the bound input buffers, infers, and returns the bound output buffers: they are
    overwritten by the next call, so a caller that keeps results copies them. One thread at a time.
    """

    runtime: str
    inputs: Tuple[Port, ...]
    outputs: Tuple[Port, ...]

    def __init__(self) -> None:
        self._sources: List[np.ndarray] = []
        self._results: List[np.ndarray] = []

    def run(self, arrays: Sequence[np.ndarray]) -> List[np.ndarray]:
        """Infer once; shapes that differ from the bound ones rebind first (slow, once per change).

        Raises ValueError when the number of arrays or a shape does not fit the engine.
        """
        sources = self._sources
        if len(arrays) != len(sources) or any(a.shape != s.shape for a, s in zip(arrays, sources)):
            self._rebind([array.shape for array in arrays])
            sources = self._sources
        for source, array in zip(sources, arrays):
            np.copyto(source, array)
        self._infer()
        return self._results

    def run_plain(self, arrays: Sequence[np.ndarray]) -> List[np.ndarray]:
        """Infer by the call that most apps write, for comparison: nothing bound, new output arrays every time.

        `arrays` must have the shapes of the last `run`.
        """
        return self._infer_plain(arrays)

    def _rebind(self, shapes: Sequence[Tuple[int, ...]]) -> None:
        if len(shapes) != len(self.inputs):
            raise ValueError("the engine takes {} inputs, {} were given".format(len(self.inputs), len(shapes)))
        for port, shape in zip(self.inputs, shapes):
            if len(shape) != len(port.shape) or any(want not in (None, size) for size, want in zip(shape, port.shape)):
                raise ValueError(
                    "input '{}' has shape {}, {} was given (None is free)".format(port.name, port.shape, shape)
                )
        self._bind(shapes)

    def _bind_batch(self, batch: Optional[int]) -> None:
        """Bind at once where the batch alone settles every shape, else leave it to the first run."""
        shapes = [port.shape if batch is None else (batch, *port.shape[1:]) for port in self.inputs]
        known = [tuple(size for size in shape if size is not None) for shape in shapes]
        if all(len(sizes) == len(shape) for sizes, shape in zip(known, shapes)):
            self._rebind(known)

    def _allocate(self, shapes: Sequence[Tuple[int, ...]]) -> List[np.ndarray]:
        return [np.zeros(shape, np.dtype(port.dtype)) for port, shape in zip(self.inputs, shapes)]

    @abstractmethod
    def _bind(self, shapes: Sequence[Tuple[int, ...]]) -> None:
        """Allocate buffers for these input shapes and hand them to the runtime."""

    @abstractmethod
    def _infer(self) -> None:
        """Run the engine on the bound buffers."""

    @abstractmethod
    def _infer_plain(self, arrays: Sequence[np.ndarray]) -> List[np.ndarray]:
        """Run the engine by the runtime's ordinary call."""


class TimedSession(Session):
    """A session whose runtime tells after each run what its layers took."""

    @abstractmethod
    def layer_ms(self) -> List[Tuple[str, float]]:
        """Return the layers of the last run, in order, and what each took, in milliseconds."""


class OnnxRuntimeSession(Session):
    """ONNX Runtime on the CPU with an io_binding onto numpy memory."""

    runtime = "onnxruntime"

    def __init__(
        self, path: str, threads: int, batch: Optional[int], profile: Optional[str] = None, plain: bool = False
    ) -> None:
        super().__init__()
        self._package = import_runtime(self.runtime)
        options = _options(self._package, threads)
        if plain:
            options.graph_optimization_level = self._package.GraphOptimizationLevel.ORT_DISABLE_ALL
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = os.path.join(profile, "onnxruntime")
        self._session = self._package.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = tuple(_port(value) for value in self._session.get_inputs())
        self.outputs = tuple(_port(value) for value in self._session.get_outputs())
        self._binding: Any = None
        self._bind_batch(batch)

    def _bind(self, shapes: Sequence[Tuple[int, ...]]) -> None:
        self._sources = self._allocate(shapes)
        names = [port.name for port in self.inputs]
        # A first run learns the output shapes, whatever the graph computes them from.
        first = self._session.run(None, dict(zip(names, self._sources)))
        self._results = [np.ascontiguousarray(value) for value in first]
        self._binding = self._session.io_binding()
        value = self._package.OrtValue.ortvalue_from_numpy  # shares the memory of an array on the CPU
        self._values = [value(array) for array in self._sources + self._results]
        for name, source in zip(names, self._values):
            self._binding.bind_ortvalue_input(name, source)
        for port, result in zip(self.outputs, self._values[len(names) :]):
            self._binding.bind_ortvalue_output(port.name, result)

    def _infer(self) -> None:
        self._session.run_with_iobinding(self._binding)

    def _infer_plain(self, arrays: Sequence[np.ndarray]) -> List[np.ndarray]:
        results: List[np.ndarray] = self._session.run(None, {p.name: array for p, array in zip(self.inputs, arrays)})
        return results

    def end_profiling(self) -> str:
        """Return the file into which every operator of every run was written; the session was opened with `profile`."""
        return str(self._session.end_profiling())


def _options(onnxruntime: Any, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    if threads == 1:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _port(value: Any) -> Port:
    dtype = _NUMPY_FROM_ONNX.get(value.type)
    if dtype is None:
        raise ValueError("tensor '{}' has type {}, which has no numpy equivalent here".format(value.name, value.type))
    return Port(value.name, dtype, tuple(size if isinstance(size, int) else None for size in value.shape))


class OpenVinoSession(Session):
    """OpenVINO on the CPU; one compiled model per batch, because static shapes are faster than free ones."""

    runtime = "openvino"

    def __init__(self, path: str, threads: int, batch: Optional[int], profile: Optional[str] = None) -> None:
        super().__init__()
        self._package = import_runtime(self.runtime)
        self._path = path
        self._core = self._package.Core()
        self._properties = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # Where the processor has bfloat16, OpenVINO's default silently computes float layers in it.
            "INFERENCE_PRECISION_HINT": "f32",
            # A pinned thread waits for its core while another core is idle: p90 sevenfold beside other work.
            "ENABLE_CPU_PINNING": False,
            "PERF_COUNT": profile is not None,
        }
        model = self._read()
        self.inputs = tuple(self._port(port) for port in model.inputs)
        self.outputs = tuple(self._port(port) for port in model.outputs)
        self._static = batch is not None
        self._compiled: Dict[Tuple[Tuple[int, ...], ...], Any] = {}
        self._model: Any = None
        self._request: Any = None
        self._bind_batch(batch)

    def _read(self) -> Any:
        return self._core.read_model(self._path)

    def _port(self, port: Any) -> Port:
        shape = tuple(None if size.is_dynamic else int(size.get_length()) for size in port.partial_shape)
        return Port(port.any_name, np.dtype(port.element_type.to_dtype()).name, shape)

    def _bind(self, shapes: Sequence[Tuple[int, ...]]) -> None:
        key = tuple(shapes) if self._static else ()
        if key not in self._compiled:
            model = self._read()
            if key:
                model.reshape({index: list(shape) for index, shape in enumerate(shapes)})
            self._compiled[key] = self._core.compile_model(model, "CPU", self._properties)
        self._model = self._compiled[key]
        self._request = self._model.create_infer_request()
        tensor = self._package.Tensor
        self._sources = self._allocate(shapes)
        for index, source in enumerate(self._sources):
            self._request.set_input_tensor(index, tensor(source, shared_memory=True))
        # A first run learns the output shapes, whatever the graph computes them from.
        self._request.infer()
        count = range(len(self.outputs))
        self._results = [np.array(self._request.get_output_tensor(index).data) for index in count]
        for index in count:
            self._request.set_output_tensor(index, tensor(self._results[index], shared_memory=True))

    def _infer(self) -> None:
        # Called without arguments: dispatching arrays costs more than a small network's convolutions.
        self._request.infer()

    def _infer_plain(self, arrays: Sequence[np.ndarray]) -> List[np.ndarray]:
        return list(self._model(list(arrays)).values())

    def profiling_info(self) -> List[Any]:
        """Return OpenVINO's counters of the last run's operators; the session was opened with `profile`."""
        return list(self._request.profiling_info)


def import_runtime(runtime: str) -> Any:
    """Return the runtime's package; openvino without its usage reports."""
    return without_telemetry.openvino() if runtime == "openvino" else importlib.import_module(runtime)


def open_session(
    runtime: str, path: str, threads: int = 1, batch: Optional[int] = 1, profile: Optional[str] = None
) -> Session:
    """Open a built engine.

    `path` is an .onnx file for onnxruntime and reference; for openvino the .xml or the folder that holds model.xml and
    model.bin; for tensorrt the folder that holds engine.plan and key.json.
    `batch` None leaves the batch free, which costs openvino some speed. `profile` is a folder for the runtime's own
    per-operator times, which slow every run down. Raises ValueError for an unknown runtime,
    batch or thread number, FileNotFoundError for a missing file, ImportError with the command for a missing runtime.
    """
    if runtime not in (*RUNTIMES, TENSORRT, REFERENCE):
        raise ValueError("unknown runtime '{}'; known: {}".format(runtime, ", ".join(RUNTIMES)))
    if threads < 1 or (batch is not None and batch < 1):
        raise ValueError("threads and batch must be at least 1, given: {} and {}".format(threads, batch))
    inner = {"openvino": "model.xml", TENSORRT: "engine.plan"}.get(runtime)
    file = os.path.join(path, inner) if inner and os.path.isdir(path) else path
    if not os.path.isfile(file):
        raise FileNotFoundError("no engine file for {}: {}".format(runtime, file))
    try:
        if runtime == "openvino":
            return OpenVinoSession(file, threads, batch, profile)
        if runtime == TENSORRT:
            from .tensorrt_session import TensorRtSession

            return TensorRtSession(os.path.dirname(file), batch, profile is not None)
        return OnnxRuntimeSession(file, threads, batch, profile, plain=runtime == REFERENCE)
    except ModuleNotFoundError as error:
        if error.name not in (*RUNTIMES, TENSORRT):
            raise
        raise ImportError("the engine needs the package '{0}'; run: pip install {0}".format(error.name)) from error
