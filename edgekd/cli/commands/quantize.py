"""Quantize an ONNX file for a target: 8-bit integers, calibrated on your samples; no training, no torch.

MODEL is a float .onnx file of one input. Ranges, rounding and biases come from --data; the file that is written holds
QuantizeLinear and DequantizeLinear where the target's runtimes find integer kernels. It is refused when the target
would compute something else than it says. On the target itself the new engine is measured in turns with the float one;
unless it is faster it is not kept.

Exit codes: 0 written, 2 wrong usage, 3 integers are not faster here, 5 whether they are could not be shown, 6 the
target has no integer scheme, 7 the target would change the answers, 8 out of disk or memory.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekd.cli.measuring import told

if TYPE_CHECKING:
    from edgekd.figure import Figure
    from edgekd.quantize.post_training import QuantizedFile
    from edgekd.quantize.trial import Trial
    from edgekd.target import Target

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", type=_FILE)
@click.option("--data", type=_FILE, required=True, metavar="FILE.npz", help="Arrays 'inputs' and, if any, 'labels'.")
@click.option("--target", default="host", show_default=True, help="A target's name or file, or 'host': this machine.")
@click.option("--scheme", default=None, help="Default: that of the target's first runtime.")
@click.option("--output", type=_FILE, default=None, help="Default: MODEL with the scheme in its name.")
@click.option(
    "--observer", default="mse", show_default=True, help="How ranges are chosen; see `edgekd list observers`."
)
@click.option("--rounding", type=click.Choice(["adaptive", "nearest"]), default="adaptive", show_default=True)
@click.option("--no-bias-correction", is_flag=True, help="Leave the biases as they are.")
@click.option("--samples", type=click.IntRange(1), default=256, show_default=True, help="Of the data, for calibration.")
@click.option("--keep-float", multiple=True, metavar="PATTERN", help="Layers to be left in float, by name: 'head*'.")
@click.option(
    "--time-limit", type=click.FloatRange(min=0), default=300, show_default=True, help="Seconds; 0: unmeasured."
)
@click.option(
    "--placement",
    type=click.Choice(["rules", "measured"]),
    default="rules",
    show_default=True,
    help="Where integers stand: by the rules, or what is fastest here of several.",
)
@click.option("--raw", type=click.Path(path_type=Path, file_okay=False), default=Path("edgekd-quantize"))
@click.option("--json", "as_json", is_flag=True, help="Print only JSON on standard output.")
@click.option("--quiet", is_flag=True, help="No progress.")
def command(
    model: Path,
    data: Path,
    target: str,
    scheme: str | None,
    output: Path | None,
    observer: str,
    rounding: Any,
    no_bias_correction: bool,
    samples: int,
    keep_float: tuple[str, ...],
    time_limit: float,
    placement: str,
    raw: Path,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run `edgekd quantize`; returns the exit code."""
    from edgekd import target as targets
    from edgekd.disk import scratch
    from edgekd.errors import ExitCode
    from edgekd.measure import machine
    from edgekd.placement.scheme import scheme_named
    from edgekd.quantize.calibration import CalibrationConfig
    from edgekd.quantize.post_training import quantize_file
    from edgekd.quantize.trial import Tryout, inputs_of, tried

    here = machine.host_target() if target in {"host", "cpu"} else None
    device, progress = targets.load(target, here), told(quiet)
    wanted = scheme_named(scheme or _default_scheme(device))
    place = output or model.with_name(f"{model.stem}.{wanted.name}.onnx")
    tryout = Tryout(device, data, time_limit, raw / "placements", progress) if placement == "measured" else None
    with scratch("edgekd-quantize") as folder:
        file = folder / place.name
        found = quantize_file(
            model,
            inputs_of(model, data, progress)[:samples],
            device,
            wanted,
            file,
            config=CalibrationConfig(observer=observer, rounding=rounding, bias_correction=not no_bias_correction),
            keep_float=keep_float,
            choose=tryout,
        )
        trial = None
        if time_limit and machine.is_target(device):
            trial = tried(file, model, device, data, time_limit_s=time_limit, raw=raw, progress=progress)
        is_kept = trial is None or trial.verdict != "not faster"
        if is_kept:
            _copy(file, place)
    ratios = {} if tryout is None else tryout.ratios
    plain = _plain(found, trial, place, is_kept) if as_json else {}
    click.echo(json.dumps(plain, indent=2) if as_json else "\n".join(_lines(found, trial, ratios)))
    click.echo(_result(found, trial, place, is_kept), err=as_json)
    if not is_kept:
        return ExitCode.BUDGET_MISSED
    return ExitCode.NOT_TRUSTWORTHY if trial is not None and trial.verdict == "not trustworthy" else ExitCode.MET


def _copy(file: Path, place: Path) -> None:
    import shutil

    from edgekd.disk import whole_file

    with whole_file(place) as unfinished:
        shutil.copyfile(file, unfinished)


def _default_scheme(device: Target) -> str:
    from edgekd.errors import TargetError

    if not device.schemes():
        raise TargetError(f"integers do not pay on {device.name}; give --scheme to quantize all the same")
    return device.schemes()[0]


def _lines(found: QuantizedFile, trial: Trial | None, ratios: dict[str, Figure]) -> list[str]:
    """Return what was done and what is known of it, but for the verdict."""
    worst = max(found.saturation, key=lambda name: found.saturation[name], default=None)
    lines = [
        f"{found.layers} layers in integers as {found.scheme}, placed {found.placement}" + _kept(found),
        f"answers against the float network on {found.samples} samples: cosine {found.cosine:.5f}, mean error "
        f"{found.mean_error:.4g}, same best class {found.agreement_percent:.1f} %",
        f"size {found.float_mb:.2f} MB, now {found.size_mb:.2f} MB",
    ]
    if worst is not None and found.saturation[worst]:
        lines.append(f"without dot products {found.saturation[worst]:.2%} of the sums in '{worst}' would overflow")
    for one in found.executed:
        left = f"; in float: {', '.join(one.floating)}" if one.floating else ""
        lines.append(
            f"{one.runtime}: {one.integer} convolutions and products in integers{left}; largest error "
            f"{one.parity.error:.2g} of the range, same best class {one.parity.agreement_percent:.1f} %"
        )
    lines += [f"placement {name}: {ratio.text()} of the rules'" for name, ratio in ratios.items()]
    lines += [f"{runtime}: its parser and builder take the file" for runtime in found.accepted]
    return [*lines, *(["latency of the quantized network against the float one:", *trial.lines()] if trial else [])]


def _kept(found: QuantizedFile) -> str:
    return f", left in float: {', '.join(found.kept)}" if found.kept else ""


def _plain(found: QuantizedFile, trial: Trial | None, place: Path, is_kept: bool) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "verdict": _verdict(trial),
        **asdict(found),
        "path": str(place) if is_kept else None,
        "comparisons": {} if trial is None else {key: one.plain() for key, one in trial.comparisons.items()},
    }


def _verdict(trial: Trial | None) -> str:
    return "not measured" if trial is None else trial.verdict


def _result(found: QuantizedFile, trial: Trial | None, place: Path, is_kept: bool) -> str:
    if not is_kept:
        return (
            f"not faster: as {found.scheme} no runtime is shown to be faster; nothing was written, the float file stays"
        )
    return f"{_verdict(trial)}: {place}, {found.scheme}, cosine {found.cosine:.5f}"
