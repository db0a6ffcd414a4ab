"""What a TensorRT engine needs of CUDA: memory, copies and one stream, by the driver's own library, through ctypes.

The driver is wherever there is a GPU; no package of CUDA has to be installed.
"""

from __future__ import annotations

import ctypes
from typing import Any, List, Tuple

import numpy as np

_LIBRARY = "libcuda.so.1"
_COMPUTE_MAJOR, _COMPUTE_MINOR = 75, 76
"""Numbers of the attributes of a device (CUdevice_attribute)."""


class Driver:
    """The driver's library and its first GPU, of which nothing is used yet.

    Raises ImportError where there is no driver, RuntimeError with CUDA's own words where a call fails.
    """

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(_LIBRARY)
        except OSError as error:
            raise ImportError("there is no driver of NVIDIA's ({}): {}".format(_LIBRARY, error)) from error
        self._call("cuInit", 0)
        self._device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(self._device), 0)

    def name(self) -> str:
        """Return what the GPU is called."""
        text = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", text, len(text), self._device)
        return text.value.decode()

    def compute_capability(self) -> str:
        """Return the compute capability, such as 8.7."""
        return "{}.{}".format(self._attribute(_COMPUTE_MAJOR), self._attribute(_COMPUTE_MINOR))

    def driver(self) -> str:
        """Return the version of CUDA the driver speaks, such as 12.6."""
        version = ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(version))
        return "{}.{}".format(version.value // 1000, version.value % 1000 // 10)

    def _attribute(self, number: int) -> int:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), number, self._device)
        return value.value

    def _call(self, function: str, *arguments: Any) -> None:
        code = getattr(self._library, function)(*arguments)
        if code:
            text = ctypes.c_char_p()
            self._library.cuGetErrorString(code, ctypes.byref(text))
            raise RuntimeError("{} failed: {}".format(function, (text.value or b"error %d" % code).decode()))


class Cuda(Driver):
    """The first GPU with its primary context current in this thread, and one stream."""

    def __init__(self) -> None:
        super().__init__()
        context, self._stream = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self._call("cuCtxSetCurrent", context)
        self._call("cuStreamCreate", ctypes.byref(self._stream), 1)  # 1: does not wait for the default stream

    @property
    def stream(self) -> int:
        """Return the handle of the stream."""
        return int(self._stream.value or 0)

    def on_device(self, size: int) -> int:
        """Return the address of new memory on the GPU."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        return address.value

    def free(self, address: int) -> None:
        """Give memory on the GPU back."""
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def pinned(self, shape: Tuple[int, ...], dtype: str) -> np.ndarray:
        """Return a new array in memory of this machine that the GPU copies from; it is there until the process ends."""
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        address = ctypes.c_void_p()
        self._call("cuMemAllocHost_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        memory = (ctypes.c_byte * size).from_address(address.value or 0)
        return np.ctypeslib.as_array(memory).view(dtype).reshape(shape)

    def to_device(self, address: int, array: np.ndarray) -> None:
        """Start copying an array to the GPU."""
        self._copy("cuMemcpyHtoDAsync_v2", [ctypes.c_uint64(address), ctypes.c_void_p(array.ctypes.data)], array)

    def from_device(self, array: np.ndarray, address: int) -> None:
        """Start copying from the GPU into an array."""
        self._copy("cuMemcpyDtoHAsync_v2", [ctypes.c_void_p(array.ctypes.data), ctypes.c_uint64(address)], array)

    def wait(self) -> None:
        """Wait until all that was started is done."""
        self._call("cuStreamSynchronize", self._stream)

    def _copy(self, function: str, ends: List[Any], array: np.ndarray) -> None:
        self._call(function, *ends, ctypes.c_size_t(array.nbytes), self._stream)
