"""Bad input ends with one clear sentence and its exit code, loses nothing, and the mended command goes on."""

from __future__ import annotations

import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.cli import user_factories
from tests.cli.desk import Desk, ended, images, model, refused, stages

SPACE = {"search": {"space_options": {"depths": [8]}}}
NAMES = {
    "target": ({"target": "x86-avx"}, r"mine\.yaml:6: unknown target 'x86-avx'; did you mean 'x86-avx2'"),
    "key": ({"colour": 1}, r"mine\.yaml:\d+: unknown key 'colour'"),
    "nested key": ({"budget": {"latency": 1}}, r"mine\.yaml:8: unknown key 'budget\.latency'; did you mean 'latency_"),
    "stage": (stages(distil={}), r"mine\.yaml:1\d: unknown stage 'distil' .*; did you mean 'distill'"),
    "option": (
        stages(teacher={"epoch": 3}),
        r"mine\.yaml:11: unknown key 'stages\.teacher\.epoch'; did you mean 'epochs'",
    ),
    "value": (stages(teacher={"epochs": 0}), r"mine\.yaml:11: stages\.teacher\.epochs = 0"),
    "data set": ({"data": {"name": "mnist5"}}, r"mine\.yaml:5: unknown name 'mnist5' .*did you mean 'mnist5k'"),
    "network": ({"model": {"name": "resnt"}}, r"mine\.yaml:3: unknown name 'resnt' .*did you mean 'resnet'"),
    "network's option": (
        {"model": {"name": "resnet", "options": {"dept": 8}}},
        r"mine\.yaml:5: options of model 'resnet': unknown key 'dept'; did you mean 'depth'",
    ),
    "augmentation": (images("mine:data", augmentation="afine"), r"mine\.yaml:6: unknown name 'afine' .*'affine'"),
    "loss": (
        stages(**SPACE, distill={"losses": {"logit-kl": {}}}),
        r"mine\.yaml:\d+: unknown name 'logit-kl' .*did you mean 'logits-kl'",
    ),
    "optimizer": (stages(teacher={"optimizer": "sdg"}), r"mine\.yaml:\d+: unknown name 'sdg' .*did you mean 'sgd'"),
    "schedule": (
        stages(**SPACE, distill={"schedule": "generation"}),
        r"mine\.yaml:\d+: unknown name 'generation' .*did you mean 'generations'",
    ),
    "teacher": (
        stages(**SPACE, distill={"teachers": ["techer"]}),
        r"mine\.yaml:\d+: unknown teacher 'techer'; did you mean 'teacher'",
    ),
    "texts": (
        {"data": {"name": "python-topics"}, "model": {"name": "text-encoder"}},
        r"mine\.yaml:\d+: data set 'python-topics' holds texts; .* not exported yet",
    ),
    "criterion": (
        stages(**SPACE, prune={"speedup": 1.2, "criterion": "tailor"}),
        r"mine\.yaml:\d+: unknown name 'tailor' .*did you mean 'taylor'",
    ),
    "allocator": (
        stages(**SPACE, prune={"speedup": 1.2, "allocator": "uniformly"}),
        r"mine\.yaml:\d+: unknown name 'uniformly' .*did you mean 'uniform'",
    ),
    "observer": (stages(quantize={"observer": "minmx"}), r"mine\.yaml:\d+: unknown name 'minmx' .*'minmax'"),
    "space": (stages(search={"space": "resnets"}), r"mine\.yaml:\d+: unknown name 'resnets' .*'resnet'"),
}
FACTORY = {
    "no reference": (model("mine"), r"mine\.yaml:3: factory 'mine': expected package\.module:function"),
    "no module": (model("nowhere:f"), "module 'nowhere' cannot be found; install it"),
    "broken module": (model("broken:f"), "importing 'broken' failed: AttributeError: .*no_such_thing"),
    "no function": (model("mine:netwrk"), r"has no function 'netwrk'; did you mean 'network'"),
    "raises": (model("mine:raising_network"), "failed with options {}: RuntimeError: no such size"),
    "leaves": (model("mine:leaving_network"), "failed with options {}: SystemExit: 3"),
    "wrong option": (model("mine:network", options={"with": 3}), "unexpected keyword argument 'with'"),
    "no network": (model("mine:no_network"), r"returned str, not a torch\.nn\.Module"),
    "three classes": (model("mine:network_of_three"), r"gives \(2, 3\) .*the data has 4 classes"),
    "data raise": (images("mine:raising_data"), "OSError: the archive is not there"),
    "data in a list": (images("mine:no_data"), r"returned list, not an edgekd\.train\.dataset\.DataSet"),
    "generator": (images("mine:generator"), r"returned generator, not an edgekd\.train\.dataset\.DataSet"),
    "iterator": (images("mine:iterator"), "train: got list_iterator instead of .*Split; collect what an iterator"),
    "lists": (images("mine:lists"), "validation: inputs are list; expected a numpy array"),
    "shape": (images("mine:flat"), r"train: images have shape \(96, 12, 12\); expected \(N, C, H, W\)"),
    "dtype": (images("mine:doubles"), "train: images are float64; expected uint8 .*or float32"),
    "nan": (images("mine:nan"), "validation: 1 image values are NaN or infinite"),
    "missing class": (images("mine:missing_class"), r"train: no sample of class 2 \(sw\)"),
    "labels": (images("mine:far_labels"), "test: labels run from 1 to 4; expected 0 to 3"),
    "batch": (
        stages(teacher={"batch": 128}),
        r"mine\.yaml:11: stages\.teacher\.batch = 128, but there are 96 training",
    ),
    "no weights": (model("mine:network", weights="w.safetensors"), r"mine\.yaml:4: weights .*: no such file: w\.safe"),
    "pickle": (
        model("mine:network", weights="w.pt"),
        r"'w\.pt' are not .*python -c .*torch\.load\('w\.pt', weights_only",
    ),
}


@pytest.mark.parametrize("mistake", [*NAMES, *FACTORY])
def test_a_mistake_is_refused_before_anything_is_touched_and_the_mended_run_is_replayed(
    mistake: str, held: Desk
) -> None:
    change, sentence = {**NAMES, **FACTORY}[mistake]
    before = held.state()
    (held.folder / "w.pt").write_bytes(pickle.dumps({}))
    held.recipe(**change)
    answer = held.compress()
    refused(answer, 2, sentence)
    if mistake in FACTORY:
        assert re.search(r"mine\.yaml:\d+: ", answer.err), "the place in the recipe is missing"
    assert held.state() == before
    held.recipe()
    ended(held.compress())
    assert held.state() == before


def test_a_value_of_the_command_line_is_called_so(desk: Desk) -> None:
    refused(desk.compress("--set", "stages.teacher.epoch=3"), 2, "edgekd: --set stages.teacher.epoch: unknown key")
    refused(
        desk.compress("--set", "model.factory=mine:netwrk"), 2, "edgekd: --set model.factory: factory 'mine:netwrk'"
    )
    assert not (desk.folder / "run").exists()


def test_the_command_that_converts_a_pickle_works_as_printed(held: Desk) -> None:
    torch.save(user_factories.network().state_dict(), held.folder / "w.pt")
    held.recipe(**model("mine:network", weights="w.pt"))
    command = re.search(r'python -c "(.*)"', held.compress().err)
    assert command is not None
    subprocess.run([sys.executable, "-c", command[1]], check=True, cwd=held.folder)
    held.recipe(**model("mine:network", weights="w.safetensors"))
    refused(held.compress(), 2, "no better than guessing")


def test_weights_that_do_not_fit_are_refused_and_those_that_fit_are_taken(desk: Desk, finished: Path) -> None:
    broken = user_factories.network()
    save_file(user_factories.network(width=4).state_dict(), desk.folder / "w.safetensors")
    desk.recipe(**model("mine:network", weights="w.safetensors"))
    refused(desk.compress(), 2, r"do not fit model 'mine:network': '0\.weight' has shape \(4, .* instead of \(8,")
    with torch.no_grad():
        broken.get_submodule("6").weight[0, 0] = float("nan")
    save_file(broken.state_dict(), desk.folder / "w.safetensors")
    refused(desk.compress(), 2, r"NaN or infinite, first in '6\.weight'")
    assert not (desk.folder / "run").exists()
    shutil.copy(next(finished.glob("stages/*-teacher/teacher/weights.safetensors")), desk.folder / "w.safetensors")
    ended(desk.compress())
