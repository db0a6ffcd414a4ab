"""Quantize an ONNX file for a target: integers, calibrated on your samples; no training, no torch.

MODEL is a float .onnx file of one input. Ranges, rounding and biases come from --data; the file that is written holds
QuantizeLinear and DequantizeLinear where the target's runtimes find integer kernels. It is refused when the target
would compute something else than it says. On the target itself the new engine is measured in turns with the float one;
unless it is faster it is not kept.

With --accuracy-drop (labels are needed) or --max-error, both judged on all of --data, layers go back to float until the
limit holds: those first that buy back most error per millisecond lost.

Scheme w4 packs the weights of linear layers into four bits and leaves the rest in float. What it promises is a smaller
file: that is kept whatever the clock says, and the clock is told.

Exit codes: 0 written, 2 wrong usage, 3 integers are not faster here (as w4: not smaller) or keep within the limit
nowhere, 5 whether they are faster could not be shown, 6 the target has no integer scheme or does not read this one, 7
the target would change the answers, 8 out of disk or memory.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekd.cli.measuring import told

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekd.figure import Figure
    from edgekd.placement.scheme import WeightScheme
    from edgekd.quantize.calibration import CalibrationConfig
    from edgekd.quantize.post_training import QuantizedFile
    from edgekd.quantize.sensitivity import Mixed, Mixer
    from edgekd.quantize.trial import Trial, Tryout
    from edgekd.stage import Progress
    from edgekd.target import Target

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", type=_FILE)
@click.option("--data", type=_FILE, required=True, metavar="FILE.npz", help="Arrays 'inputs' and, if any, 'labels'.")
@click.option("--target", default="host", show_default=True, help="A target's name or file, or 'host': this machine.")
@click.option("--scheme", default=None, help="Default: that of the target's first runtime; w4: weights alone.")
@click.option("--output", type=_FILE, default=None, help="Default: MODEL with the scheme in its name.")
@click.option(
    "--observer", default="mse", show_default=True, help="How ranges are chosen; see `edgekd list observers`."
)
@click.option("--rounding", type=click.Choice(["adaptive", "nearest"]), default="adaptive", show_default=True)
@click.option("--no-bias-correction", is_flag=True, help="Leave the biases as they are.")
@click.option("--samples", type=click.IntRange(1), default=256, show_default=True, help="Of the data, for calibration.")
@click.option(
    "--accuracy-drop", type=click.FloatRange(min=0), default=None, help="Points it may lose; layers go back to float."
)
@click.option(
    "--max-error",
    type=click.FloatRange(min=0),
    default=None,
    help="Mean error it may have, as a share of the answers' range: 0.01; layers go back to float.",
)
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
    accuracy_drop: float | None,
    max_error: float | None,
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
    from edgekd.placement.scheme import any_scheme_named
    from edgekd.quantize.calibration import CalibrationConfig
    from edgekd.quantize.trial import Tryout, inputs_of, tried

    here = machine.host_target() if target in {"host", "cpu"} else None
    device, progress = targets.load(target, here), told(quiet)
    wanted = any_scheme_named(scheme or _default_scheme(device))
    place = output or model.with_name(f"{model.stem}.{wanted.name}.onnx")
    tryout = Tryout(device, data, time_limit, raw / "placements", progress) if placement == "measured" else None
    mix = None
    if accuracy_drop is not None or max_error is not None:
        mix = _mixer(model, data, device if time_limit else None, raw, progress, (accuracy_drop, max_error))
    with scratch("edgekd-quantize") as folder:
        file = folder / place.name
        given = inputs_of(model, data, progress)[:samples]
        config = CalibrationConfig(observer=observer, rounding=rounding, bias_correction=not no_bias_correction)
        found = _quantized(model, given, device, wanted, file, config, keep_float, tryout, mix)
        trial = None
        if time_limit and machine.is_target(device):
            trial = tried(file, model, device, data, time_limit_s=time_limit, raw=raw, progress=progress)
        outcome = _outcome(found, trial)
        is_kept = outcome not in {"not faster", "not smaller"}
        if is_kept:
            _copy(file, place)
    ratios = {} if tryout is None else tryout.ratios
    plain = _plain(found, trial, place, is_kept) if as_json else {}
    click.echo(json.dumps(plain, indent=2) if as_json else "\n".join(_lines(found, trial, ratios)))
    click.echo(_result(found, trial, place, is_kept), err=as_json)
    if not is_kept:
        return ExitCode.BUDGET_MISSED
    return ExitCode.NOT_TRUSTWORTHY if outcome == "not trustworthy" else ExitCode.MET


def _quantized(
    model: Path,
    given: NDArray[np.generic],
    device: Target,
    wanted: WeightScheme,
    file: Path,
    config: CalibrationConfig,
    keep_float: tuple[str, ...],
    tryout: Tryout | None,
    mix: Mixer | None,
) -> QuantizedFile:
    from edgekd.errors import UsageError
    from edgekd.placement.scheme import Scheme
    from edgekd.quantize.post_training import quantize_file
    from edgekd.quantize.weight_only import quantize_weights

    if tryout is not None and mix is not None:
        raise UsageError("--placement measured and a limit of accuracy or error exclude each other; leave one out")
    if isinstance(wanted, Scheme):
        return quantize_file(
            model, given, device, wanted, file, config=config, keep_float=keep_float, choose=tryout, mix=mix
        )
    if mix is not None:
        raise UsageError(
            f"{wanted.name} rounds weights alone, and no layer of it can be put back; leave --accuracy-drop and "
            "--max-error out, or name layers with --keep-float"
        )
    if tryout is not None:
        raise UsageError(f"{wanted.name} rounds weights alone, so nothing is placed; leave --placement out")
    return quantize_weights(model, given, device, wanted, file, config=config, keep_float=keep_float)


def _mixer(
    model: Path,
    data: Path,
    device: Target | None,
    raw: Path,
    progress: Progress,
    limits: tuple[float | None, float | None],
) -> Mixer:
    """Return what puts layers back into float; costs are measured where this machine is the `device`."""
    from functools import partial

    from edgekd.measure import machine
    from edgekd.quantize.layer_costs import Clock
    from edgekd.quantize.sensitivity import mixed
    from edgekd.quantize.tolerance import Tolerance
    from edgekd.quantize.trial import labelled

    tolerance = Tolerance(*labelled(model, data, progress), *limits)
    is_here = device is not None and machine.is_target(device)
    clock = Clock(device, data, raw / "layers", progress) if device is not None and is_here else None
    return partial(mixed, tolerance=tolerance, clock=clock, progress=progress)


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
    weights_only = _is_of_weights(found)
    how = "with packed weights, the rest in float" if weights_only else f"placed {found.placement}"
    lines = [
        f"{found.layers} layers in integers as {found.scheme}, {how}" + _kept(found),
        f"answers against the float network on {found.samples} samples: cosine {found.cosine:.5f}, mean error "
        f"{found.mean_error:.4g}, same best class {found.agreement_percent:.1f} %",
        f"size {found.float_mb:.2f} MB, now {found.size_mb:.2f} MB",
    ]
    lines[1:1] = [] if found.mixed is None else _mixed(found.mixed)
    if worst is not None and found.saturation[worst]:
        lines.append(f"without dot products {found.saturation[worst]:.2%} of the sums in '{worst}' would overflow")
    for one in found.executed:
        left = f"; in float: {', '.join(one.floating)}" if one.floating else ""
        said = f"{one.integer} convolutions and products in integers{left}"
        if weights_only:
            said = f"{one.integer} of {found.layers} products read packed weights"
        lines.append(
            f"{one.runtime}: {said}; largest error "
            f"{one.parity.error:.2g} of the range, same best class {one.parity.agreement_percent:.1f} %"
        )
    lines += [f"placement {name}: {ratio.text()} of the rules'" for name, ratio in ratios.items()]
    lines += [f"{runtime}: its parser and builder take the file" for runtime in found.accepted]
    return [*lines, *(["latency of the quantized network against the float one:", *trial.lines()] if trial else [])]


def _mixed(found: Mixed) -> list[str]:
    """Return which layers went back to float and why."""
    if not found.floating:
        return [f"within the limit with every layer in integers: {found.found.text()}"]
    costs = "slower than in integers" if found.unit == "ms" else "of work, counted: nothing was measured"
    layers = [
        f"  {one.layer}: error {one.sensitivity:.3g} when it alone is in integers, {one.lost:.4g} {found.unit} {costs}"
        for one in found.floating
    ]
    return [
        f"every layer in integers: {found.integers.text()}",
        f"within the limit with {len(layers)} layers back in float: {found.found.text()}",
        *layers,
    ]


def _kept(found: QuantizedFile) -> str:
    return f", left in float: {', '.join(found.kept)}" if found.kept else ""


def _plain(found: QuantizedFile, trial: Trial | None, place: Path, is_kept: bool) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "verdict": _outcome(found, trial),
        **asdict(found),
        "path": str(place) if is_kept else None,
        "comparisons": {} if trial is None else {key: one.plain() for key, one in trial.comparisons.items()},
    }


def _is_of_weights(found: QuantizedFile) -> bool:
    from edgekd.placement.scheme import WEIGHT_SCHEMES

    return found.scheme in WEIGHT_SCHEMES


def _outcome(found: QuantizedFile, trial: Trial | None) -> str:
    """Return what was shown of the promise, which is size where weights alone are rounded, else speed."""
    if _is_of_weights(found):
        return "smaller" if found.size_mb < found.float_mb else "not smaller"
    return "not measured" if trial is None else trial.verdict


def _result(found: QuantizedFile, trial: Trial | None, place: Path, is_kept: bool) -> str:
    outcome, file = _outcome(found, trial), f"{place}, {found.scheme}, cosine {found.cosine:.5f}"
    if not is_kept:
        why = "no runtime is shown to be faster" if outcome == "not faster" else "the file is not smaller"
        return f"{outcome}: as {found.scheme} {why}; nothing was written, the float file stays"
    if not _is_of_weights(found):
        return f"{outcome}: {file}"
    timed = {} if trial is None else trial.comparisons
    speed = ", ".join(f"{runtime} {one.outcome}" for runtime, one in timed.items()) or "speed not measured"
    return f"{outcome}: {file}, {found.size_mb / found.float_mb:.1%} of the float file; {speed}"
