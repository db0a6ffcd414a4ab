"""Write a commented recipe to start from, for your own network and data or for built-in ones.

FILE is a .yaml file that does not exist yet; recipe.yaml when it is not given.
"""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import click

from edgekd.errors import ResourceError, UsageError, suggestion


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", type=click.Path(path_type=Path), default=Path("recipe.yaml"))
@click.option(
    "--model", default="resnet", show_default=True, help="A built-in network, or your own package.module:function."
)
@click.option(
    "--data", default="mnist5k", show_default=True, help="A built-in data set, or your own package.module:function."
)
@click.option("--target", default="host", show_default=True, help="A shipped target, a YAML file, 'host' or 'cpu'.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
def command(file: Path, model: str, data: str, target: str, force: bool) -> int:
    """Run `edgekd init`; returns the exit code."""
    from edgekd import catalogue
    from edgekd.plugins import PluginFolder
    from edgekd.schema import write_text

    if file.suffix != ".yaml":
        raise UsageError(f"{file}: a recipe is a .yaml file; run: edgekd init {shlex.quote(f'{file}.yaml')}")
    if file.exists() and not force:
        raise UsageError(f"{file} exists already; give another name, or --force to overwrite it")
    networks, spaces = (PluginFolder(f"edgekd.{kind}", object).names() for kind in ("models.networks", "search.spaces"))
    origins = {
        "MODEL": _origin(model, networks, "network").ljust(20) + " ",
        "DATA": _origin(data, PluginFolder("edgekd.train.datasets", object).names(), "data set").ljust(20) + " ",
    }
    if target != "host":
        catalogue.find("targets", target)
    schema = os.path.relpath(catalogue.file("docs/recipe-1.schema.json"), file.absolute().parent)
    chosen = {
        "SCHEMA": json.dumps(schema),
        "TITLE": json.dumps(file.stem),
        "TARGET": json.dumps(target).ljust(14) + " ",
    }
    text = _HEAD + (_WITH_STUDENT if model in spaces else _PRUNED_ONLY) + _TAIL
    for word, value in (origins | chosen | {"FILE": shlex.quote(str(file))}).items():
        text = text.replace(f"<{word}>", value)
    try:
        write_text(text, file)
    except OSError as error:
        raise ResourceError(f"{file} cannot be written: {error.strerror}; give a place you may write to") from None
    click.echo(f"{file} is written; next: edgekd compress --recipe {shlex.quote(str(file))} --dry-run")
    return 0


def _origin(given: str, known: list[str], kind: str) -> str:
    """Return `name: ...` or `factory: ...`; raises UsageError for a name that is not built in."""
    module, colon, function = given.partition(":")
    if colon and all(part.isidentifier() for part in (*module.split("."), function)):
        return f"factory: {json.dumps(given)}"
    if given in known:
        return f"name: {given}"
    raise UsageError(f"unknown {kind} '{given}'; {suggestion(given, known)}; or your own as package.module:function")


_HEAD = """\
$schema: <SCHEMA>  # editors that know YAML schemas complete and check this file

# One recipe is one run. To see what it would do: edgekd compress --recipe <FILE> --dry-run
# What can be named here: edgekd list. The options of one: edgekd list losses dist. Devices: edgekd targets.
# What each stage can be told stands in the schema.
title: <TITLE>

model:
  <MODEL># `name:` is a built-in network, `factory:` your own package.module:function
  options: {}          # of the network, or keyword arguments of the function
  # weights: trained.safetensors   # without it the teacher is trained here, once, and kept in the cache

data:
  <DATA># `factory:` returns an edgekd.train.dataset.DataSet: train, validation, calibration, test
  options: {}
  augmentation: none   # of training images: affine for digits and characters, crop-flip for natural images

target: <TARGET># `host` is this machine

budget:                # of the built engine; a limit that is not given is not checked
  latency_ratio: 0.25  # share of the teacher's fastest fp32 engine; in place of it: latency_ms, a time
  percentile: 90       # of the latencies of single calls
  accuracy_drop: 1.0   # points the engine may lose against the teacher, on the test split
  # peak_memory_mb: 50
  # size_mb: 1
  operating_point: {batch: 1, threads: 1}

stages:                # a stage that is absent is not run; teacher, export and measure always are
  teacher: {epochs: 16, learning_rate: 0.1}     # not trained where the model has weights
"""

_WITH_STUDENT = """\
  search: {}                                    # measures untrained networks, chooses the student's size
  distill: {epochs: 20}                         # trains the student under the teacher
  prune: {recovery: {epochs: 20, learning_rate: 0.05}}
"""

_PRUNED_ONLY = """\
  search: {student: teacher}                    # measures untrained networks; the network itself is pruned
  prune: {recovery: {epochs: 20, learning_rate: 0.05}}   # training after the last cut, under the teacher
"""

_TAIL = """\
  quantize: {}                                  # integers as the target's runtimes want them; trained where that pays
  export: {}
  measure: {}

feedback_rounds: 2     # how often what was measured may correct the choice
seed: 0
"""
