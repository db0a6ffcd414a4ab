"""What layers lose when they are computed in float: milliseconds measured on the target itself, else work counted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal

import onnx

from edgekd.disk import scratch
from edgekd.errors import MeasurementError
from edgekd.fuse.fusion import Fusion, rules
from edgekd.gate.bench import Asked, Given, bench
from edgekd.measure import machine
from edgekd.measure.layers import LayerTable, measure_layers
from edgekd.onnx_graph.graph import read
from edgekd.placement.place import Placement
from edgekd.profile import Layer
from edgekd.quantize.calibration import Integers
from edgekd.quantize.onnx_network import NOTHING, OnnxNetwork
from edgekd.quantize.placements import macs
from edgekd.runtime.session import RUNTIMES
from edgekd.stage import Progress
from edgekd.target import Target

PERCENTILE = 50.0
ROUNDS = 3
"""Processes of each engine, in turns; the fastest counts, because whatever else runs only slows a layer down."""

Unit = Literal["ms", "MMACs"]


@dataclass(frozen=True)
class Costs:
    """What each layer loses in float."""

    lost: Mapping[str, float]
    """By the layer's name; below zero where float is faster."""
    unit: Unit


def counted(network: OnnxNetwork) -> Costs:
    """Return the work of each layer, the best guess where nothing can be measured."""
    work = {name: macs(network, name) / 1e6 for name in network.layers}
    return Costs(work, "MMACs")


@dataclass(frozen=True)
class Clock:
    """Measures on this machine, which is the target, in the target's first runtime."""

    target: Target
    data: Path
    raw: Path
    progress: Progress

    def costs(self, network: OnnxNetwork, plan: Placement, integers: Integers) -> Costs:
        """Return what each layer of `plan` takes longer in float than in integers.

        Both engines run in processes of their own, in turns. Where a runtime fuses layers they share their time.
        Raises what measuring raises, and MeasurementError for a runtime that tells no layer's time.
        """
        runtime = next(name for name in self.target.runtimes if name in RUNTIMES)
        fusion = rules([runtime], machine.probe()["isa"])[runtime]
        with scratch("edgekd-layers") as folder:
            files = {"float": folder / "float.onnx", "integers": folder / "integers.onnx"}
            onnx.save(network.written(NOTHING, None), files["float"])
            onnx.save(network.written(plan, integers), files["integers"])
            tables = self._tables(runtime, files)
            times = {name: _times(network, fusion, files[name], tables[name]) for name in files}
        if not all(any(found.values()) for found in times.values()):
            raise MeasurementError(f"{runtime} tells the time of no layer; give --time-limit 0 to go by work instead")
        return Costs({name: times["float"][name] - times["integers"][name] for name in plan.weights}, "ms")

    def _tables(self, runtime: str, files: Mapping[str, Path]) -> dict[str, list[LayerTable]]:
        found: dict[str, list[LayerTable]] = defaultdict(list)
        asked = Asked(self.data, threads=self.target.threads)
        given = [Given(str(file), runtime) for file in files.values()]
        with (
            bench(given, asked, None, self.progress) as here,
            self.progress.task("times of the layers", ROUNDS * len(files)) as advance,
        ):
            for number in range(ROUNDS):
                for name, engine in zip(files, here.engines, strict=True):
                    setup = here.setup(PERCENTILE, self.raw / str(number))
                    found[name].append(measure_layers(engine, setup))
                    advance(1, name)
        return found


def _times(network: OnnxNetwork, fusion: Fusion, file: Path, tables: list[LayerTable]) -> dict[str, float]:
    """Return the milliseconds of each layer in one engine; one too fast to be counted takes none."""
    named = {layer.label: name for name, layer in network.layers.items()}
    sizes = {network.graph.inputs[0]: (1, *network.graph.shapes[network.graph.inputs[0]][1:])}
    kernels = fusion.kernels(read(file, sizes))
    runs: dict[str, list[float]] = defaultdict(list)
    for table in tables:
        rows = [Layer(*astuple(layer)) for layer in table.layers]
        for kernel, ms in zip(kernels, fusion.matched(kernels, rows), strict=True):
            layers = [named[node] for node in kernel.covers if node in named]
            for name in layers:
                runs[name].append((ms or 0.0) / len(layers))
    return {name: min(values) for name, values in runs.items()}
