"""Stands in for TensorRT on a device that has none: the same calls, computed by ONNX Runtime as the file says.

Its memory "on the GPU" is that of the process (cuda.c), so that addresses, copies and streams are really used.
"""

from __future__ import annotations

import ctypes
import enum
import json
import os

import numpy as np
import onnx
import onnxruntime

__version__ = "10.3.0"


class Dims(list):
    pass


DataType = enum.Enum("DataType", "FLOAT HALF INT8 UINT8 INT32 INT64 BOOL")
TensorIOMode = enum.Enum("TensorIOMode", "INPUT OUTPUT")
_TYPES = {"tensor(float)": DataType.FLOAT, "tensor(float16)": DataType.HALF}
_DTYPES = {DataType.FLOAT: np.float32, DataType.HALF: np.float16}


class BuilderFlag(enum.IntEnum):
    SPARSE_WEIGHTS = 7


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class ILogger:
    Severity = enum.Enum("Severity", "INTERNAL_ERROR ERROR WARNING")
    ERROR = Severity.ERROR


class Logger(ILogger):
    def __init__(self, severity):
        self.severity = severity


class IProfiler:
    pass


class IHostMemory(bytes):
    pass


class _Tensor:
    def __init__(self, value):
        self.name = value.name
        self.shape = Dims(d.dim_value if d.HasField("dim_value") else -1 for d in value.type.tensor_type.shape.dim)


class _Network:
    def __init__(self, flags):
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        self.content = b""

    @property
    def num_inputs(self):
        return len(onnx.load_from_string(self.content).graph.input)

    def get_input(self, number):
        return _Tensor(onnx.load_from_string(self.content).graph.input[number])


class _Error:
    def __init__(self, node):
        self._node = node

    def node_name(self):
        return self._node.name

    def node_operator(self):
        return self._node.op_type

    def desc(self):
        return "no importer is registered for it"


class OnnxParser:
    def __init__(self, network, logger):
        self._network, self._logger, self._errors = network, logger, []

    def parse_from_file(self, path):
        model = onnx.load(path)
        self._errors = [_Error(node) for node in model.graph.node if node.op_type == "Det"]
        self._network.content = model.SerializeToString()
        return not self._errors

    def get_error(self, number):
        return self._errors[number]


class _Cache:
    def __init__(self, content):
        self.content = content

    def serialize(self):
        return IHostMemory(self.content + b"timed;")


class _Profile:
    def __init__(self):
        self.ranges = {}

    def set_shape(self, name, least, best, most):
        self.ranges[name] = [list(least), list(most)]


class _Config:
    def __init__(self):
        self.flags = []

    def set_flag(self, flag):
        self.flags.append(flag.name)

    def create_timing_cache(self, content):
        return _Cache(content)

    def set_timing_cache(self, cache, ignore_mismatch):
        self.cache = cache
        return True

    def add_optimization_profile(self, profile):
        self.profile = profile
        return 0


class Builder:
    def __init__(self, logger):
        self._logger = logger

    def create_network(self, flags):
        return _Network(flags)

    def create_builder_config(self):
        return _Config()

    def create_optimization_profile(self):
        return _Profile()

    def build_serialized_network(self, network, config):
        head = json.dumps({"ranges": config.profile.ranges, "flags": config.flags, "build": os.urandom(8).hex()})
        head = head.encode()  # no two are equal
        return IHostMemory(head + b"\n" + network.content)


class Runtime:
    def __init__(self, logger):
        self._logger = logger

    def deserialize_cuda_engine(self, content):
        head, _, model = content.partition(b"\n")
        return _Engine(json.loads(head), model)


class _Engine:
    def __init__(self, head, model):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.ranges = head["ranges"]
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.ports = [*self.session.get_inputs(), *self.session.get_outputs()]
        self.num_io_tensors = len(self.ports)

    def _port(self, name):
        return next(port for port in self.ports if port.name == name)

    def get_tensor_name(self, number):
        return self.ports[number].name

    def get_tensor_mode(self, name):
        inputs = [port.name for port in self.session.get_inputs()]
        return TensorIOMode.INPUT if name in inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        return _TYPES[self._port(name).type]

    def get_tensor_shape(self, name):
        return Dims(size if isinstance(size, int) else -1 for size in self._port(name).shape)

    def create_execution_context(self):
        return _Context(self)


class _Context:
    profiler = None

    def __init__(self, engine):
        self._engine, self._shapes, self._addresses = engine, {}, {}

    def set_input_shape(self, name, shape):
        least, most = self._engine.ranges.get(name, [shape, shape])
        if any(not low <= size <= high for low, size, high in zip(least, shape, most, strict=True)):
            return False
        self._shapes[name] = shape
        return True

    def get_tensor_shape(self, name):
        batch = next(iter(self._shapes.values()))[0]
        return Dims(batch if size < 0 else size for size in self._engine.get_tensor_shape(name))

    def set_tensor_address(self, name, address):
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream):
        assert stream
        fed = {name: self._memory(name, shape) for name, shape in self._shapes.items()}
        found = self._engine.session.run(None, fed)
        for port, value in zip(self._engine.session.get_outputs(), found, strict=True):
            self._memory(port.name, value.shape)[...] = value
        if self.profiler is not None:
            self.profiler.report_layer_time("Reformatting CopyNode for Input Tensor 0 to conv", 0.001)
            self.profiler.report_layer_time("conv", 0.01)
        return True

    def _memory(self, name, shape):
        dtype = np.dtype(_DTYPES[self._engine.get_tensor_dtype(name)])
        size = int(np.prod(shape)) * dtype.itemsize
        memory = (ctypes.c_byte * size).from_address(self._addresses[name])
        return np.ctypeslib.as_array(memory).view(dtype).reshape(shape)
