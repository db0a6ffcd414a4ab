from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgekd.artifact import ArtifactSet
from edgekd.budget import Budget
from edgekd.errors import EdgekdError, TargetError
from edgekd.gate.verdict import choose, judge
from edgekd.measure import stage
from edgekd.measure.series import looks_of
from edgekd.measure.stage import MeasureConfig, MeasureStage, engines_of
from edgekd.profile import Profile
from edgekd.recipe import DataSpec, ModelSpec, Recipe
from edgekd.schema import read_json
from edgekd.stage import Context
from edgekd.target import Quantization, Sourced, Target
from edgekd.train.dataset import DataSet, Split
from tests.measure.tiny_engines import CLASSES, SHAPE, write_onnx, write_openvino

_TARGET = Target(
    name="board",
    title="a board",
    machine="x86_64",
    runtimes=("openvino", "onnxruntime"),
    precisions=("fp32", "int8"),
    quantization={"onnxruntime": Quantization(scheme="u8w8", source="made up here", evidence="reported")},
    channel_step={"fp32": Sourced(value=8, source="made up here", evidence="reported")},
)


def tiny_data() -> DataSet:
    """Return 40 random images a split."""
    random = np.random.default_rng(0)
    labels = np.arange(40) % CLASSES
    splits = [Split(random.random((40, *SHAPE), np.float32), labels.astype(np.int64)) for _ in range(4)]
    return DataSet("tiny", *splits, class_names=("a", "b", "c"), mean=(0.5,), std=(0.5,))


def _context(folder: Path, *, is_device: bool = True) -> Context:
    recipe = Recipe(
        model=ModelSpec(name="resnet"),
        data=DataSpec(factory="tests.measure.test_stage:tiny_data"),
        budget=Budget(latency_ratio=0.9, accuracy_drop=100, peak_memory_mb=500, size_mb=1),
        stages={},
    )
    return Context(folder, folder / "stages" / "measure", folder / "cache", recipe, _TARGET, is_device)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return _context(tmp_path)


@pytest.fixture
def artifacts(context: Context) -> ArtifactSet:
    """Return a heavy teacher and a light student; the student also in a scheme that only one runtime wants."""
    found = ArtifactSet()
    for network, scheme, layers in (("teacher", "fp32", 10), ("pruned", "fp32", 1), ("pruned", "u8w8", 1)):
        path = write_onnx(context.run_folder / f"{network}-{scheme}.onnx", layers, channels=16)
        folder = write_openvino(path, context.run_folder / f"{network}-{scheme}")
        for place, written_as in ((path, "onnx"), (folder, "openvino")):
            fields = {"network": network, "scheme": scheme, "format": written_as, "made_by": "test"}
            found = found.add(context.store(place, **fields))
    return found


def _run(artifacts: ArtifactSet, context: Context, processes: int) -> tuple[Profile, ArtifactSet]:
    config = MeasureConfig(processes=processes, memory_processes=1, inputs=8)
    found = MeasureStage(config).run(artifacts, context)
    return read_json(Profile, context.path(found.newest(network="measured", written_as="profile"))), found


def test_a_limit_of_energy_needs_a_counter(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    rapl = SimpleNamespace(close=lambda: closed.append("rapl"))
    limited = replace(context, recipe=context.recipe.replace(budget=Budget(energy_mj=1)))
    monkeypatch.setattr(stage, "counters", lambda runtime: ([rapl], {}))
    MeasureStage(MeasureConfig()).requires(ArtifactSet(), limited)
    assert closed == ["rapl"]
    monkeypatch.setattr(stage, "counters", lambda runtime: ([], {"rapl": "absent: no package"}))
    MeasureStage(MeasureConfig()).requires(ArtifactSet(), context)
    with pytest.raises(TargetError, match="rapl absent: no package"):
        MeasureStage(MeasureConfig()).requires(ArtifactSet(), limited)


def test_every_engine_the_target_runs_has_all_its_figures(context: Context, artifacts: ArtifactSet) -> None:
    profile, found = _run(artifacts, context, 1)
    assert {record.key for record in profile.records} == {
        "teacher/fp32/openvino",
        "pruned/fp32/openvino",
        "teacher/fp32/onnxruntime",
        "pruned/fp32/onnxruntime",
        "pruned/u8w8/onnxruntime",
    }
    names = {"latency_ms_p50", "latency_ms_p90", "peak_memory_mb", "accuracy_percent", "accuracy_drop", "size_mb"}
    for record in profile.records:
        assert names <= {figure.name for figure in record.figures}
        assert record.figure("accuracy_drop").samples == 40
    assert profile.origin == "device"
    assert profile.record("teacher", "fp32", "onnxruntime").figure("accuracy_drop").value == 0
    assert len(list((context.folder / "validation").glob("teacher-*.npy"))) == 2
    artifact = found.newest(network="measured")
    assert set(artifact.parents) == {a.key for a in artifacts.artifacts if a.key != "pruned/u8w8/openvino"}


def test_the_profile_can_be_judged_and_extended(context: Context, artifacts: ArtifactSet) -> None:
    profile, found = _run(artifacts, context, 1)
    best, _ = choose(profile, context.recipe.budget)
    assert best.network == "pruned"
    assert judge(best, profile, context.recipe.budget).exit_code == 5  # one process is no evidence
    more, _ = _run(found, context, 2)
    for before, after in zip(profile.records, more.records, strict=True):
        assert after.per_process["load_ms"][:1] == before.per_process["load_ms"]
        assert looks_of(after) == [1, 2]


def test_another_machine_gives_host_figures(tmp_path: Path, context: Context, artifacts: ArtifactSet) -> None:
    del context
    profile, _ = _run(artifacts, _context(tmp_path, is_device=False), 1)
    assert profile.origin == "host"
    assert {f.origin for record in profile.records for f in record.figures} == {"host", "counted"}


def test_nothing_to_measure_is_an_error(context: Context) -> None:
    assert engines_of(ArtifactSet(), context) == []
    with pytest.raises(EdgekdError, match="no engine"):
        _run(ArtifactSet(), context, 1)
