"""CONTRIBUTING's table is true: one file is enough for the command line, for recipes and for the contract suite."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROWS = {
    kind: (file, suite)
    for kind, file, suite in re.findall(
        r"^\| ([\w ]+) \| `([^`]+<name>[^`]+)` \| `([^`]+)` \|$", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.M
    )
}
COPIED = ("edgekd", "targets", "recipes", "profiles", "tests", "tools", "docs", "pyproject.toml", "constraints.txt")
NAME, STEM = "one-more", "one_more"

# What a contributor would write, as short as the contract allows. The file names are the table's.
FILES = {
    "distillation loss": '''
"""Mean squared difference of centred logits."""
from edgekd.distill.loss import Loss
from edgekd.schema import Field

class OneMore(Loss):
    class Config(Loss.Config):
        scale: float = Field(default=1.0, gt=0, description="divides the logits")

    def compare(self, student, teacher, labels):
        apart = (student.logits - teacher.logits) / self.config.scale
        return apart.square().mean()
''',
    "distillation schedule": '''
"""Once more with half the epochs."""
from edgekd.distill.schedule import Phase, Schedule

class OneMore(Schedule):
    def phases(self, config):
        return [Phase(), Phase(goes_on=True, changes={"epochs": max(1, config.epochs // 2)})]
''',
    "student initialiser": '''
"""Every bias at zero."""
import torch
from torch import nn
from edgekd.distill.initialiser import Initialiser

class OneMore(Initialiser):
    @torch.no_grad()
    def begin(self, student, teacher):
        for module in student.modules():
            if isinstance(module, nn.Linear):
                module.bias.zero_()
''',
    "optimizer": '''
"""Adam as it was."""
import torch
from edgekd.train.optimizer import Optimizer

class OneMore(Optimizer):
    def build(self, groups, loop):
        return torch.optim.Adam(groups, lr=loop.learning_rate)
''',
    "task": '''
"""Classes of the first half of a batch."""
from edgekd.train.evaluate import accuracy
from edgekd.train.task import Task

class OneMore(Task):
    def rows(self, logits, labels):
        half = (len(labels) + 1) // 2
        return logits[:half], labels[:half]

    def figures(self, logits, labels):
        return {"accuracy_percent": accuracy(logits, labels)}
''',
    "pruning criterion": '''
"""Mean absolute weight."""
from edgekd.prune.criterion import Criterion, weights
from edgekd.schema import Schema

class OneMore(Criterion):
    class Config(Schema):
        """No options."""

    def of_member(self, member, model):
        return weights(member, model).abs().sum(1)
''',
    "width allocator": '''
"""Everything goes down together, a rung at a time."""
from edgekd.prune.allocator import Allocator
from edgekd.schema import Schema

class OneMore(Allocator):
    class Config(Schema):
        """No options."""

    def widths(self, problem):
        for rung in range(max(map(len, problem.ladders.values()))):
            found = {name: ladder[min(rung, len(ladder) - 1)] for name, ladder in problem.ladders.items()}
            if problem.latency_ms(found) <= problem.limit_ms:
                break
        return found
''',
    "range observer": '''
"""The whole range, once more."""
from edgekd.quantize.observer import Observer
from edgekd.schema import Schema

class OneMore(Observer):
    class Config(Schema):
        """No options."""

    def range(self, levels, *, symmetric):
        return self.low, self.high
''',
    "runtime": '''
"""ONNX Runtime, once more."""
from edgekd.export.backend import Backend
from edgekd.export.backends import onnxruntime

class OneMore(Backend):
    runtime = "onnxruntime"
    reads = "onnx"

    def build(self, onnx_path, folder):
        return onnxruntime.OnnxRuntime().build(onnx_path, folder)

    def executed(self, engine):
        return onnxruntime.OnnxRuntime().executed(engine)
''',
    "network family": '''
"""Two convolutions."""
from torch import nn
from edgekd.models.network import Network
from edgekd.schema import Field, Schema

class OneMore(Network):
    class Config(Schema):
        width: int = Field(default=16, ge=1, description="channels")

    def build(self, input_shape, classes):
        width = self.config.width
        return nn.Sequential(
            nn.Conv2d(input_shape[0], width, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, classes),
        )
''',
    "data set": '''
"""Noise in two classes."""
import numpy as np
from edgekd.schema import Schema
from edgekd.train.dataset import DataSet, Source, Split, statistics

class OneMore(Source):
    class Config(Schema):
        """No options."""

    def load(self):
        images = np.random.default_rng(0).integers(0, 256, (64, 1, 28, 28), np.uint8)
        splits = [Split(images[start::4], np.arange(16) % 2) for start in range(4)]
        return DataSet("one-more", *splits, ("a", "b"), *statistics(splits[0].inputs))
''',
    "augmentation": '''
"""Every image paler, by a share of its own."""
from edgekd.schema import Schema
from edgekd.train.augment import Augmentation, background, uniform

class OneMore(Augmentation):
    class Config(Schema):
        """No options."""

    def __call__(self, images, seeds):
        dark = background(images)
        return dark + (images - dark) * (1 - 0.5 * uniform(seeds, 1)[:, :, None, None])
''',
    "search space": '''
"""The two convolutions, wider and wider."""
from edgekd.recipe import ModelSpec
from edgekd.search.space import Axis, Space

class OneMore(Space):
    def axes(self):
        return (Axis(4),)

    def at(self, point):
        return ModelSpec(name="one-more", options={"width": self.aligned(8 * 2 ** point[0])})

    def macs(self, point):
        return 4 ** point[0]
''',
    "sampler": '''
"""One after the other."""
from edgekd.search.sampler import Sampler

class OneMore(Sampler):
    def propose(self):
        left = [point for point in self.grid.points() if self.is_left(point)]
        return left[int(self.random.integers(len(left)))] if left else self.anywhere()
''',
    "executor": '''
"""Processes of this machine, once more."""
from edgekd.search.executors import processes

class OneMore(processes.Processes):
    pass
''',
    "meter": '''
"""How many files an engine has."""
from edgekd.figure import Figure
from edgekd.measure.meter import Meter, Reading
from edgekd.measure.repetition import write_lines

class OneMore(Meter):
    name = "one-more"
    produces = ("files",)

    def measure(self, engines, setup):
        counted = {engine.key: len(engine.files) for engine in engines}
        write_lines(self, setup, {key: [{"files": count}] for key, count in counted.items()})
        return Reading({key: (Figure(name="files", value=n, origin="counted"),) for key, n in counted.items()})
''',
    "fusion rules of a runtime": '''
"""Those of ONNX Runtime, once more."""
from edgekd.fuse.fusion import Fusion
from edgekd.fuse.fusions import onnxruntime

class OneMore(Fusion):
    def kernels(self, graph):
        return onnxruntime.OnnxRuntime().kernels(graph)

    def matched(self, kernels, rows):
        return onnxruntime.OnnxRuntime().matched(kernels, rows)
''',
    "target device": (ROOT / "targets" / "x86-avx2.yaml")
    .read_text()
    .replace("name: x86-avx2", f"name: {NAME}")
    .replace("title: ", "title: One more, ")
    .replace("[openvino, onnxruntime]", f"[openvino, onnxruntime, {NAME}]"),
    "recipe": """
title: One more of everything
model: {name: one-more, options: {width: 24}}
data: {name: one-more, augmentation: one-more}
target: one-more
budget: {latency_ratio: 0.5}
stages:
  search: {space: one-more}
  distill: {losses: {one-more: {scale: 2.0}}}
  prune: {criterion: one-more, allocator: one-more}
  quantize: {observer: one-more}
""",
    "command": '''
"""Say one more thing."""
import click

@click.command(help=__doc__)
def command():
    click.echo("one more thing")
    return 0
''',
}
KINDS = {
    "distillation loss": "losses",
    "distillation schedule": "schedules",
    "student initialiser": "initialisers",
    "optimizer": "optimizers",
    "task": "tasks",
    "pruning criterion": "criteria",
    "width allocator": "allocators",
    "range observer": "observers",
    "runtime": "backends",
    "network family": "networks",
    "data set": "datasets",
    "augmentation": "augmentations",
    "search space": "spaces",
    "sampler": "samplers",
    "executor": "executors",
    "meter": "meters",
    "fusion rules of a runtime": "fusions",
    "target device": "targets",
    "recipe": "recipes",
    "command": "commands",
}
REFUSE_EARLY = """
import sys
from pathlib import Path
from edgekd import catalogue, recipe, target
from edgekd.pipeline.stages import configured, refuse_early
from edgekd.stage import Context
here = Path("run")
for overrides in ((), sys.argv[1:]):
    loaded = recipe.load(catalogue.find("recipes", "one-more"), tuple(overrides))
    refuse_early(configured(loaded), Context(here, here, here, loaded, target.load(loaded.target), True))
    print("accepted by every stage")
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with one more file for every row of the table, and no other change."""
    folder = tmp_path_factory.mktemp("clone")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    for kind, (file, _) in ROWS.items():
        stem = STEM if file.endswith(".py") else NAME
        (folder / file.replace("<name>", stem)).write_text(FILES[kind].lstrip())
    return folder


def python(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the copy, so that its package is found before the installed one."""
    environment = os.environ | {"PYTHONPATH": str(clone), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=clone, env=environment)


def test_the_table_has_a_row_for_everything_that_can_be_added() -> None:
    assert ROWS.keys() == FILES.keys() == KINDS.keys()
    for file, suite in ROWS.values():
        assert (ROOT / file).parent.is_dir(), file
        assert (ROOT / suite).is_file(), suite


def test_the_command_line_lists_and_runs_it(clone: Path) -> None:
    answer = python(clone, "-m", "edgekd.cli.main", "list", "--json")
    assert answer.returncode == 0, answer.stderr
    listed = json.loads(answer.stdout)
    assert listed.keys() == set(KINDS.values())
    for kind, plural in KINDS.items():
        text = FILES[kind]
        first = re.search(r'"""(.*)"""|title: (.*)', text)
        assert first is not None
        assert listed[plural][NAME] == (first[1] or first[2])
    assert python(clone, "-m", "edgekd.cli.main", NAME).stdout == "one more thing\n"
    options = python(clone, "-m", "edgekd.cli.main", "list", "losses", NAME).stdout
    assert "scale (number > 0, default 1.0): divides the logits" in options


def test_a_recipe_can_name_it(clone: Path) -> None:
    answer = python(clone, "-c", REFUSE_EARLY, "stages.prune.criterion=one-mor")
    assert answer.stdout == "accepted by every stage\n", answer.stderr  # as it is, and not with a mistake in it
    assert "did you mean 'one-more'" in answer.stderr


def test_its_contract_suite_finds_it_and_passes(clone: Path) -> None:
    suites = sorted({suite for _, suite in ROWS.values()})
    answer = python(clone, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-k", NAME, *suites)
    assert answer.returncode == 0, answer.stdout
    for kind, (_, suite) in ROWS.items():
        passed = re.findall(rf"^{suite}::\S*{NAME}\S* PASSED", answer.stdout, flags=re.M)
        assert passed, f"{suite} does not find a new {kind}"
