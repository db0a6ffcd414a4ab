"""What commands that train have in common: where they tell what they do, and what they need."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from edgekd.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])

_NEEDED = ("torch", "onnx", "onnxscript", "safetensors")


def tell(*, quiet: bool) -> None:
    """Let the log go to standard error, with what stages say of themselves unless `quiet`."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    if not quiet:
        logging.getLogger("edgekd").setLevel(logging.INFO)  # not of all packages: torch tells its statistics at exit


def refuse_unable(command: str) -> None:
    """Make ready to train; raises UsageError where a package is missing or several processes were started."""
    sys.path.insert(0, "")  # a user's factory `module:function` may stand in the folder the command is run in
    missing = [name for name in _NEEDED if not importlib.util.find_spec(name)]
    if missing:
        raise UsageError(f"{command} needs {', '.join(missing)}; run: pip install 'edgekd[compress]'")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            f"{command} measures and trains in one process, and torchrun has started several; start it without, or "
            "train with several processes from Python: edgekd.train.parallel.joined"
        )
    # Training threads spin while they wait for each other, which crawls as soon as anything else runs. A hundredth
    # of the default costs nothing on a quiet machine (sleeping at once costs 15 %) and helps as much on a busy one.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def worker_options(command: Command) -> Command:
    """Add --executor and --workers, which `placed` reads."""
    executor = click.option(
        "--executor", default=None, help="Where trials run: short for --set stages.trials.executor=..."
    )
    workers = click.option(
        "--workers", type=int, default=None, help="Trials side by side: short for --set stages.trials.workers=..."
    )
    return executor(workers(command))


def placed(recipe: str, overrides: tuple[str, ...], executor: str | None, workers: int | None) -> tuple[str, ...]:
    """Return the overrides that --executor and --workers stand for; raises UsageError for a recipe without trials."""
    from edgekd import catalogue
    from edgekd import recipe as recipes

    given = {"executor": executor, "workers": workers}
    found = tuple(f"stages.trials.{name}={value}" for name, value in given.items() if value is not None)
    if found and "trials" not in recipes.load(catalogue.find("recipes", recipe), overrides).stages:
        raise UsageError(
            f"--executor and --workers are about the stage 'trials', and recipe '{recipe}' has none; add one to it, or "
            "here with --set stages.trials.count=12"
        )
    return found
