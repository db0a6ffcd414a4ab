"""Choose the student of a recipe, and stop: what fits the limit, and which of those learns best.

A handful of untrained engines is built and measured on the target, everything else is predicted; with the stage
`trials` students that fit are trained for a while, and the front of latency and error is shown. The choice, the table
and the front are written to search.json in the run folder; `edgekd compress` with the same recipe goes on from there.

With several targets each has a folder of its own in the run folder, where `edgekd compress` with the same targets goes
on; a target that fails leaves the others as they are, and the worst exit code is that of the command.

Exit codes: 0 chosen, 2 wrong usage, 3 the limit is out of reach, 6 the target cannot be used, 7 a network cannot be
built.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekd.cli.several import devices_by_target, only_device, target_options, tell_end
from edgekd.cli.training import placed, refuse_unable, tell, worker_options
from edgekd.errors import UsageError

if TYPE_CHECKING:
    from edgekd.pipeline.several import Several


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--recipe", default="mnist5k", show_default=True, help="A shipped recipe or the path of a YAML file.")
@target_options
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Override one value of the recipe.")
@click.option("--max-latency-ms", type=float, default=None, help="Short for --set budget.latency_ms=...")
@worker_options
@click.option("--plot", type=click.Path(path_type=Path), default=None, help="Draw the front: FILE.svg, .png or .pdf.")
@click.option("--json", "as_json", is_flag=True, help="Print only the result as JSON on standard output.")
@click.option("--quiet", is_flag=True, help="No progress, only the result.")
def command(
    recipe: str,
    targets: tuple[str, ...],
    devices: tuple[str, ...],
    run_folder: Path | None,
    overrides: tuple[str, ...],
    max_latency_ms: float | None,
    executor: str | None,
    workers: int | None,
    plot: Path | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run `edgekd search`; returns the exit code."""
    from edgekd.pipeline import request, several

    short = () if max_latency_ms is None else (f"budget.latency_ms={max_latency_ms}",)
    given = (*overrides, *short, *placed(recipe, overrides, executor, workers))
    if len(targets) > 1:
        if plot is not None:
            raise UsageError("--plot draws the front of one target; give one, the others afterwards")
        wanted = several.wanted(targets, devices_by_target(devices))
        return _several(several.resolve(recipe, wanted, run_folder, given), as_json=as_json, quiet=quiet)
    asked = request.resolve(recipe, targets[0] if targets else None, run_folder, given, only_device(devices))
    tell(quiet=quiet)
    refuse_unable("search")
    from edgekd.cli.progress import best_for_this_output
    from edgekd.pipeline import searching
    from edgekd.search import plot as plotting
    from edgekd.stage import Progress

    if plot is not None:
        if "trials" not in asked.recipe.stages:
            raise UsageError("--plot draws the students that were tried; add the stage 'trials' to the recipe")
        plotting.refuse(plot)
    found = searching.search(asked, Progress() if quiet else best_for_this_output())
    if plot is not None and found.trials is not None:
        plotting.draw(found.trials, found.feasibility.limit_ms, plot)
    if as_json:
        click.echo(json.dumps(found.plain(), indent=2))
    else:
        click.echo("\n".join(found.lines()))
    return 0


def _several(asked: Several, *, as_json: bool, quiet: bool) -> int:
    """Choose for several targets; returns the worst of their exit codes."""
    tell(quiet=quiet)
    refuse_unable("search")
    from edgekd.cli.progress import best_for_this_output
    from edgekd.pipeline import in_turn
    from edgekd.stage import Progress

    summary, found = in_turn.search(asked, Progress() if quiet else best_for_this_output())
    if not as_json:
        for target, one in found.items():
            click.echo("\n".join([f"{target}:", *one.lines(), ""]))
    return tell_end(summary, as_json=as_json)
