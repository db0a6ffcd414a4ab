"""Latency of a run's engines on a target that is not here, by its datasheet and the boards that are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import UsageError
from edgekd.figure import Figure
from edgekd.measure.comparison import SHARE
from edgekd.onnx_graph.graph import read
from edgekd.onnx_graph.quantized import quantized
from edgekd.onnx_graph.source import opened
from edgekd.predict.schemes import is_quantized
from edgekd.predict.unmeasured import facts_of, merged, roofline
from edgekd.predict.work import TERMS, work
from edgekd.target import FLOAT_SCHEMES, Target

Array = NDArray[np.float64]

_SYMMETRIC = "s8"


class Forecast:
    """The roofline of one target in half precision, in which the known boards ran, and what integers save of it.

    `figures` is a CSV file of networks measured there. Raises TargetError when the target file says nothing to predict
    from, UsageError for a fault in the figures.
    """

    def __init__(self, target: Target, figures: Path | None = None) -> None:
        facts = facts_of(target)
        self._target = target
        self._roofline = roofline(target, figures)
        integers = facts.dense_tops_int8 or facts.dense_tflops
        saved = {"dense_macs": facts.dense_tflops.value / integers.value}
        # Bytes are counted in float32; where floats are half of that, an integer saves but half as much.
        bytes_count = 2.0 if "fp16" in target.float_schemes() else 1.0
        self._integer = np.array([saved.get(name, bytes_count if name.endswith("bytes") else 1.0) for name in TERMS])

    def work(self, onnx: Path, scheme: str, shapes: Mapping[str, Sequence[int]] | None = None) -> Array:
        """Return what the engine of an ONNX file, run in `scheme`, asks of the target, (8,).

        The file is float32 or, for an integer scheme, quantized already. `shapes` are those of free inputs. Raises
        UsageError for a scheme the target does not run.
        """
        known = (*self._target.float_schemes(), *self._target.schemes())
        if scheme not in known:
            raise UsageError(f"{self._target.name} runs nothing in '{scheme}'; it runs {', '.join(known)}", scheme)
        graph = read(onnx, shapes)
        if scheme in FLOAT_SCHEMES:
            return work(merged(graph))
        if not is_quantized(graph):
            graph = read(quantized(opened(onnx)[0], symmetric=scheme == _SYMMETRIC), shapes)
        return np.asarray(work(merged(graph)) * self._integer)

    def latency(self, asked: Array, percentile: float) -> Figure:
        """Return the predicted latency of work (8,)."""
        return self._roofline.latency_of(asked, percentile)

    def share(self, asked: Array, teacher: Array) -> Figure:
        """Return the predicted latency of work (8,) over that of the teacher's."""
        return self._roofline.ratio_of(asked, teacher, SHARE)
