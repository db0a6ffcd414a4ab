"""`edgekd list`: finds every plug-in without importing it, and shows the options of one."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from typing import Any, Literal

import pytest

from edgekd.cli.commands.list import _options
from edgekd.cli.kinds import kinds
from edgekd.plugins import PluginFolder
from edgekd.schema import Field, Schema
from tests.cli.test_commands import edgekd
from tests.test_layout import FOLDERS


def test_the_kinds_are_the_plugin_folders_of_the_package() -> None:
    assert {kind.module: kind.variable for kind in kinds().values()} == FOLDERS
    for kind in kinds().values():
        folder = getattr(importlib.import_module(kind.module), kind.variable)
        assert isinstance(folder, PluginFolder)
        assert kind.name == folder.kind
        assert kind.listing.names() == folder.names()


def test_everything_is_listed_with_its_help() -> None:
    answer = edgekd("list", "--json")
    assert answer.returncode == 0, answer.stderr
    listed = json.loads(answer.stdout)
    assert listed.keys() == {*kinds(), "commands", "recipes", "targets"}
    assert all(text for names in listed.values() for text in names.values())
    assert listed["commands"]["list"].startswith("List what can be named")
    assert listed["recipes"]["mnist5k"] == "ResNet-20 on 5,000 MNIST digits"
    assert listed["targets"]["cpu"] == "another name for host"
    plain = edgekd("list").stdout
    assert all(name in plain and text in plain for names in listed.values() for name, text in names.items())


def test_listing_imports_no_plugin_and_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv=['edgekd','list']\n"
        "from edgekd.cli import main\n"
        "try: main.main()\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "heavy={'torch','onnx','onnxruntime','openvino','numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert 'edgekd.distill.losses' not in sys.modules or 'edgekd.distill.losses.dist' not in sys.modules"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_one_kind_alone() -> None:
    answer = edgekd("list", "criteria")
    assert "taylor" in answer.stdout
    assert "logits-kl" not in answer.stdout


def test_the_options_of_one_are_those_of_its_config() -> None:
    shown = json.loads(edgekd("list", "losses", "dist", "--json").stdout)
    config = kinds()["losses"].options("dist")
    assert [option["name"] for option in shown["options"]] == list(config.model_fields)
    for option in shown["options"]:
        field = config.model_fields[option["name"]]
        assert option["description"] == field.description
        assert option["default"] == field.default
    plain = edgekd("list", "networks", "resnet").stdout
    assert "depth (integer >= 8 <= 200, default 20): layers, 6n + 2" in plain
    assert re.search(r"channels \(\[integer.*, integer.*, integer.*\], default \[16, 32, 64\]\): width", plain)
    assert plain.splitlines()[-1] == "4 options of networks resnet"


def test_types_are_said_in_words() -> None:
    class Config(Schema):
        share: float | None = Field(default=None, gt=0, lt=1)
        when: Literal["auto", "never"] = "auto"
        widths: tuple[int, ...] = (1,)
        more: dict[str, Any]

    assert {option["name"]: option["type"] for option in _options(Config)} == {
        "share": "number > 0 < 1 or null",
        "when": '"auto" or "never"',
        "widths": "list of integer",
        "more": "mapping",
    }
    assert [option["name"] for option in _options(Config) if option["required"]] == ["more"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("loses",), "did you mean 'losses'"),
        (("losses", "dits"), "did you mean 'dist'"),
        (("recipes", "smoke"), "compress --recipe NAME --dry-run"),
        (("targets", "cpu"), "edgekd targets NAME"),
    ],
)
def test_what_is_not_there_is_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    answer = edgekd("list", *arguments)
    assert answer.returncode == 2
    assert sentence in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
