"""TensorRT-RTX: builds engines for a named generation of NVIDIA's GPUs, ahead of time and without one.

Its parser is TensorRT's, so it also tells whether TensorRT would take a file. Engines are strongly typed: the file says
what is computed in which precision. Two builds of one file may differ in some bytes.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import tensorrt_rtx as trt

from edgekd.artifact import Format
from edgekd.device.parsing import allow_batches, refusal
from edgekd.disk import whole_file
from edgekd.errors import ExportError, TargetError
from edgekd.export.backend import Backend, ExecutedLayer
from edgekd.export.sparse_layers import is_sparse
from edgekd.schema import Field, Schema

_DRIVER = "libcuda.so.1"
_MOST_SENTENCES = 3


class TensorRtRtx(Backend):
    """The engine is one file, `engine.plan`, for GPUs of one compute capability."""

    class Config(Schema):
        """Options."""

        compute_capability: str = Field(default="8.9", description="of the GPU it is built for")

    runtime = "tensorrt-rtx"
    reads: Format = "tensorrt-rtx"

    def build(self, onnx_path: Path, folder: Path) -> Path:
        """Parse the file and build its engine for batches of 1 to 32.

        Raises ExportError with the operator and the module where the parser refuses it.
        """
        told = _Told()
        builder = trt.Builder(told)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, told)
        if not parser.parse_from_file(str(onnx_path)):
            said = refusal(f"TensorRT-RTX {trt.__version__}", parser.get_error(0), onnx_path.name)
            raise ExportError(f"{said}; use operators it knows, or another scheme")
        config = builder.create_builder_config()
        config.num_compute_capabilities = 1
        config.set_compute_capability(self._capability(), 0)
        if is_sparse(onnx_path):
            config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
        profile = builder.create_optimization_profile()
        for number in range(network.num_inputs):
            allow_batches(profile, network.get_input(number))
        config.add_optimization_profile(profile)
        engine = builder.build_serialized_network(network, config)
        if engine is None:
            raise ExportError(
                f"TensorRT-RTX {trt.__version__} cannot build {onnx_path.name}: {told.text()}; use operators it knows, "
                "or leave tensorrt-rtx out of the target's runtimes"
            )
        place = folder / "tensorrt-rtx" / "engine.plan"
        place.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(place) as unfinished:
            unfinished.write_bytes(engine)
        return place

    def executed(self, engine: Path) -> list[ExecutedLayer]:
        """Raise TargetError: what is executed is known to the GPU alone."""
        raise TargetError(f"{engine.name} can be looked into on a GPU of compute capability {self._named} only")

    def runs_here(self) -> bool:
        """Return whether there is a driver of NVIDIA's."""
        try:
            return bool(ctypes.CDLL(_DRIVER).cuInit(0) == 0)
        except OSError:
            return False

    @property
    def _named(self) -> str:
        return str(getattr(self.config, "compute_capability"))  # noqa: B009  (the class of the options is its own)

    def _capability(self) -> Any:
        known = {f"{n[2:-1]}.{n[-1]}": n for n in dir(trt.ComputeCapability) if n.startswith("SM")}
        if self._named not in known:
            raise TargetError(
                f"TensorRT-RTX {trt.__version__} builds for compute capability {', '.join(sorted(known))}, not for "
                f"{self._named}"
            )
        return getattr(trt.ComputeCapability, known[self._named])


class _Told(trt.ILogger):  # type: ignore[misc]
    """Keeps what the builder says of errors, which would else go to standard error."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.errors: list[str] = []

    def log(self, severity: Any, message: str) -> None:
        """Take note of an error."""
        # Without a GPU the library complains of the missing driver at every turn, and goes on.
        if severity in {trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR} and "CUDA driver" not in message:
            self.errors.append(" ".join(message.split()))

    def text(self) -> str:
        """Return the first errors."""
        return "; ".join(self.errors[:_MOST_SENTENCES]) or "it gives no reason"
