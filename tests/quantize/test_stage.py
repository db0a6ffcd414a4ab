from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekd import target as targets
from edgekd.artifact import ArtifactSet, digest_of_path
from edgekd.errors import UsageError
from edgekd.measure import machine
from edgekd.quantize import checkpoint
from edgekd.quantize.stage import QuantizeStage
from edgekd.runtime.session import open_session
from edgekd.train import data
from edgekd.train.evaluate import accuracy, logits
from tests.distill.tiny_run import context, with_teacher


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ArtifactSet]:
    root = tmp_path_factory.mktemp("taught")
    return root, with_teacher(root)


def stage(**config: object) -> QuantizeStage:
    return QuantizeStage(QuantizeStage.Config.model_validate(config))


def test_calibration_gives_a_checkpoint_and_an_engine_of_the_same_accuracy(taught: tuple[Path, ArtifactSet]) -> None:
    root, artifacts = taught
    here = targets.load("host", machine.host_target())
    place = replace(context(root, "quantize"), target=here)
    found = stage(qat_when="never").run(artifacts, place)
    (scheme,) = here.schemes()
    network = found.newest(network="teacher", scheme=scheme, written_as="torch")
    file = found.newest(network="teacher", scheme=scheme, written_as="onnx")
    assert network.parents == ("teacher/fp32/torch",)
    assert file.parents == (network.key,)
    assert digest_of_path(place.path(file)) == file.digest
    assert "not trained" in network.notes["quantization"]
    figures = {figure.name: figure.value for figure in file.figures}
    assert figures["layer_difference_steps_onnxruntime"] <= 1
    assert figures["layer_difference_steps_openvino"] <= 1
    assert abs(figures["accuracy_percent"] - figures["float_accuracy_percent"]) < 5
    dataset = data.load(place.recipe.data)
    images, labels = data.normalised(dataset.validation, dataset), dataset.validation.labels
    again = accuracy(logits(checkpoint.load(place.path(network)), images), labels)
    assert again == pytest.approx(figures["accuracy_percent"], abs=1.6)
    session = open_session("onnxruntime", str(place.path(file)), batch=None)
    assert accuracy(session.run([images])[0], labels) == pytest.approx(figures["accuracy_percent"], abs=1.6)


def test_one_variant_per_scheme_of_the_target_and_the_same_one_again(taught: tuple[Path, ArtifactSet]) -> None:
    root, artifacts = taught
    place = context(root, "again")
    mixed = targets.load("x86-vnni")
    other = mixed.quantization["openvino"].replace(scheme="u8w7")
    place = type(place)(
        **{**vars(place), "target": mixed.replace(quantization={**mixed.quantization, "openvino": other})}
    )
    first = stage(qat_when="never").run(artifacts, place)
    assert [a.scheme for a in first.all(written_as="onnx")] == ["u8w7", "u8w8"]
    second = stage(qat_when="never").run(artifacts, place)
    assert [a.digest for a in first.all(written_as="onnx")] == [a.digest for a in second.all(written_as="onnx")]
    shares = {a.scheme: a.figure("saturation_share").value for a in first.all(written_as="onnx")}
    assert shares["u8w7"] == 0


def test_training_under_the_teacher_runs_and_never_ends_below_calibration(taught: tuple[Path, ArtifactSet]) -> None:
    root, artifacts = taught
    place = context(root, "trained")
    qat = {"epochs": 1, "batch": 32, "optimizer": "adamw", "learning_rate": 3e-4}
    found = stage(qat_when="always", qat=qat).run(artifacts, place)
    file = found.newest(scheme="u8w8", written_as="onnx")
    figures = {figure.name: figure.value for figure in file.figures}
    assert figures["accuracy_percent"] >= figures["calibrated_accuracy_percent"]
    assert "won back" in file.notes["quantization"] or "rolled back" in file.notes["quantization"]
    assert (place.folder / "u8w8" / "training").is_dir()


def test_wrong_options_are_refused_before_anything_is_trained(taught: tuple[Path, ArtifactSet]) -> None:
    root, artifacts = taught
    place = context(root, "refused")
    with pytest.raises(UsageError, match="unknown name 'mean'"):
        stage(observer="mean").requires(artifacts, place)
    with pytest.raises(UsageError, match="'nonsense'"):
        stage(qat={"losses": {"nonsense": {}}}).requires(artifacts, place)
    assert np.isfinite(stage().config.tolerance)


def test_a_target_without_integers_gets_no_variant(taught: tuple[Path, ArtifactSet]) -> None:
    root, artifacts = taught
    place = context(root, "float")
    place = type(place)(**{**vars(place), "target": place.target.replace(quantization={})})
    assert stage().run(artifacts, place) == artifacts
