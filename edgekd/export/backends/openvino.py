"""OpenVINO on the CPU: converts the ONNX file to its own model.xml and model.bin."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx

from edgekd.artifact import Format
from edgekd.disk import scratch, whole_folder
from edgekd.errors import ExportError, ResourceError
from edgekd.export.backend import Backend, ExecutedLayer, ExecutedPrecision
from edgekd.export.refusal import one_line
from edgekd.runtime import without_telemetry

openvino = without_telemetry.openvino()

_PRECISIONS: dict[str, ExecutedPrecision] = {
    **dict.fromkeys(("u4", "i4"), "int4"),
    **dict.fromkeys(("u8", "i8"), "int8"),
    **dict.fromkeys(("f16", "bf16"), "fp16"),
}
_NOT_EXECUTED = {"Input", "Output", "Const"}
_SUBGRAPH = "Subgraph"
"""What OpenVINO compiles several operators into; its name is that of the last of them."""


class OpenVino(Backend):
    """The engine is a folder with OpenVINO's intermediate representation, weights in full precision."""

    runtime = "openvino"
    reads: Format = "openvino"

    def build(self, onnx_path: Path, folder: Path) -> Path:
        """Convert the file; the returned folder holds model.xml and model.bin and nothing else."""
        engine = folder / "openvino"
        try:
            with _logging_given_back(), _without_commas(onnx_path) as path:
                model = openvino.convert_model(path)
            _name_by_position(model, _names(onnx_path))
            with whole_folder(engine) as unfinished:
                openvino.save_model(model, unfinished / "model.xml", compress_to_fp16=False)
        except ResourceError:
            raise
        except Exception as error:  # OpenVINO's exceptions have no public base class
            raise ExportError(
                f"OpenVINO {openvino.__version__} cannot convert {onnx_path.name}: {one_line(error)}; "
                "use operators it knows, or leave openvino out of the target's runtimes"
            ) from error
        return engine

    def executed(self, engine: Path) -> list[ExecutedLayer]:
        """Return the operators of the graph OpenVINO has compiled for this machine.

        Matrix products that it has compiled into one subgraph, as it does on AVX-512, are listed one by one.
        """
        core = openvino.Core()
        model = core.read_model(engine / "model.xml")
        model.reshape({0: [1, *(int(size.get_length()) for size in list(model.input(0).partial_shape)[1:])]})
        # The hints are those of edgekd's session: what is inspected is what is measured and shipped.
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        compiled = core.compile_model(model, "CPU", hints)
        products = {node.get_friendly_name() for node in model.get_ops() if node.get_type_name() == "MatMul"}
        nodes = compiled.get_runtime_model().get_ordered_ops()
        layers = [layer for node in nodes for layer in _layers(node, products)]
        return [layer for layer in layers if layer.op not in _NOT_EXECUTED]


@contextmanager
def _without_commas(path: Path) -> Iterator[Path]:
    """Yield a path of the same file that has no comma, at which OpenVINO would split it into several."""
    if "," not in str(path):
        yield path
        return
    with scratch("edgekd-openvino") as folder:
        (folder / "beside").symlink_to(path.parent.absolute())  # the folder, as weights may stand beside the file
        yield folder / "beside" / path.name


@contextmanager
def _logging_given_back() -> Iterator[None]:
    """Undo what OpenVINO does to the root logger: it lets only errors through, and after a refusal it stays so."""
    root = logging.getLogger()
    level, filters, handlers = root.level, root.filters[:], root.handlers[:]
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters, root.handlers = filters, handlers


def _layers(node: Any, products: set[str]) -> list[ExecutedLayer]:
    facts = node.get_rt_info()
    keys = "layerType", "runtimePrecision", "originalLayersNames"
    op, precision, origins = (facts[key].astype(str) if key in facts else "" for key in keys)
    executed = _PRECISIONS.get(precision, "fp32")
    inside = [name for name in origins.split(",") if name in products] if op == _SUBGRAPH else []
    if inside:
        return [ExecutedLayer(f"{op} MatMul", name, executed) for name in inside]
    return [ExecutedLayer(op, node.get_friendly_name(), executed)]


def _names(onnx_path: Path) -> set[str]:
    """Return the names that are the network's own: of its operators and of what they write."""
    nodes = onnx.load(str(onnx_path), load_external_data=False).graph.node
    return {name for node in nodes for name in (node.name, *node.output)}


def _name_by_position(model: Any, own: set[str]) -> None:
    """Replace names that OpenVINO counts up over the whole process, so that the same network gives the same file."""
    for position, node in enumerate(model.get_ordered_ops()):
        name = node.get_friendly_name()
        if name not in own and re.fullmatch(r"[A-Za-z]+_\d+", name):
            node.set_friendly_name(f"{node.get_type_name()}#{position}")
