"""Measure everything an engine costs on this machine or a device: latency, memory, energy, every layer.

MODEL is a bundle, an .onnx file or an OpenVINO folder. All meters run one after the other in fresh processes; the layer
table comes from a separate run, because counting slows an engine down. The profile is written as JSON into the folder
of --raw, beside the raw values.

With --kernels no MODEL is given: small random networks are run in every precision and runtime of the target until the
time is up, and what their fused kernels cost is written as the target's kernel profile, from which `edgekd predict` and
the search tell the latency of networks nobody has built.

Exit codes: 0 measured, 5 not trustworthy, 6 the target is another machine, others as `edgekd gate --help` lists them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekd.cli.kernel_profile import KernelsAsked, profile_of_kernels, refined_by
from edgekd.cli.measuring import device_named, engine_options, percentile_option, told

if TYPE_CHECKING:
    from edgekd.gate.profiling import Profiled

_MOST_LAYERS = 40


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", required=False)
@click.option("--kernels", is_flag=True, help="Profile fused kernels instead of one engine.")
@click.option(
    "--time-limit", type=click.FloatRange(10), default=600.0, show_default=True, help="Of --kernels, in seconds."
)
@click.option(
    "--error-limit",
    type=click.FloatRange(0, 50, min_open=True),
    default=None,
    metavar="PERCENT",
    help="Of --kernels: stop when left-out networks are predicted with a median error below this.",
)
@click.option("--reanchor", is_flag=True, help="Of --kernels: correct the known profile to this machine's versions.")
@click.option(
    "--profile",
    "kernel_file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Of --kernels: the file to write. Default: the user's cache, where `edgekd predict` finds it.",
)
@click.option("--target", default="host", show_default=True, help="What must be measured: a target's name, or 'host'.")
@engine_options
@percentile_option
@click.option("--processes", type=click.IntRange(2, 1000), default=11, show_default=True, help="For the latency.")
@click.option(
    "--raw", type=click.Path(path_type=Path, file_okay=False), default=Path("edgekd-profile"), show_default=True
)
@click.option("--contribute", is_flag=True, help="Also write what to send in, for a target that is unverified.")
@click.option("--json", "as_json", is_flag=True, help="Print only the profile as JSON on standard output.")
@click.option("--quiet", is_flag=True, help="No progress.")
def command(
    model: str | None,
    kernels: bool,
    time_limit: float,
    error_limit: float | None,
    reanchor: bool,
    kernel_file: Path | None,
    target: str,
    data: Path | None,
    shapes: tuple[str, ...],
    runtime: str | None,
    threads: int | None,
    batch: int | None,
    device: str | None,
    percentile: float,
    processes: int,
    raw: Path,
    contribute: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run `edgekd profile`; returns the exit code."""
    from edgekd.connection.ssh import at
    from edgekd.errors import ExitCode, UsageError
    from edgekd.gate.bench import Asked, Given
    from edgekd.gate.profiling import profiled, result

    if kernels:
        if model is not None:
            raise UsageError(f"--kernels draws its own networks; leave {model} out, or --kernels")
        if contribute:
            raise UsageError("--contribute is for the profile of one engine; give a MODEL, without --kernels")
        asked = KernelsAsked(time_limit, error_limit, threads, runtime, reanchor, kernel_file)
        with at(device_named(device)) as connection:
            return profile_of_kernels(target, connection, asked, as_json, told(quiet))
    if model is None:
        raise UsageError("no engine was given; give a MODEL, or --kernels to profile the target's fused kernels")
    found = profiled(
        Given(model, runtime),
        target,
        Asked(data, shapes, threads, batch, device_named(device)),
        percentile,
        processes,
        raw,
        told(quiet),
    )
    refined = refined_by(found.profile.target, Path(model), found.profile) if device is None else []
    if contribute:
        from edgekd.gate.contribution import contributed

        where = contributed(found, raw) if not found.doubts else "nothing, while it is not trustworthy"
        refined = [*refined, f"to send in, as an issue or a pull request: {where}"]
    click.echo(json.dumps(found.profile.plain(), indent=2) if as_json else "\n".join([*_lines(found), *refined]))
    click.echo(result(found, percentile), err=as_json)
    return ExitCode.NOT_TRUSTWORTHY if found.doubts else 0


def _lines(found: Profiled) -> list[str]:
    """Return the figures, the layer table and the remarks."""
    point = found.record.operating_point
    lines = [f"{found.record.key}, batch {point.batch}, threads {point.threads}"]
    lines += [f"  {figure.name} {figure.text()} (n={figure.samples})" for figure in found.record.figures]
    layers = found.layers
    lines.append(
        f"layers, of {layers.runs} runs in which the runtime counts: {layers.layers_ms:.3g} of "
        f"{layers.call_ms:.3g} ms a call"
    )
    shown = sorted(layers.layers, key=lambda layer: -layer.ms)[:_MOST_LAYERS]
    width = max((len(layer.op) for layer in shown), default=0)
    for layer in layers.layers:
        if layer in shown:
            lines.append(
                f"  {layer.ms:8.4f} ms {layer.share:6.1%}  {layer.op:{width}}  {layer.name} ({layer.executed_as})"
            )
    if len(layers.layers) > len(shown):
        lines.append(f"  and {len(layers.layers) - len(shown)} smaller ones, all in the profile")
    lines += [f"note: {remark}" for remark in found.remarks]
    return [*lines, f"profile: {found.file}, raw values beside it"]
