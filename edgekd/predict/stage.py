"""What a run ends with where its target is not at hand: predicted latency, counted size, computed accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekd.artifact import ArtifactSet
from edgekd.errors import EdgekdError
from edgekd.figure import Figure
from edgekd.measure import machine
from edgekd.measure.comparison import fastest_teacher
from edgekd.measure.engine import Engine
from edgekd.measure.stage import MeasureStage, accuracies, engines_of, stored
from edgekd.predict.forecast import Forecast
from edgekd.profile import EngineRecord, Profile
from edgekd.stage import Context
from edgekd.target import FLOAT_SCHEMES


class PredictStage(MeasureStage):
    """In the place of the measure stage: the same profile, with `origin` predicted and nothing that was run there.

    Accuracy is that of the ONNX files' own arithmetic, computed operator by operator on this machine.
    """

    def requires(self, artifacts: ArtifactSet, context: Context) -> None:
        """Refuse a target whose file says nothing to predict from."""
        del artifacts
        Forecast(context.target)

    def run(self, artifacts: ArtifactSet, context: Context) -> ArtifactSet:
        """Return the artifacts with the profile `measured`, of what was not."""
        engines = engines_of(artifacts, context)
        if not engines:
            raise EdgekdError("there is no engine to predict; the export stage comes first")
        records = _records(engines, artifacts, context)
        found = accuracies(engines, records, context)
        records = [record.replace(figures=(*record.figures, *found[record.key])) for record in records]
        return artifacts.add(stored(_profile(records, context), engines, artifacts, context))


def _records(engines: Sequence[Engine], artifacts: ArtifactSet, context: Context) -> list[EngineRecord]:
    """Return latency, size and the share of the teacher's latency of every engine."""
    budget, forecast = context.recipe.budget, Forecast(context.target)
    asked = {engine.key: forecast.work(_source(engine, artifacts, context), engine.scheme) for engine in engines}
    records = []
    for engine in engines:
        size = Figure(name="size_mb", value=engine.size_mb, origin="counted")
        latency = forecast.latency(asked[engine.key], budget.percentile)
        records.append(engine.record(budget.operating_point, figures=(latency, size)))
    teacher = fastest_teacher(records, budget.percentile)
    if teacher is None:
        raise EdgekdError("there is no float engine of the teacher to compare with; the export stage comes first")
    shares = {key: forecast.share(work, asked[teacher.key]) for key, work in asked.items()}
    return [record.replace(figures=(*record.figures, shares[record.key])) for record in records]


def _source(engine: Engine, artifacts: ArtifactSet, context: Context) -> Path:
    """Return the file to count by: half precision changes the types of one, not what there is to compute."""
    if engine.scheme not in FLOAT_SCHEMES:
        return engine.path
    return context.path(artifacts.newest(network=engine.network, scheme="fp32", written_as="onnx"))


def _profile(records: list[EngineRecord], context: Context) -> Profile:
    here = machine.probe()
    return Profile(
        target=context.target.name,
        origin="predicted",
        machine={"remarks": [f"accuracy was computed on {here.get('cpu') or 'this machine'}"]},
        versions=here["versions"],
        records=tuple(records),
    )
