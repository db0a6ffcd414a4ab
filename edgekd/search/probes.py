"""Probes: engines of untrained networks, built and measured so that the latency of other networks can be predicted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekd.artifact import digest_of_path
from edgekd.connection.connection import reached
from edgekd.disk import whole_file
from edgekd.export import onnx_file
from edgekd.export.on_target import backends
from edgekd.measure.engine import Engine
from edgekd.measure.series import measure
from edgekd.placement.scheme import scheme_named
from edgekd.predict.forecast import Forecast
from edgekd.profile import Profile
from edgekd.quantize.calibration import CalibrationConfig
from edgekd.quantize.emission import freeze
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.schema import digest_of, read_json, write_json
from edgekd.search.candidate import Candidate, untrained
from edgekd.stage import Context
from edgekd.target import FLOAT_SCHEMES

log = logging.getLogger("edgekd")

FILE = "probes.json"


@dataclass(frozen=True)
class Bench:
    """Builds and measures networks in the stage folder, each in fp32 and in the schemes the target's runtimes want."""

    context: Context
    schemes: Sequence[str]
    images: NDArray[np.float32]
    """Normalised (N, C, H, W): they set quantization ranges and are run in rotation."""
    classes: int
    processes: int

    def profile(self, probes: Sequence[Candidate]) -> Profile:
        """Return the measured probes of this run: those of an earlier round or budget, else measured now.

        Raises ExportError where a network cannot be built on the target, before anything is trained.
        """
        key = self._key(probes)
        # Not in the stage's own folder, which is emptied when another limit makes it another stage.
        kept = self.context.run_folder / "measurements" / f"probes-{key[:16]}.json"
        if kept.is_file():
            log.info("search: the probes were measured before in this run (%s)", kept.name)
            return read_json(Profile, kept)
        engines = self._built(probes)
        profile = self._predicted(engines, key) if self.context.elsewhere else self._measured(engines, key)
        write_json(profile, kept)
        return profile

    def _built(self, probes: Sequence[Candidate]) -> list[Engine]:
        steps = len(probes) * len(self.schemes)
        with self.context.progress.task("build untrained engines", steps) as advance:
            found = []
            for probe in probes:
                network = untrained(probe.spec, self._shape, self.classes)
                for scheme in self.schemes:
                    found += self._engines(probe, network, scheme)
                    advance(1, f"{probe.name} {scheme}")
        return found

    def _engines(self, probe: Candidate, network: nn.Module, scheme: str) -> list[Engine]:
        target = self.context.target
        path = self.context.folder / "engines" / probe.name / scheme / "model.onnx"
        floating = scheme in FLOAT_SCHEMES
        onnx_file.write(network if floating else self._quantized(network, scheme), path, self._shape)
        found = []
        for backend in backends(self.context):
            if scheme in {target.float_scheme(backend.runtime), target.scheme_for(backend.runtime)}:
                engine = backend.build(path, path.parent / backend.runtime)
                digest = digest_of_path(engine)
                found.append(Engine(probe.name, scheme, backend.runtime, engine, digest, kernels=probe.kernels))
        return found

    def _quantized(self, network: nn.Module, scheme: str) -> nn.Module:
        prepared = prepare(network, torch.from_numpy(self.images[:2]), scheme_named(scheme))
        calibrate(prepared, self.images, CalibrationConfig(rounding="nearest", bias_correction=False))
        return freeze(prepared)

    def _predicted(self, engines: Sequence[Engine], key: str) -> Profile:
        """Return what the probes are predicted to cost on a device that is not here."""
        budget, forecast = self.context.recipe.budget, Forecast(self.context.target)
        latencies = [forecast.latency(forecast.work(e.path, e.scheme), budget.percentile) for e in engines]
        records = [
            engine.record(budget.operating_point, figures=(latency,))
            for engine, latency in zip(engines, latencies, strict=True)
        ]
        return Profile(
            target=self.context.target.name, origin="predicted", machine={"probes": key}, records=tuple(records)
        )

    def _measured(self, engines: Sequence[Engine], key: str) -> Profile:
        context, budget = self.context, self.context.recipe.budget
        inputs = context.folder / "inputs.npy"
        with whole_file(inputs) as unfinished:
            np.save(unfinished, self.images)
        series = measure(
            engines,
            inputs,
            budget.operating_point,
            budget.percentile,
            processes=self.processes,
            raw=context.folder / "probes.jsonl",
            progress=context.progress,
            title="measure untrained engines",
            origin=context.origin,
            connection=context.connection,
        )
        return Profile(
            target=context.target.name,
            origin=context.origin,
            machine={**series.machine, "probes": key},
            versions=self._probed()["versions"],
            records=tuple(series.records),
        )

    def _key(self, probes: Sequence[Candidate]) -> str:
        """Return the digest of what is measured, how, and in which life of this machine."""
        context, budget = self.context, self.context.recipe.budget
        networks = [[probe.name, probe.spec.plain(), probe.kernels] for probe in probes]
        how = [self.processes, budget.percentile, budget.operating_point.plain(), list(self.schemes), self._shape]
        return digest_of([networks, how, context.target.plain(), self._probed().get("boot")])

    def _probed(self) -> dict[str, Any]:
        with reached(self.context.connection) as place:
            return place.probe()

    @property
    def _shape(self) -> tuple[int, int, int]:
        channels, height, width = self.images.shape[1:]
        return channels, height, width
