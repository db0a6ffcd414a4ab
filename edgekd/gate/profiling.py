"""`edgekd profile`: everything there is to know about the cost of one engine on this machine."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import astuple
from pathlib import Path
from typing import NamedTuple

from edgekd import target as targets
from edgekd.connection.connection import Connection
from edgekd.connection.ssh import at
from edgekd.errors import TargetError
from edgekd.figure import Figure
from edgekd.gate.bench import Asked, Bench, Given, bench
from edgekd.gate.looks import remarks, single_series
from edgekd.gate.raw import emptied
from edgekd.measure import anchor, evaluate, machine
from edgekd.measure.layers import LayerTable, measure_layers
from edgekd.measure.meter import METERS, create
from edgekd.measure.variance import scatter
from edgekd.profile import EngineRecord, Layer, Profile, latency_name
from edgekd.schema import write_json
from edgekd.stage import Progress
from edgekd.target import Target

FILE = "profile.json"
_LATENCY = "latency"


class Profiled(NamedTuple):
    """A profile, and what it does not hold."""

    profile: Profile
    layers: LayerTable
    remarks: tuple[str, ...]
    file: Path

    @property
    def record(self) -> EngineRecord:
        """Return the record of the engine; the other one is the anchor's."""
        return self.profile.records[0]

    @property
    def doubts(self) -> list[str]:
        """Return why the latencies cannot be trusted, nothing when they can."""
        return [*self.profile.machine["doubts"], *self.profile.machine["engine_doubts"].values()]


def measured_as(name: str, connection: Connection) -> Target:
    """Return the target called `name`; raises TargetError when the machine that measures is another one."""
    host = connection.target()
    found = targets.load(name, host)
    if found.name != host:
        instead = "leave --target out" if host else "give a target file of your own"
        raise TargetError(
            f"{found.name} is not {connection.name}, which is {host or 'no target edgekd knows'}; name the device with "
            f"--device, or {instead}"
        )
    return found


def profiled(  # noqa: PLR0917
    given: Given, target: str, asked: Asked, percentile: float, processes: int, raw: Path, progress: Progress
) -> Profiled:
    """Measure an engine on a target that is at hand with every meter, its layers in a run of their own.

    Written to `<raw>/profile.json`. Latency is measured interleaved with the anchor; its scatter is told apart by
    runs and processes. A meter that finds nothing to measure here is a remark. Raises UsageError, TargetError,
    ExportError or MeasurementError.
    """
    with ExitStack() as stack:
        connection = stack.enter_context(at(asked.device))
        named = measured_as(target, connection).name
        here = stack.enter_context(bench([given], asked, None, progress, connection))
        anchored = anchor.engine(here.engines[0].runtime, here.folder)
        log = emptied(raw) / f"{_LATENCY}.jsonl"
        series = single_series(here, (*here.engines, anchored), percentile, log, processes)
        figures, said = _metered(here, percentile, raw)
        layers = measure_layers(here.engines[0], here.setup(percentile, raw))
        every = {f.name: f for f in (*series.records[0].figures, *_scatter(log, here), *figures)}
        record = series.records[0].replace(
            figures=tuple(every.values()), layers=tuple(Layer(*astuple(layer)) for layer in layers.layers)
        )
        profile = machine.profiled(named, "device", (record, *series.records[1:]), series.machine, connection.probe())
        write_json(profile, raw / FILE)
        return Profiled(profile, layers, (*remarks(here, series), *said), raw / FILE)


def _metered(here: Bench, percentile: float, raw: Path) -> tuple[list[Figure], list[str]]:
    """Return what all meters but that of the latency found, and what they say."""
    figures: list[Figure] = []
    said: list[str] = []
    setup = here.setup(percentile, raw)
    for name in METERS.names():
        if name == _LATENCY:
            continue
        try:
            reading = create(name).measure(here.engines, setup)
        except TargetError as error:
            said.append(f"{name} was not measured: {error}")
            continue
        figures += reading.figures[here.engines[0].key]
        said += [*reading.remarks, *(f"{name}: {doubt}" for doubt in reading.doubts.values())]
    if here.samples.labels is not None:
        answers = here.answers()
        evaluate.write_raw(raw / "answers.jsonl", answers)
        figures += evaluate.figures(answers[here.engines[0].key], None, "device")
    return figures, list(dict.fromkeys(said))


def _scatter(log: Path, here: Bench) -> list[Figure]:
    """Return how much of the latency's scatter is between runs of a process and between processes, in percent."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    runs = [
        [ms for block in line["blocks"] for ms in block["ms"]]
        for line in lines
        if line["kind"] == "process" and line["engine"] == here.engines[0].key
    ]
    found = scatter(runs)
    named = {"run_scatter_percent": found.run, "process_scatter_percent": found.process}
    return [Figure(name=name, value=100 * value, origin="device", samples=len(runs)) for name, value in named.items()]


def result(found: Profiled, percentile: float) -> str:
    """Return the profile in one line."""
    figure = found.record.figure(latency_name(percentile))
    doubts = "".join(f"; {doubt}" for doubt in found.doubts)
    told = f"p{percentile:g} is {figure.text()} ms" if figure is not None else "no latency"
    outcome = "not trustworthy" if found.doubts else "profiled"
    return f"{outcome}: {found.record.key} on {found.profile.target}: {told}{doubts}"
