"""Measure two engines against each other: A is faster than B, slower, or no difference is shown.

A and B are bundles, .onnx files or OpenVINO folders. Fresh processes of both take turns in short blocks (ABBA), so that
load and clocks cancel out of the ratio; processes are added until its bounds exclude 1 or the time is over. Memory,
size and, with labelled --data, accuracy are compared too.

Exit codes: 0 compared, 5 not trustworthy, others as `edgekd gate --help` lists them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekd.cli.measuring import device_named, engine_options, percentile_option, told

if TYPE_CHECKING:
    from edgekd.gate.compare import Comparison
    from edgekd.gate.report import Measured


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("a")
@click.argument("b")
@engine_options
@click.option("--runtime-b", default=None, help="The runtime of B. Default: as --runtime.")
@percentile_option
@click.option("--time-limit", type=click.FloatRange(min=1), default=60, show_default=True, help="Seconds of measuring.")
@click.option(
    "--raw", type=click.Path(path_type=Path, file_okay=False), default=Path("edgekd-compare"), show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="Print only JSON on standard output, the outcome on the other.")
@click.option("--quiet", is_flag=True, help="No progress.")
def command(
    a: str,
    b: str,
    data: Path | None,
    shapes: tuple[str, ...],
    runtime: str | None,
    threads: int | None,
    batch: int | None,
    device: str | None,
    runtime_b: str | None,
    percentile: float,
    time_limit: float,
    raw: Path,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run `edgekd compare`; returns the exit code."""
    from edgekd.gate.bench import Asked, Given
    from edgekd.gate.compare import compare

    found = compare(
        Given(a, runtime),
        Given(b, runtime_b or runtime),
        Asked(data, shapes, threads, batch, device_named(device)),
        percentile=percentile,
        time_limit_s=time_limit,
        raw=raw,
        progress=told(quiet),
    )
    click.echo(json.dumps(found.plain(), indent=2) if as_json else "\n".join(_lines(found)))
    click.echo(found.line(), err=as_json)
    return found.exit_code


def _cell(measured: Measured, name: str) -> str:
    figure = measured.figure(name)
    return "" if figure is None else figure.text()


def _lines(found: Comparison) -> list[str]:
    """Return the table: what was measured of A and of B, the ratios, remarks, where the raw values are."""
    point = found.operating_point
    names = dict.fromkeys(figure.name for measured in (found.a, found.b) for figure in measured.figures)
    cells = [("", "A", "B"), *((name, _cell(found.a, name), _cell(found.b, name)) for name in names)]
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    return [
        f"A {found.a.key} ({found.a.path}), B {found.b.key} ({found.b.path})",
        f"batch {point.batch}, threads {point.threads}, inputs: {found.inputs}",
        *("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells),
        *(f"{ratio.name} (A / B) {ratio.text()}" for ratio in found.ratios),
        *(f"note: {remark}" for remark in found.remarks),
        f"raw values: {', '.join(found.raw)}",
    ]
