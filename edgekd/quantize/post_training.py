"""`edgekd quantize`: an ONNX file in, the same network in integers out, with everything that is known about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekd.disk import scratch, whole_file
from edgekd.errors import ExportError, UsageError, suggestion
from edgekd.export import parity
from edgekd.export.answers import answers
from edgekd.export.backend import BACKENDS
from edgekd.export.on_target import Unbuilt
from edgekd.placement.place import Placement
from edgekd.placement.scheme import Scheme
from edgekd.quantize.calibration import CalibrationConfig, Integers, calibrated
from edgekd.quantize.onnx_network import OnnxNetwork
from edgekd.quantize.placements import RULES, by_the_rules, placements, together
from edgekd.quantize.saturation import refuse_saturating, saturation
from edgekd.quantize.sensitivity import Mixed, Mixer
from edgekd.runtime.session import REFERENCE, RUNTIMES, open_session
from edgekd.target import Target

EXAMINED = 16
"""Samples on which pair sums are looked at."""
COMPARED = 64
"""Samples on which answers are compared."""


Chooser = Callable[[dict[str, Path]], str]
"""Files by the name of their placement in, the name of the best out."""


@dataclass(frozen=True)
class Executed:
    """What one runtime makes of the file on this machine."""

    runtime: str
    integer: int
    """Convolutions and matrix products it computes in integers, or whose weights it keeps in four bits."""
    floating: tuple[str, ...]
    """The others, by their names."""
    parity: parity.Parity
    """Its answers against what the file says, operator by operator."""


@dataclass(frozen=True)
class Decided:
    """A network in integers that nobody has run yet; what is decided is told as in `QuantizedFile`."""

    model: onnx.ModelProto
    scheme: str
    layers: int
    placement: str = RULES
    kept: tuple[str, ...] = ()
    saturation: Mapping[str, float] = field(default_factory=dict)
    mixed: Mixed | None = None


@dataclass(frozen=True)
class QuantizedFile:
    """A network in integers, and how far it is from the float one."""

    path: Path
    scheme: str
    layers: int
    """Layers whose weights are integers."""
    placement: str
    """Which of the placements that were tried, or the one of the rules; of weights alone, there is no other."""
    kept: tuple[str, ...]
    """Layers that were asked to stay in float, by their labels."""
    saturation: dict[str, float]
    """Share of 16-bit pair sums that would overflow without integer dot products, by layer."""
    cosine: float
    """Mean over the samples, of the float and the quantized answers."""
    mean_error: float
    """Mean absolute difference of the answers."""
    agreement_percent: float
    """Decisions with the same best class: samples, or what is decided in each of them."""
    samples: int
    float_mb: float
    size_mb: float
    executed: tuple[Executed, ...] = ()
    accepted: tuple[str, ...] = ()
    """Runtimes that run elsewhere, and whose parser and builder took the file."""
    mixed: Mixed | None = None
    """Which layers had to go back to float; None without a limit."""


def quantize_file(
    model: Path,
    samples: NDArray[Any],
    target: Target,
    scheme: Scheme,
    output: Path,
    *,
    config: CalibrationConfig,
    keep_float: Sequence[str] = (),
    choose: Chooser | None = None,
    mix: Mixer | None = None,
) -> QuantizedFile:
    """Calibrate the float network `model` on `samples` (N, ...) and write it as `output` with Q/DQ pairs.

    `keep_float` are patterns of layer names. `choose` tells which of several placements is best, given their files by
    name; without it the rules decide. `mix` puts layers of the rules' placement back into float. Raises UsageError for
    what cannot be quantized and for a pattern that fits no layer, BudgetError where no layer can stay in integers,
    ExportError for a network that would overflow on the target, or that a runtime computes otherwise than the file
    says; then nothing is written.
    """
    if config.equalisation and (choose is not None or mix is not None):
        raise UsageError(
            "equalised weights are of one placement; leave equalisation out, or --placement and the limits"
        )
    network = OnnxNetwork.read(model, samples[:1])
    kept = matching(network, keep_float)
    plans = placements(network, target, scheme, kept)
    if choose is None:
        plans = {RULES: plans[RULES]}
    if not plans[RULES].weights:
        raise UsageError(f"{model} has no layer that could be computed in integers")
    integers = calibrated(network, samples, together(plans.values()), scheme, config)
    chosen = RULES if choose is None else _best(network, plans, integers, choose)
    plan, mixture = plans[chosen], None
    if mix is not None:
        plan, mixture = mix(network, lambda back: by_the_rules(network, target, scheme, [*kept, *back]), integers)
    shares = saturation(network, samples[:EXAMINED], plan, integers)
    if target.adds_in_16_bits:
        refuse_saturating(shares, scheme.name, target.name)
    decided = Decided(
        model=network.written(plan, integers),
        scheme=scheme.name,
        layers=len(plan.weights),
        placement=chosen,
        kept=tuple(network.layers[name].label for name in kept),
        saturation=shares,
        mixed=mixture,
    )
    return judged(decided, model, samples, target, output)


def judged(decided: Decided, model: Path, samples: NDArray[Any], target: Target, output: Path) -> QuantizedFile:
    """Run a network in integers beside `model`, the float one, on all runtimes of the target, and write it.

    Raises ExportError where a runtime refuses it or computes otherwise than the file says; then nothing is written.
    """
    with scratch("edgekd-quantize") as folder:
        file = folder / "model.onnx"
        onnx.save(decided.model, file)
        asked = samples[:COMPARED]
        expected, found = _answers(model, asked), _answers(file, asked)
        here = [runtime for runtime in target.runtimes if runtime in RUNTIMES]
        executed = tuple(_executed(runtime, file, asked, found, folder) for runtime in here)
        accepted = _accepting(target, file, folder)
        with whole_file(output) as unfinished:
            unfinished.write_bytes(file.read_bytes())
    return QuantizedFile(
        path=output,
        scheme=decided.scheme,
        layers=decided.layers,
        placement=decided.placement,
        kept=decided.kept,
        saturation=dict(decided.saturation),
        cosine=_cosine(expected, found),
        mean_error=float(np.abs(expected - found).mean()),
        agreement_percent=float(100 * (decisions(expected).argmax(1) == decisions(found).argmax(1)).mean()),
        samples=len(expected),
        float_mb=model.stat().st_size / 1e6,
        size_mb=output.stat().st_size / 1e6,
        executed=executed,
        accepted=accepted,
        mixed=decided.mixed,
    )


def _best(network: OnnxNetwork, plans: Mapping[str, Placement], integers: Integers, choose: Chooser) -> str:
    """Let `choose` choose among the files of all placements."""
    with scratch("edgekd-placements") as folder:
        files = {}
        for number, (name, plan) in enumerate(plans.items()):
            files[name] = folder / f"{number}.onnx"
            onnx.save(network.written(plan, integers), files[name])
        return choose(files)


def matching(network: OnnxNetwork, patterns: Sequence[str]) -> list[str]:
    """Return the layers whose labels fit one of these patterns; raises UsageError for a pattern that fits none."""
    labels = {name: layer.label for name, layer in network.layers.items()}
    for pattern in patterns:
        if not any(fnmatchcase(label, pattern) for label in labels.values()):
            raise UsageError(f"no layer is called '{pattern}'; {suggestion(pattern, labels.values())}", pattern)
    return [name for name, label in labels.items() if any(fnmatchcase(label, pattern) for pattern in patterns)]


def _accepting(target: Target, file: Path, folder: Path) -> tuple[str, ...]:
    """Return the runtimes of the target that run on NVIDIA's GPUs alone and whose parser and builder take the file."""
    makers = [Unbuilt(runtime) for runtime in target.runtimes if runtime not in RUNTIMES]
    checked = [maker for maker in makers if maker.is_checked]
    for maker in checked:
        maker.build(file, folder)
    return tuple(maker.runtime for maker in checked)


def _executed(runtime: str, file: Path, samples: NDArray[Any], expected: NDArray[Any], folder: Path) -> Executed:
    """Build one runtime's engine, look into it, and hold its answers against those of the file.

    Raises ExportError where they differ by more than rounding.
    """
    backend = BACKENDS.get(runtime)()
    engine = backend.build(file, folder)
    layers = [layer for layer in backend.executed(engine) if layer.multiplies]
    floating = tuple(f"{layer.op} {layer.name}" for layer in layers if not layer.precision.startswith("int"))
    found = parity.compare(
        decisions(expected),
        decisions(answers(backend, engine, samples, batch=1, connection=None)),
        parity.Limits(),
        rounded=True,
    )
    if found.faults:
        raise ExportError(
            f"{runtime} computes something else than the file it is given: {', '.join(found.faults)}; "
            "leave this runtime out of the target, or keep the layer that differs in float with --keep-float"
        )
    return Executed(runtime, len(layers) - len(floating), floating, found)


def _answers(file: Path, samples: NDArray[Any]) -> NDArray[np.float32]:
    """Return what a file says, operator by operator, one sample a call as the engines are asked."""
    session = open_session(REFERENCE, str(file), threads=1, batch=1)
    return np.concatenate([session.run([sample])[0].copy() for sample in np.split(samples, len(samples))])


def decisions(answered: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return answers (N, K), (N, T, K) or (N, K, H, W) as rows (R, K), one a decision."""
    last = np.moveaxis(answered, 1, -1) if answered.ndim > 3 else answered
    return last.reshape(-1, last.shape[-1])


def _cosine(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    a, b = (one.reshape(len(one), -1).astype(np.float64) for one in (expected, found))
    norms = np.sqrt(np.square(a).sum(1) * np.square(b).sum(1))
    return float(((a * b).sum(1) / np.maximum(norms, 1e-30)).mean())
