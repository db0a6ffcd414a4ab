"""Measure an engine here and now and hold it against a budget: met, missed, or not trustworthy.

ENGINE is a bundle, an .onnx file or an OpenVINO folder. The budget is a YAML file, options, or both (options win).
Latencies are medians over fresh processes that take turns with the baseline; more processes are added until the limit
lies outside the bounds or the time is over. Milliseconds count only on a host registered with `edgekd targets
register-host`; a ratio to a --baseline engine, measured in the same rounds, counts everywhere.

Exit codes: 0 met, 3 latency, memory, size, energy or cold start missed, 4 accuracy or calibration missed, 5 not
trustworthy, 1 internal error, 2 wrong usage or a damaged file, 6 runtime missing or the machine cannot measure it, 7
the engine cannot be run or answers your inputs with NaN, 8 out of disk or memory. 1, 2, 6, 7, 8 before 5 before 4
before 3. The last line of standard output is the verdict.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekd.cli.measuring import engine_options, told

if TYPE_CHECKING:
    from edgekd.gate.report import GateReport

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("engine")
@click.option("--budget", type=click.Path(path_type=Path), default=None, metavar="FILE.yaml", help="Limits by name.")
@click.option("--baseline", default=None, help="The engine to compare with: a bundle, an .onnx file, ...")
@click.option("--baseline-runtime", default=None, help="Its runtime. Default: as --runtime.")
@engine_options
@click.option("--percentile", type=float, default=None, help="Of the latencies of single calls. Default: 90.")
@click.option("--max-latency-ms", "latency_ms", type=float, default=None)
@click.option("--max-latency-ratio", "latency_ratio", type=float, default=None, help="To the baseline, such as 1.05.")
@click.option("--max-first-result-ms", "first_result_ms", type=float, default=None, help="Cold start.")
@click.option("--max-memory-mb", "peak_memory_mb", type=float, default=None)
@click.option("--max-size-mb", "size_mb", type=float, default=None)
@click.option("--max-energy-mj", "energy_mj", type=float, default=None, help="Of one call.")
@click.option("--max-accuracy-drop", "accuracy_drop", type=float, default=None, help="Points, against the baseline.")
@click.option("--min-accuracy-percent", "accuracy_percent", type=float, default=None)
@click.option("--max-ece", "ece", type=float, default=None, help="Expected calibration error, 0 to 1.")
@click.option("--also", multiple=True, metavar="METER", help="Measure this as well: memory, energy, throughput, ...")
@click.option("--time-limit", type=click.FloatRange(min=1), default=60, show_default=True, help="Seconds of measuring.")
@click.option(
    "--on-untrusted",
    type=click.Choice(["fail", "retry", "neutral"]),
    default="fail",
    show_default=True,
    help="What doubt does: exit 5; up to two fresh series, then exit 5; exit 0.",
)
@click.option("--json", "as_json", is_flag=True, help="Print only JSON on standard output, the verdict on the other.")
@click.option("--junit", type=_FILE, default=None, metavar="FILE", help="Write the report as JUnit XML.")
@click.option("--markdown", type=_FILE, default=None, metavar="FILE", help="Write the report as Markdown.")
@click.option("--summary", type=_FILE, default=None, metavar="FILE", help="Append Markdown: $GITHUB_STEP_SUMMARY.")
@click.option("--raw", type=click.Path(path_type=Path, file_okay=False), default=Path("edgekd-gate"), show_default=True)
@click.option("--quiet", is_flag=True, help="No progress.")
def command(
    engine: str,
    budget: Path | None,
    baseline: str | None,
    baseline_runtime: str | None,
    percentile: float | None,
    also: tuple[str, ...],
    time_limit: float,
    on_untrusted: Any,
    as_json: bool,
    junit: Path | None,
    markdown: Path | None,
    summary: Path | None,
    raw: Path,
    quiet: bool,
    data: Path | None,
    shapes: tuple[str, ...],
    runtime: str | None,
    threads: int | None,
    batch: int | None,
    device: str | None,
    **limits: float | None,
) -> int:
    """Run `edgekd gate`; returns the exit code."""
    from edgekd import budget as budgets
    from edgekd.gate.session import gate

    for stale in (junit, markdown):
        if stale is not None and stale.is_file():
            stale.unlink()  # a gate that ends without a verdict must not leave an earlier one lying there
    report = gate(
        engine,
        budgets.read(budget, {**limits, "percentile": percentile}),
        baseline,
        data=data,
        shapes=shapes,
        runtime=runtime,
        baseline_runtime=baseline_runtime,
        threads=threads,
        batch=batch,
        device=device,
        also=also,
        on_untrusted=on_untrusted,
        time_limit_s=time_limit,
        raw=raw,
        progress=told(quiet),
    )
    _write(report, junit, markdown, summary)
    if as_json:
        click.echo(json.dumps(report.plain(), indent=2))
    else:
        click.echo("\n".join(_lines(report)))
    click.echo(report.verdict.line(), err=as_json)
    return report.exit_code


def _write(report: GateReport, junit: Path | None, markdown: Path | None, summary: Path | None) -> None:
    from edgekd.errors import ResourceError
    from edgekd.schema import write_text

    try:
        if junit is not None:
            from edgekd.gate.junit import junit as as_junit

            write_text(as_junit(report), junit)
        if markdown is not None or summary is not None:
            from edgekd.gate.markdown import markdown as as_markdown

            text = as_markdown(report)
            if markdown is not None:
                write_text(text, markdown)
            if summary is not None:
                with summary.open("a", encoding="utf-8") as stream:
                    stream.write(f"\n{text}")
    except OSError as error:
        raise ResourceError(f"{error.filename}: the report cannot be written there: {error.strerror}") from None


def _lines(report: GateReport) -> list[str]:
    """Return everything but the verdict: engines with their figures, inputs, remarks, where the raw values are."""
    lines = [
        f"batch {report.operating_point.batch}, threads {report.operating_point.threads}, inputs: {report.inputs}, "
        f"{report.processes} processes of each engine"
    ]
    for role, measured in (("engine", report.subject), ("baseline", report.baseline), ("anchor", report.anchor)):
        if measured is not None:
            lines.append(f"{role} {measured.key} ({measured.path}, digest {measured.digest[:12]})")
            lines += [f"  {figure.name} {figure.text()} (n={figure.samples})" for figure in measured.figures]
    lines += [f"note: {remark}" for remark in report.remarks]
    return [*lines, f"raw values: {', '.join(report.raw)}"]
