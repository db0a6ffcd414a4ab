"""Adds what a layer table tells to a kernel profile: an engine that was measured anyway is one more probe."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from edgekd.fuse.fusion import rules
from edgekd.kernel import KernelProfile, Probe, TimedKernel
from edgekd.measure import anchor
from edgekd.onnx_graph.graph import read
from edgekd.predict.schemes import scheme_of
from edgekd.profile import EngineRecord, Profile, latency_name

_RUNTIME = "onnxruntime"
_LEAST_MATCHED = 0.9
"""Share of the table's time that must belong to known kernels: else the rules do not fit this engine."""


def refined(profile: KernelProfile, network: Path, measured: Profile) -> KernelProfile | None:
    """Return the profile with the engine that `measured` is of as a further probe; None where that is impossible.

    `network` is the ONNX file that ONNX Runtime reads; another runtime's engine does not hold the graph its rules begin
    with. Version and operating point must be the profile's. An engine measured again replaces its earlier self.
    """
    record, beside = measured.records[0], measured.records[1]
    runtime, point = record.runtime, record.operating_point
    same = profile.versions.get(runtime) == measured.versions.get(runtime) and runtime in profile.fits
    if not same or point.batch != 1 or point.threads != profile.threads or runtime != _RUNTIME:
        return None
    ms, anchor_ms = _median_ms(record), _median_ms(beside)
    if ms is None or anchor_ms is None or beside.network != anchor.NAME or not record.layers:
        return None
    graph = read(network)
    fusion = rules([runtime], profile.isa)[runtime]
    kernels = fusion.kernels(graph)
    told = sum(layer.ms for layer in record.layers)
    found = fusion.matched(kernels, record.layers)
    if sum(own for own in found if own is not None) < _LEAST_MATCHED * told:
        return None
    pace = anchor_ms / profile.anchor_ms[runtime]
    probe = Probe(
        name=f"engine {record.digest[:16]}",
        scheme=scheme_of(graph, profile),
        runtime=runtime,
        ms=ms / pace,
        runs=len(record.per_process.get(latency_name(50), ())),
        scatter=0.0,
        pace=pace,
        rows=len(record.layers),
        rows_ms=told / pace,
        kernels=tuple(
            TimedKernel(one.anonymous(), own and own / pace) for one, own in zip(kernels, found, strict=True)
        ),
    )
    others = [old for old in profile.probes if (old.name, old.runtime) != (probe.name, runtime)]
    return profile.model_copy(update={"probes": (*others, probe)})


def _median_ms(record: EngineRecord) -> float | None:
    values = record.per_process.get(latency_name(50))
    return median(values) if values else None
