"""Probes: engines of untrained networks, built and measured so that the latency of other networks can be predicted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.connection.connection import reached
from edgekd.measure.engine import Engine
from edgekd.predict.forecast import Forecast
from edgekd.profile import Profile
from edgekd.quantize.drafts import Drafts
from edgekd.schema import digest_of, read_json, write_json
from edgekd.search.candidate import Candidate, untrained
from edgekd.stage import Context

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
                    found += self._drafts.built(network, probe.name, scheme, probe.kernels)
                    advance(1, f"{probe.name} {scheme}")
        return found

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
        context = self.context
        series = self._drafts.measured(engines, self.processes, "probes.jsonl", "measure untrained engines")
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
    def _drafts(self) -> Drafts:
        return Drafts(self.context, self.schemes, self.images)

    @property
    def _shape(self) -> tuple[int, int, int]:
        channels, height, width = self.images.shape[1:]
        return channels, height, width
