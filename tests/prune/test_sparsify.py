"""Two of every four weights go and never come back: through recovery, quantization-aware training and every file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from edgekd import target as targets
from edgekd.artifact import Artifact, ArtifactSet
from edgekd.errors import EdgekdError, UsageError
from edgekd.export.sparse_layers import shares
from edgekd.export.stage import ExportStage
from edgekd.models.two_of_four import KEY, largest, share
from edgekd.prune.sparsify import SparsifyStage
from edgekd.prune.stage import PruneStage
from edgekd.quantize import checkpoint as quantized_checkpoint
from edgekd.quantize.qat import Outcome
from edgekd.quantize.stage import QuantizeStage
from edgekd.stage import Context
from edgekd.train import checkpoint
from tests.distill.tiny_run import context, with_teacher

SHORT = {"epochs": 1, "batch": 32, "learning_rate": 0.02}
FITTING = ("first", "second", "shortcut", "head")
"""Of a ResidualCnn; its stem reads one channel."""


def stage(**options: Any) -> SparsifyStage:
    return SparsifyStage(SparsifyStage.Config.model_validate({"recovery": SHORT, **options}))


def place(root: Path, name: str, target: str = "jetson-orin-nano", **changes: Any) -> Context:
    loaded = targets.load(target)
    return replace(context(root, name, **changes), target=loaded, elsewhere=loaded.needs_gpu)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ArtifactSet]:
    root = tmp_path_factory.mktemp("sparsify")
    return root, with_teacher(root)


def run(sparsify: SparsifyStage, artifacts: ArtifactSet, where: Context) -> Artifact:
    sparsify.requires(artifacts, where)
    done = sparsify.run(artifacts, where)
    sparsify.ensures(done, where)
    return done.newest(network="sparse", scheme="fp32", written_as="torch")


def trained(module: nn.Module, *, train: Callable[[nn.Module], object], **_: object) -> Outcome:
    """Keep what quantization-aware training makes, be it worse or not."""
    train(module)
    return Outcome(module, 0.0, 0.0, "trained")


def weights(artifact: Artifact, where: Context) -> dict[str, torch.Tensor]:
    return load_file(where.path(artifact) / "weights.safetensors")


def test_without_training_the_largest_two_of_four_are_left_as_they_were(taught: tuple[Path, ArtifactSet]) -> None:
    root, artifacts = taught
    where = place(root, "cut")
    sparse = run(stage(recovery=None), artifacts, where)
    teacher = artifacts.newest(network="teacher", written_as="torch")
    assert sparse.parents == (teacher.key,)
    before, after = weights(teacher, where), weights(sparse, where)
    for name, weight in before.items():
        kept = largest(weight.numpy()) if name.removesuffix(".weight") in FITTING else np.bool_(True)
        assert np.array_equal(after[name].numpy(), weight.numpy() * kept), name
    figures = {figure.name: figure.value for figure in sparse.figures}
    halves = sum(before[f"{name}.weight"].numel() for name in FITTING) / 2
    assert figures["sparsity"] == pytest.approx(halves / figures["parameters"])
    assert figures["accuracy_percent_cut"] == figures["accuracy_percent"]
    assert sparse.notes["two_of_four"] == ", ".join(FITTING)
    assert sparse.notes["dense"] == "stem: it adds up 1 inputs, which is no multiple of 4"


def test_layers_are_chosen_by_patterns_and_the_others_named(taught: tuple[Path, ArtifactSet]) -> None:
    root, artifacts = taught
    where = place(root, "patterns")
    sparse = run(stage(recovery=None, include=["first", "s*"], exclude=["second"]), artifacts, where)
    assert checkpoint.describe(where.path(sparse)).extra[KEY] == ["first.weight", "shortcut.weight"]
    assert "second: excluded by the recipe; head: not included by the recipe" in sparse.notes["dense"]
    with pytest.raises(UsageError, match=r"stages\.sparsify\.exclude: the pattern 'frist' .* did you mean 'first'"):
        run(stage(exclude=["frist"]), artifacts, where)
    with pytest.raises(UsageError, match=r"can be 2:4: stem: it adds up 1 inputs.*; first: not included"):
        run(stage(include=["stem"]), artifacts, where)


@pytest.mark.parametrize(("target", "scheme"), [("jetson-orin-nano", "s8"), ("x86-avx2", "u8w7")])
def test_zeros_stay_from_pruning_to_the_files(
    target: str, scheme: str, taught: tuple[Path, ArtifactSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, artifacts = taught
    monkeypatch.setattr("edgekd.quantize.stage.train_where_needed", trained)
    pruning = {"speedup": 1.3, "channel_step": 4, "samples": 64, "recovery": SHORT, "max_ratio": 0.5}
    done = PruneStage(PruneStage.Config.model_validate(pruning)).run(artifacts, place(root, f"prune-{target}", target))
    where = place(root, f"sparsify-{target}", target)
    sparsify = stage(anyway=True)
    done = sparsify.run(done, where)
    sparse = done.newest(network="sparse")
    assert sparse.parents == ("pruned/fp32/torch",)
    again = sparsify.run(done, where).newest(network="sparse")
    assert again.digest == sparse.digest, "what was killed ends as it would have"
    zeros = {f"{name}.weight": weights(sparse, where)[f"{name}.weight"] == 0 for name in FITTING}
    assert all(int(zero.sum()) * 2 == zero.numel() for zero in zeros.values())

    qat = {**SHORT, "optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 0.1}
    quantize = QuantizeStage(QuantizeStage.Config.model_validate({"qat": qat}))
    on_quantize = place(root, f"quantize-{target}", target)
    done = quantize.run(done, on_quantize)
    integers = done.newest(network="sparse", scheme=scheme, written_as="torch")
    module = quantized_checkpoint.load(on_quantize.path(integers))
    for name, zero in zeros.items():
        weight = module.get_parameter(name).detach()
        assert not weight[zero].any(), name
        assert weight[~zero].any(), name

    export, on_export = ExportStage(ExportStage.Config()), place(root, f"export-{target}", target)
    done = export.run(done, on_export)
    export.ensures(done, on_export)
    files = {a.scheme: on_export.path(a) for a in done.all(network="sparse", written_as="onnx")}
    assert set(files) == {"fp32", scheme, *on_export.target.float_schemes()}
    for path in files.values():
        found = list(shares(onnx.load(path)).values())
        assert sorted(found)[1:] == [1.0] * len(FITTING), "all layers but the stem"
        assert min(found) == 0.0
    dense = done.newest(network="teacher", scheme="fp32", written_as="onnx")
    assert set(shares(onnx.load(on_export.path(dense))).values()) == {0.0}


def test_an_artifact_that_is_not_what_it_says_is_refused(taught: tuple[Path, ArtifactSet]) -> None:
    root, artifacts = taught
    where = place(root, "lying")
    teacher = artifacts.newest(network="teacher", written_as="torch")
    model, told = checkpoint.load(where.path(teacher)), checkpoint.describe(where.path(teacher))
    assert share(model.get_parameter("first.weight").detach().numpy()) == 0.0
    probe = torch.zeros(1, *told.input_shape)
    extra = {KEY: ["first.weight"]}
    checkpoint.save(model, where.folder / "dense", told.spec, told.input_shape, told.classes, probe, extra)
    fake = where.store(where.folder / "dense", network="sparse", format="torch", made_by="sparsify")
    with pytest.raises(EdgekdError, match=r"sparse/fp32/torch is not 2:4: first\.weight"):
        stage().ensures(artifacts.add(fake), where)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("x86-vnni", r"save nothing on x86-vnni: it skips no zeros \(neither OpenVINO nor ONNX Runtime"),
        ("jetson-agx-xavier", r"save nothing on jetson-agx-xavier: it skips no zeros \(Volta"),
        ("nvidia-gpu", "nobody says whether it skips zeros; .* or set anyway: true"),
    ],
)
def test_a_target_that_skips_no_zeros_is_refused_unless_it_is_meant(target: str, said: str, tmp_path: Path) -> None:
    where = place(tmp_path, "refused", target)
    with pytest.raises(UsageError, match=said):
        stage().requires(ArtifactSet(), where)
    stage(anyway=True).requires(ArtifactSet(), where)


def test_an_unknown_loss_is_refused_before_any_training(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'dist'"):
        stage(recovery={"losses": {"dits": {}}}).requires(ArtifactSet(), place(tmp_path, "early"))


def test_every_option_is_described() -> None:
    assert all(field.description for field in SparsifyStage.Config.model_fields.values())
