"""Predict what a network would cost on a target: latency with bounds, memory, costly layers, free widths.

MODEL is an .onnx file, float or quantized. Nothing is run: the target's kernel profile says what each fused kernel
costs (`edgekd profile --kernels` measures one). A target without a profile is predicted from its datasheet. A
prediction ranks networks; it passes no gate.

Exit codes: 0 predicted, 2 wrong usage, 6 nothing is known of the target or its runtime has another version here,
7 a network that no runtime could take.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgekd.kernel import KernelProfile
    from edgekd.predict.answer import Answer
    from edgekd.target import Target

_PATH = click.Path(path_type=Path, dir_okay=False)


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", type=_PATH)
@click.option("--target", default="host", show_default=True, help="A target's name or file, or 'host': this machine.")
@click.option("--profile", "profile_file", type=_PATH, default=None, help="A kernel profile. Default: the target's.")
@click.option("--runtime", default=None, help="Default: every profiled one.")
@click.option("--scheme", default=None, help="What a float network is to become, such as u8w8. Default: as it is.")
@click.option("--shape", "shapes", multiple=True, metavar="NAME=SIZES", help="Sizes of free dimensions: ids=1,128.")
@click.option("--figures", type=_PATH, default=None, help="Without a profile: a CSV file network,ms measured there.")
@click.option("--layers", type=click.IntRange(0, 1000), default=10, show_default=True, help="Costly ones to show.")
@click.option("--json", "as_json", is_flag=True, help="Print only JSON on standard output.")
def command(
    model: Path,
    target: str,
    profile_file: Path | None,
    runtime: str | None,
    scheme: str | None,
    shapes: tuple[str, ...],
    figures: Path | None,
    layers: int,
    as_json: bool,
) -> int:
    """Run `edgekd predict`; returns the exit code."""
    from edgekd import target as targets
    from edgekd.gate.shapes import parse
    from edgekd.measure import machine
    from edgekd.predict import known
    from edgekd.predict.answer import answers

    sizes = parse(shapes)
    device = targets.load(target, machine.host_target() if target in {"host", "cpu"} else None)
    file = profile_file or known.find(device)
    if file is None:
        return _by_datasheet(model, device, figures, sizes, scheme, as_json)
    profile = known.load(file)
    runtimes = [runtime] if runtime else [name for name in device.runtimes if name in profile.fits]
    if known.is_here(profile):
        for name in runtimes:
            known.refuse_other_version(profile, name, file)
    found = answers(model, profile, runtimes, scheme, shapes=sizes, most=layers)
    if as_json:
        click.echo(json.dumps([_plain(answer) for answer in found], indent=2))
        return 0
    for answer in found:
        click.echo("\n".join(_lines(answer, device, profile)))
    click.echo(f"profile: {file}, measured on {profile.machine.get('cpu', 'an unknown processor')}")
    click.echo(_result(model, found))
    return 0


def _by_datasheet(
    model: Path, device: Target, figures: Path | None, sizes: Any, scheme: str | None, as_json: bool
) -> int:
    from edgekd.onnx_graph.graph import read
    from edgekd.predict.forecast import Forecast
    from edgekd.predict.schemes import is_quantized

    forecast = Forecast(device, figures)
    if scheme is None:
        integers = device.schemes() if is_quantized(read(model, sizes)) else ()
        scheme = (*integers, *device.float_schemes())[0]
    found = forecast.latency(forecast.work(model, scheme, sizes), 50)
    if as_json:
        click.echo(json.dumps([{"target": device.name, "scheme": scheme, "latency": found.plain()}], indent=2))
        return 0
    rests = f"the datasheet, known boards and {figures}" if figures else "the datasheet and known boards alone"
    click.echo(f"note: no kernel profile of {device.name} is known; this rests on {rests}")
    click.echo(f"predicted: {model.name} as {scheme} on {device.name}: {found.text()} ms; measure it on the device")
    return 0


def _lines(answer: Answer, device: Target, profile: KernelProfile) -> list[str]:
    """Return the figures, the costly layers and the doubts of one engine."""
    found = answer.prediction
    point = f"batch 1, threads {profile.threads}"
    lines = [f"{answer.scheme}/{found.runtime} on {device.name}, {point}: {found.latency.text()} ms"]
    if answer.memory is not None:
        lines.append(f"  peak_memory_mb {answer.memory.text()}")
    lines.append(f"  {found.call_ms:.3g} ms for the call, {len(found.kernels)} kernels; the most costly:")
    for number in answer.costly:
        one = found.kernels[number]
        shape = "x".join(map(str, one.kernel.output))
        lines.append(
            f"  {one.ms:8.4f} ms {one.share:6.1%} ±{one.deviation:4.0%}  {one.kernel.code:22} {one.kernel.name} {shape}"
            f"{_width(answer, number)}"
        )
    asked = f"measure it with: edgekd profile MODEL --runtime {found.runtime}"
    lines += [f"  unsure: {doubt}; {asked}" for doubt in found.doubts]
    return lines


def _width(answer: Answer, number: int) -> str:
    known = answer.widths.get(number)
    if known is None:
        return ""
    said = [f"{known.free - known.width} more channels are free"] if known.free > known.width else []
    if known.next_saving is not None:
        said.append(f"{known.next_saving} save {known.saving_ms:.2g} ms")
    tied = f" (with {len(known.tied)} tied layers)" if known.tied and said else ""
    return f"; of {known.width}: {', '.join(said)}{tied}" if said else ""


def _plain(answer: Answer) -> dict[str, Any]:
    found = answer.prediction
    return {
        "scheme": answer.scheme,
        "runtime": found.runtime,
        "latency": found.latency.plain(),
        "memory": answer.memory.plain() if answer.memory is not None else None,
        "call_ms": found.call_ms,
        "doubts": list(found.doubts),
        "layers": [
            {
                **one.kernel._asdict(),
                "ms": one.ms,
                "share": one.share,
                "deviation": one.deviation,
                "widths": answer.widths[number]._asdict() if number in answer.widths else None,
            }
            for number, one in enumerate(found.kernels)
        ],
    }


def _result(model: Path, found: list[Answer]) -> str:
    """Return the fastest prediction in one line."""
    best = min(found, key=lambda answer: answer.prediction.latency.value)
    said = best.prediction.latency.text()
    return f"predicted: {model.name} fastest as {best.scheme} on {best.prediction.runtime}: {said} ms"
