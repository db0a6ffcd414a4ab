"""Turn a trained network into an engine that fits a device, and say whether it does.

A run folder holds everything: run.json (verdict first), report.md, the resolved recipe, each stage's files, raw
measurements and the bundle. The same command resumes a run that was stopped and replays one that has ended.

With several targets the run folder holds one such folder for each. What is the same for all of them is made once, a
target that fails leaves the others as they are, and the exit code is the worst one: what stopped a target (1, 2, 8, 7,
6, in this order) before any verdict (5, 4, 3).
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekd.cli.several import devices_by_target, only_device, target_options, tell_end
from edgekd.cli.training import placed, refuse_unable, tell, worker_options
from edgekd.disk import clear
from edgekd.errors import UsageError

if TYPE_CHECKING:
    from edgekd.pipeline.request import Request
    from edgekd.pipeline.several import Several


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--recipe", default="mnist5k", show_default=True, help="A shipped recipe or the path of a YAML file.")
@target_options
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
    targets: tuple[str, ...],
    devices: tuple[str, ...],
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
    from edgekd.pipeline import request, several

    limits = {"latency_ms": max_latency_ms, "peak_memory_mb": max_memory_mb, "accuracy_drop": max_accuracy_drop}
    short = tuple(f"budget.{name}={value}" for name, value in limits.items() if value is not None)
    named = "smoke" if smoke else recipe
    given: tuple[str, ...] = ()
    if resume is None:
        given = (*overrides, *short, *placed(named, overrides, executor, workers))
    elif targets or run_folder or smoke or overrides or short or executor is not None or workers is not None:
        raise UsageError("--resume goes on with a run as it was begun; give neither target, folder nor options")
    how = {"dry_run": dry_run, "as_json": as_json, "quiet": quiet}
    if len(targets) > 1 or (resume is not None and several.is_begun(resume)):
        at = devices_by_target(devices)
        if resume is not None:
            return _several(several.resumed(resume, at), **how)
        return _several(several.resolve(named, several.wanted(targets, at), run_folder, given), **how)
    device = only_device(devices)
    if resume is not None:
        return _one(request.resumed(resume, device), **how)
    return _one(request.resolve(named, targets[0] if targets else None, run_folder, given, device), **how)


def _one(asked: Request, *, dry_run: bool, as_json: bool, quiet: bool) -> int:
    """Compress for one target; returns the exit code of its verdict."""
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


def _several(asked: Several, *, dry_run: bool, as_json: bool, quiet: bool) -> int:
    """Compress for several targets; returns the worst of their exit codes."""
    tell(quiet=quiet)
    summary = None if dry_run else asked.replayed()
    if summary is not None:
        clear(asked.run_folder)
        logging.getLogger("edgekd").info("this run has ended before; the verdicts of its targets are replayed")
    else:
        refuse_unable("compress")
        from edgekd.cli.progress import best_for_this_output
        from edgekd.pipeline import in_turn, plan
        from edgekd.pipeline.request import Request
        from edgekd.pipeline.summary import worst
        from edgekd.stage import Progress

        if dry_run:
            click.echo("\n\n".join(plan.text(r) if isinstance(r, Request) else r.line() for r in asked.resolved))
            return worst([0, *(r.exit_code for r in asked.resolved if not isinstance(r, Request))])
        summary = in_turn.compress(asked, Progress() if quiet else best_for_this_output())
    return tell_end(summary, as_json=as_json)
