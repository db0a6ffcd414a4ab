"""Turn a trained network into an engine that fits a device, and say whether it does.

A run folder holds everything: run.json (verdict first), report.md, the resolved recipe, each stage's files, raw
measurements and the bundle. The same command resumes a run that was stopped and replays one that has ended.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import click

from edgekd.cli.measuring import device_named, device_option
from edgekd.cli.training import placed, refuse_unable, tell, worker_options
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
@worker_options
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

    limits = {"latency_ms": max_latency_ms, "peak_memory_mb": max_memory_mb, "accuracy_drop": max_accuracy_drop}
    short = tuple(f"budget.{name}={value}" for name, value in limits.items() if value is not None)
    if resume is not None:
        if target or run_folder or smoke or overrides or short or executor or workers:
            raise UsageError("--resume goes on with a run as it was begun; give neither target, folder nor options")
        asked = request.resumed(resume, device_named(device))
    else:
        named = "smoke" if smoke else recipe
        given = (*overrides, *short, *placed(named, overrides, executor, workers))
        asked = request.resolve(named, target, run_folder, given, device_named(device))
    tell(quiet=quiet)
    report = None if dry_run else asked.finished()
    if report is not None:
        clear(asked.run_folder)  # what a kill in the very last moment left unfinished
        logging.getLogger("edgekd").info("this run has ended before (%s); its verdict is replayed", report.finished_at)
    else:
        refuse_unable("compress")
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
