"""Draft engines, built and measured before a network is trained: what it costs does not depend on its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekd.artifact import digest_of_path
from edgekd.disk import whole_file
from edgekd.export import onnx_file
from edgekd.export.on_target import backends
from edgekd.measure.engine import Engine
from edgekd.measure.series import Series, measure
from edgekd.placement.scheme import scheme_named
from edgekd.profile import Kernel
from edgekd.quantize.calibration import CalibrationConfig
from edgekd.quantize.emission import freeze
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.stage import Context
from edgekd.target import FLOAT_SCHEMES
from edgekd.train import data
from edgekd.train.dataset import DataSet

_IMAGES = 32
"""Images that set quantization ranges and are run in rotation; latency hardly depends on which."""


def images_of(dataset: DataSet) -> NDArray[np.float32]:
    """Return the images drafts are built and measured with, normalised (N, C, H, W)."""
    first = dataset.calibration.take(np.arange(min(_IMAGES, len(dataset.calibration))))
    return data.normalised(first, dataset)


@dataclass(frozen=True)
class Drafts:
    """Builds networks in the stage's folder, in every scheme on the runtimes that want it, and measures them there."""

    context: Context
    schemes: Sequence[str]
    images: NDArray[np.float32]
    """Normalised (N, C, H, W): they set quantization ranges and are run in rotation."""

    def built(self, network: nn.Module, name: str, scheme: str, kernels: tuple[Kernel, ...]) -> list[Engine]:
        """Return the engines of a network in one scheme; raises ExportError where one cannot be built."""
        target = self.context.target
        path = self.context.folder / "engines" / name / scheme / "model.onnx"
        channels, height, width = self.images.shape[1:]
        floating = scheme in FLOAT_SCHEMES
        onnx_file.write(network if floating else self._quantized(network, scheme), path, (channels, height, width))
        found = []
        for backend in backends(self.context):
            if scheme in {target.float_scheme(backend.runtime), target.scheme_for(backend.runtime)}:
                engine = backend.build(path, path.parent / backend.runtime)
                found.append(Engine(name, scheme, backend.runtime, engine, digest_of_path(engine), kernels=kernels))
        return found

    def measured(self, engines: Sequence[Engine], processes: int, raw: str, title: str) -> Series:
        """Return latencies at the budget's operating point, in turns; raises what `edgekd.measure.series` raises."""
        budget, inputs = self.context.recipe.budget, self.context.folder / "inputs.npy"
        with whole_file(inputs) as unfinished:
            np.save(unfinished, self.images)
        return measure(
            engines,
            inputs,
            budget.operating_point,
            budget.percentile,
            processes=processes,
            raw=self.context.folder / raw,
            progress=self.context.progress,
            title=title,
            origin=self.context.origin,
            connection=self.context.connection,
        )

    def _quantized(self, network: nn.Module, scheme: str) -> nn.Module:
        prepared = prepare(network, torch.from_numpy(self.images[:2]), scheme_named(scheme))
        calibrate(prepared, self.images, CalibrationConfig(rounding="nearest", bias_correction=False))
        return freeze(prepared)
