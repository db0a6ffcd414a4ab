"""The end of a run: the test split is read once, by the winner and the teacher; bundle and report are written."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from edgekd import bundle
from edgekd.artifact import ArtifactSet
from edgekd.bundle import Description, Preprocessing, Shipment
from edgekd.errors import MeasurementError
from edgekd.figure import Figure
from edgekd.gate import verdict as gate
from edgekd.measure.comparison import SHARE, fastest_teacher, paired_ratio
from edgekd.measure.engine import Engine
from edgekd.measure.evaluate import evaluate_split
from edgekd.measure.stage import engines_of
from edgekd.pipeline.confirmation import Confirmed
from edgekd.pipeline.request import Request
from edgekd.pipeline.runner import Runner
from edgekd.profile import EngineRecord, Profile, latency_name
from edgekd.report import Round, Row, RunReport
from edgekd.schema import write_json
from edgekd.stage import Context
from edgekd.target import FLOAT_SCHEMES
from edgekd.train import data
from edgekd.train.dataset import DataSet

_SHOWN = ("accuracy_percent", "accuracy_drop", "ece", "adaptive_ece", "brier", "size_mb", "peak_memory_mb")
_COUNTED = ("parameters", "macs")


def close(  # noqa: PLR0917
    asked: Request,
    runner: Runner,
    rounds: Sequence[Round],
    artifacts: ArtifactSet,
    profile: Profile,
    chosen: EngineRecord,
    confirmed: Confirmed,
) -> RunReport:
    """Judge the winner on the test split, write the bundle and the profile, and return the report.

    The table compares all engines by the series they were measured in together; verdict and bundle rest on the fresh
    one of the chosen engine and the teacher's.
    """
    context, budget = runner.context, asked.recipe.budget
    engines = {engine.key: engine for engine in engines_of(artifacts, context)}
    teacher = fastest_teacher(profile.records, budget.percentile)
    if teacher is None:
        raise MeasurementError("the profile holds no float engine of the teacher to compare with")
    tested = _test([engines[chosen.key], engines[teacher.key]], teacher.key, context)
    verdict = gate.judge(confirmed.chosen, confirmed.profile, budget, tested[chosen.key])
    rows = _rows(profile, chosen, teacher, artifacts, budget.percentile, tested)
    figures = (*confirmed.chosen.figures, *tested[chosen.key])
    _ship(asked.run_folder / "bundle", profile, chosen, engines, artifacts, context, figures)
    write_json(profile, asked.run_folder / "profile.json")
    return RunReport(
        verdict=verdict,
        key=asked.key,
        title=asked.recipe.title or asked.recipe.data.name or "edgekd",
        target=asked.target.name,
        target_resolved_from=asked.asked_target,
        bundle="bundle",
        seconds=sum(line.seconds for line in runner.lines),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        rows=tuple(rows),
        rounds=tuple(rounds),
        stages=tuple(runner.lines),
        machine=confirmed.profile.machine,
        versions=profile.versions,
        unfinished=_left_to_do(asked) if context.elsewhere else None,
    )


def _left_to_do(asked: Request) -> str:
    """Return the command that does what is left where the device was not at hand."""
    folder, whose = (asked.run_folder, "") if asked.part_of is None else (asked.part_of, f"{asked.target.name}=")
    return f"edgekd compress --resume {shlex.quote(str(folder))} --device {whose}user@host"


def _test(engines: list[Engine], baseline: str, context: Context) -> dict[str, tuple[Figure, ...]]:
    """Return accuracy and paired drop on the test split, of the engines themselves."""
    loaded = data.load(context.recipe.data)
    unique = list({engine.key: engine for engine in engines}.values())
    return evaluate_split(
        unique,
        data.normalised(loaded.test, loaded),
        loaded.test.labels,
        context.run_folder / "test",
        baseline=baseline,
        origin=context.origin,
        progress=context.progress,
        title="accuracy on the test split",
        connection=context.connection,
    )


def _rows(  # noqa: PLR0917
    profile: Profile,
    chosen: EngineRecord,
    teacher: EngineRecord,
    artifacts: ArtifactSet,
    percentile: float,
    tested: dict[str, tuple[Figure, ...]],
) -> list[Row]:
    """Return one row a step of the way: teacher, student, pruned, quantized; each at its fastest runtime."""
    steps = dict.fromkeys((record.network, record.scheme) for record in profile.records)
    order = {artifact.network: place for place, artifact in enumerate(artifacts.all(written_as="torch"))}
    rows, before = [], teacher
    for network, scheme in sorted(steps, key=lambda step: (order.get(step[0], 0), step[1] not in FLOAT_SCHEMES)):
        record = _fastest(profile, network, scheme, percentile)
        if record.network == chosen.network and record.scheme == chosen.scheme:
            record = chosen
        counted = [f for a in artifacts.all(network=network, written_as="torch") for f in a.figures]
        figures = [
            _renamed(record, latency_name(percentile)),
            paired_ratio(record, teacher, percentile, SHARE),
            paired_ratio(before, record, percentile, "speedup_over_previous"),
            *(f for name in _SHOWN if (f := record.figure(name))),
            *(f.replace(name=f"{f.name}_test") for f in tested.get(record.key, ())),
            *{f.name: f for f in counted if f.name in _COUNTED}.values(),
        ]
        what = f"{network} in {scheme}" + (" (shipped)" if record is chosen else "")
        rows.append(Row(what=what, engine=record.key, figures=tuple(figures)))
        before = record
    return rows


def _fastest(profile: Profile, network: str, scheme: str, percentile: float) -> EngineRecord:
    name = latency_name(percentile)
    records = [record for record in profile.records if (record.network, record.scheme) == (network, scheme)]
    return min(records, key=lambda record: _renamed(record, name).value)


def _renamed(record: EngineRecord, name: str) -> Figure:
    found = record.figure(name)
    if found is None:
        raise MeasurementError(f"{record.key} was measured without {name}")
    return found


def _ship(  # noqa: PLR0917
    folder: Path,
    profile: Profile,
    chosen: EngineRecord,
    engines: dict[str, Engine],
    artifacts: ArtifactSet,
    context: Context,
    figures: tuple[Figure, ...],
) -> None:
    """Write the bundle: the chosen engine first, then the best engine of the same network for every other runtime."""
    percentile = context.recipe.budget.percentile
    others = {record.runtime for record in profile.records} - {chosen.runtime}
    best = [
        min(candidates, key=lambda record: _renamed(record, latency_name(percentile)).value)
        for runtime in sorted(others)
        if (candidates := [r for r in profile.records if (r.network, r.runtime) == (chosen.network, runtime)])
    ]
    shipments = []
    for record in (chosen, *best):
        onnx = artifacts.newest(network=record.network, scheme=record.scheme, written_as="onnx")
        shown = {f.name: f for f in (figures if record is chosen else record.figures)}
        shipments.append(
            Shipment(
                runtime=record.runtime,
                network=record.network,
                scheme=record.scheme,
                engine=engines[record.key].path,
                onnx=context.path(onnx),
                figures=tuple(shown.values()),
                built=not context.elsewhere,
            )
        )
    source = artifacts.newest(network=chosen.network, scheme="fp32", written_as="onnx")
    loaded = data.load(context.recipe.data)
    description = Description(
        name=context.recipe.title or loaded.name,
        target=context.target.name,
        threads=context.recipe.budget.operating_point.threads,
        input=source.inputs[0],
        output=source.outputs[0],
        preprocessing=_preprocessing(loaded),
        class_names=loaded.class_names,
        versions=profile.versions,
    )
    bundle.write(folder, description, shipments, _beside(shipments, chosen, profile, artifacts, context))


def _beside(
    shipments: Sequence[Shipment], chosen: EngineRecord, profile: Profile, artifacts: ArtifactSet, context: Context
) -> list[Shipment]:
    """Return the chosen network in the arithmetic no engine was chosen in; the device may find that one faster."""
    if not context.elsewhere:
        return []
    shipped = {shipment.scheme for shipment in shipments}
    found = {r.scheme: r for r in profile.records if r.network == chosen.network and r.scheme not in shipped}
    files = {
        scheme: context.path(artifacts.newest(network=chosen.network, scheme=scheme, written_as="onnx"))
        for scheme in found
    }
    return [Shipment(found[s].runtime, chosen.network, s, engine=file, onnx=file) for s, file in files.items()]


def _preprocessing(loaded: DataSet) -> Preprocessing:
    """Return how the raw images of this data set become the network's input, as `data.normalised` does it."""
    if loaded.test.inputs.dtype == "uint8":
        return Preprocessing(mean=loaded.mean, std=loaded.std)
    return Preprocessing(pixels="float32", divisor=1, mean=loaded.mean, std=loaded.std)
