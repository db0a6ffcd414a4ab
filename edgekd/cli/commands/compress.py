"""Turn a trained network into an engine that fits a device, and say whether it does.

A run folder holds everything: run.json (verdict first), report.md, the resolved recipe, each stage's files, raw
measurements and the bundle. The same command resumes a run that was stopped and replays one that has ended.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

import click

from edgekd.cli.measuring import device_named, device_option
from edgekd.disk import clear
from edgekd.errors import UsageError


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--recipe", default="mnist5k", show_default=True, help="A shipped recipe or the path of a YAML file.")
@click.option("--target", default=None, help="A shipped target, a YAML file, 'host' or 'cpu' (this machine).")
@device_option
@click.option("--run-folder", type=click.Path(path_type=Path), default=None, help="Default: runs/RECIPE-TARGET.")
@click.option("--resume", type=click.Path(path_type=Path), default=None, help="Take up the run of this run folder.")
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Override one value of the recipe.")
@click.option("--max-latency-ms", type=float, default=None, help="Short for --set budget.latency_ms=...")
@click.option("--max-memory-mb", type=float, default=None, help="Short for --set budget.peak_memory_mb=...")
@click.option("--max-accuracy-drop", type=float, default=None, help="Points; short for --set budget.accuracy_drop=...")
@click.option("--executor", default=None, help="Where trials run: short for --set stages.trials.executor=...")
@click.option(
    "--workers", type=int, default=None, help="Trials side by side: short for --set stages.trials.workers=..."
)
@click.option("--smoke", is_flag=True, help="Run the whole chain on a tiny network in under a minute.")
@click.option("--dry-run", is_flag=True, help="Print the plan, a time estimate and the resolved recipe; do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print only the report as JSON on standard output.")
@click.option("--quiet", is_flag=True, help="No progress, only the verdict.")
def command(
    recipe: str,
    target: str | None,
    device: str | None,
    run_folder: Path | None,
    resume: Path | None,
    overrides: tuple[str, ...],
    max_latency_ms: float | None,
    max_memory_mb: float | None,
    max_accuracy_drop: float | None,
    executor: str | None,
    workers: int | None,
    smoke: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run `edgekd compress`; returns the exit code."""
    from edgekd.pipeline import request

    sys.path.insert(0, "")  # a user's factory `module:function` may stand in the folder the command is run in

    limits = {"latency_ms": max_latency_ms, "peak_memory_mb": max_memory_mb, "accuracy_drop": max_accuracy_drop}
    short = tuple(f"budget.{name}={value}" for name, value in limits.items() if value is not None)
    placed = {"executor": executor, "workers": workers}
    short += tuple(f"stages.trials.{name}={value}" for name, value in placed.items() if value is not None)
    if resume is not None:
        if target or run_folder or smoke or overrides or short:
            raise UsageError("--resume goes on with a run as it was begun; give neither target, folder nor options")
        asked = request.resumed(resume, device_named(device))
    else:
        named = "smoke" if smoke else recipe
        if executor is not None or workers is not None:
            _needs_trials(named, overrides)
        asked = request.resolve(named, target, run_folder, (*overrides, *short), device_named(device))
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    if not quiet:
        logging.getLogger("edgekd").setLevel(logging.INFO)  # not of all packages: torch tells its statistics at exit
    report = None if dry_run else asked.finished()
    if report is not None:
        clear(asked.run_folder)  # what a kill in the very last moment left unfinished
        logging.getLogger("edgekd").info("this run has ended before (%s); its verdict is replayed", report.finished_at)
    else:
        _needs_torch()
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UsageError(
                "compress measures and trains in one process, and torchrun has started several; start it without, or "
                "train with several processes from Python: edgekd.train.parallel.joined"
            )
        # Training threads spin while they wait for each other, which crawls as soon as anything else runs. A hundredth
        # of the default costs nothing on a quiet machine (sleeping at once costs 15 %) and helps as much on a busy one.
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
        from edgekd.cli.progress import best_for_this_output
        from edgekd.pipeline import loop, plan
        from edgekd.stage import Progress

        if dry_run:
            click.echo(plan.text(asked))
            return 0
        report = loop.compress(asked, Progress() if quiet else best_for_this_output())
    click.echo(f"report: {asked.run_folder / 'report.md'}", err=True)
    if as_json:
        click.echo(json.dumps(report.plain(), indent=2))
    if report.unfinished:
        click.echo(f"left to do: {report.unfinished}", err=as_json)
    click.echo(report.verdict.line(), err=as_json)
    return report.verdict.exit_code


def _needs_trials(recipe: str, overrides: tuple[str, ...]) -> None:
    from edgekd import catalogue
    from edgekd import recipe as recipes

    if "trials" not in recipes.load(catalogue.find("recipes", recipe), overrides).stages:
        raise UsageError(
            f"--executor and --workers are about the stage 'trials', and recipe '{recipe}' has none; add one to it, or "
            "here with --set stages.trials.count=12"
        )


def _needs_torch() -> None:
    import importlib.util

    needed = ("torch", "onnx", "onnxscript", "safetensors")
    missing = [name for name in needed if not importlib.util.find_spec(name)]
    if missing:
        raise UsageError(f"compress needs {', '.join(missing)}; run: pip install 'edgekd[compress]'")
