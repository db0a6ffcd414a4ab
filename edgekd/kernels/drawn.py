"""A probe network in every scheme, with the kernels that each runtime should make of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import onnx

from edgekd.export.backend import BACKENDS
from edgekd.fuse.fusion import Fusion
from edgekd.kernel import FusedKernel
from edgekd.kernels.probes import draw
from edgekd.onnx_graph.graph import read
from edgekd.onnx_graph.quantized import quantized
from edgekd.predict.schemes import FLOAT


@dataclass(frozen=True)
class Drawn:
    """One probe network; the same number gives the same one."""

    name: str
    """`<kind>-<number>`."""
    models: Mapping[str, onnx.ModelProto]
    """By scheme."""
    kernels: Mapping[tuple[str, str], list[FusedKernel]]
    """By scheme and runtime."""

    @contextmanager
    def built(self, folder: Path) -> Iterator[dict[tuple[str, str], Path]]:
        """Yield its engines, built as those that are shipped, by scheme and runtime; they are removed afterwards.

        Raises ExportError when a runtime refuses it.
        """
        place = folder / self.name
        try:
            engines = {}
            for scheme, model in self.models.items():
                own = place / scheme
                own.mkdir(parents=True)
                onnx.save(model, str(own / "network.onnx"))
                for runtime in self.runtimes:
                    engines[scheme, runtime] = BACKENDS.get(runtime)().build(own / "network.onnx", own)
            yield engines
        finally:
            shutil.rmtree(place, ignore_errors=True)

    @property
    def runtimes(self) -> list[str]:
        """Return the runtimes whose kernels are known."""
        return list(dict.fromkeys(runtime for _, runtime in self.kernels))


def drawn(number: int, schemes: Sequence[str], rules: Mapping[str, Fusion]) -> Drawn:
    """Draw the network of a number; `rules` are those of the runtimes whose kernels are wanted."""
    model = draw(Random(number))  # noqa: S311 – nothing secret
    models = {scheme: model if scheme == FLOAT else quantized(model) for scheme in schemes}
    kernels = {}
    for scheme in schemes:
        graph = read(models[scheme])
        for runtime, own in rules.items():
            kernels[scheme, runtime] = own.kernels(graph)
    return Drawn(f"{model.graph.name}-{number}", models, kernels)
