"""Answer labelled inputs with the built engine itself: accuracy and calibration error, with bounds.

ENGINE is a bundle (each of its engines whose runtime is installed is evaluated), an .onnx file or an OpenVINO folder.
With --baseline also what is lost against that engine, in paired points.

Exit codes: 0 evaluated, others as `edgekd gate --help` lists them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekd.cli.measuring import device_named, engine_options, told
from edgekd.errors import UsageError

if TYPE_CHECKING:
    from edgekd.gate.report import Measured


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("engine")
@click.option("--baseline", default=None, help="The engine to compare with.")
@click.option("--baseline-runtime", default=None, help="Its runtime. Default: as --runtime.")
@engine_options
@click.option("--raw", type=click.Path(path_type=Path, file_okay=False), default=Path("edgekd-eval"), show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print only JSON on standard output.")
@click.option("--quiet", is_flag=True, help="No progress.")
def command(
    engine: str,
    baseline: str | None,
    baseline_runtime: str | None,
    data: Path | None,
    shapes: tuple[str, ...],
    runtime: str | None,
    threads: int | None,
    batch: int | None,
    device: str | None,
    raw: Path,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run `edgekd eval`; returns the exit code."""
    from edgekd.gate.accuracy import evaluated
    from edgekd.gate.bench import Asked, Given

    if data is None:
        raise UsageError("eval needs labelled inputs; give them with --data FILE.npz (arrays 'inputs' and 'labels')")
    found = evaluated(
        Given(engine, runtime),
        None if baseline is None else Given(baseline, baseline_runtime or runtime),
        Asked(data, shapes, threads, batch, device_named(device)),
        raw,
        told(quiet),
    )
    if as_json:
        click.echo(json.dumps([measured.plain() for measured in found], indent=2))
        return 0
    for measured in found:
        click.echo(f"{measured.key} ({measured.path})")
        for figure in measured.figures:
            click.echo(f"  {figure.name} {figure.text(4)} (n={figure.samples})")
    click.echo(f"raw values: {raw / 'answers.jsonl'}")
    click.echo(_line(found[0]))
    return 0


def _line(measured: Measured) -> str:
    """Return the result as one line."""
    facts = ", ".join(f"{figure.name} {figure.text(4)}" for figure in measured.figures)
    return f"evaluated: {measured.key}: {facts} on {measured.figures[0].samples} inputs"
