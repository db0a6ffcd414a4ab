"""`edgekd init`: what it writes is accepted by `compress --dry-run`, and nothing is ever overwritten unasked."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from edgekd import catalogue, recipe
from edgekd.errors import UsageError
from edgekd.models.build import build
from edgekd.models.network import NETWORKS
from edgekd.pipeline.stages import configured, refuse_early
from edgekd.plugins import PluginFolder
from edgekd.stage import Context
from edgekd.target import load as load_target
from tests.cli.desk import Desk
from tests.cli.test_commands import edgekd

OWN = """
import numpy as np
from torch import nn
from edgekd.train.dataset import DataSet, Split

def network(width=8):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36 * width, 2))

def data():
    split = Split(np.zeros((8, 3, 8, 8), np.uint8), np.arange(8) % 2)
    return DataSet("own", split, split, split, split, ("a", "b"), (0.5,) * 3, (0.2,) * 3)
"""


def dry(line: str, desk: Desk) -> str:
    """Run the command that `init` names as the next one."""
    words = shlex.split(line.partition("next: edgekd ")[2])
    assert words[0] == "compress"
    assert words[-1] == "--dry-run"
    answer = desk.give(*words)
    assert answer.code == 0, answer.err
    return answer.out


def test_from_nothing_the_next_command_works(desk: Desk, tmp_path: Path) -> None:
    answer = edgekd("init", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "# the recipe as it would run" in dry(answer.stdout.splitlines()[-1], desk)
    text = (tmp_path / "recipe.yaml").read_text()
    assert text.count("#") > 10
    assert "<" not in text


def test_from_a_factory_the_next_command_works(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    file = "my recipes/one.yaml"
    answer = edgekd(
        "init", file, "--model", "mine:network", "--data", "mine:data", "--target", "x86-avx2", cwd=tmp_path
    )
    assert answer.returncode == 0, answer.stderr
    assert "data: own, 8 train" in dry(answer.stdout.splitlines()[-1], desk)
    loaded = recipe.load(tmp_path / file)
    assert loaded.model.factory == "mine:network"
    assert loaded.data.factory == "mine:data"
    assert loaded.target == "x86-avx2"
    assert loaded.title == "one"


@pytest.mark.parametrize("model", PluginFolder("edgekd.models.networks", object).names())
def test_no_stage_refuses_what_is_written(model: str, tmp_path: Path) -> None:
    answer = edgekd("init", "one.yaml", "--model", model, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    loaded = recipe.load(tmp_path / "one.yaml")
    if NETWORKS.get(model).eats == "texts":
        with pytest.raises(UsageError, match="this network is made for texts"):
            build(loaded.model, (1, 28, 28), 10)
        return
    build(loaded.model, (1, 28, 28), 10)
    context = Context(tmp_path, tmp_path, tmp_path, loaded, load_target("x86-avx2"), origin_is_device=True)
    refuse_early(configured(loaded), context)


def test_the_schema_it_names_is_there(tmp_path: Path) -> None:
    edgekd("init", "deep/er/one.yaml", cwd=tmp_path)
    line = (tmp_path / "deep/er/one.yaml").read_text().splitlines()[0]
    named = line.split('"')[1]
    assert line.startswith("$schema: ")
    assert (tmp_path / "deep/er" / named).samefile(catalogue.file("docs/recipe-1.schema.json"))


def test_a_file_is_never_overwritten_unasked(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("precious")
    answer = edgekd("init", cwd=tmp_path)
    assert answer.returncode == 2
    assert "--force" in answer.stderr
    assert (tmp_path / "recipe.yaml").read_text() == "precious"
    assert edgekd("init", "--force", cwd=tmp_path).returncode == 0
    assert recipe.load(tmp_path / "recipe.yaml").title == "recipe"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("recipe.txt",), "edgekd init recipe.txt.yaml"),
        (("--model", "resnt"), "did you mean 'resnet'"),
        (("--model", "mine:"), "package.module:function"),
        (("--data", "mnist"), "did you mean 'mnist5k'"),
        (("--target", "x86-avx"), "did you mean 'x86-avx2'"),
    ],
)
def test_wrong_usage_is_one_sentence_and_writes_nothing(
    arguments: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    answer = edgekd("init", *arguments, cwd=tmp_path)
    assert answer.returncode == 2
    assert sentence in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    answer = edgekd("init", "file/one.yaml", cwd=tmp_path)
    assert answer.returncode == 8
    assert "cannot be written" in answer.stderr
