"""Post-training quantization of one ONNX file by edgekd, NNCF and ModelOpt: how far off the engines' answers are.

    python -m tools.bench_quantization MODEL.onnx DATA.npz --peers PYTHON

PYTHON is the interpreter of an environment with torch, nncf and nvidia-modelopt[onnx]; without it edgekd is judged
alone. DATA.npz holds `inputs` and, if any, `labels`. Everybody calibrates on the same samples: all of them, and again
each half for the other one. Every figure is of engines run on this machine; `reference` is what the file says, which a
processor without integer dot products need not compute. Latencies are measured in turns, relative to the float file.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgekd import target as targets
from edgekd.artifact import digest_of_path
from edgekd.budget import OperatingPoint
from edgekd.cli.progress import best_for_this_output
from edgekd.disk import scratch
from edgekd.measure import machine
from edgekd.measure.comparison import paired_ratio
from edgekd.measure.engine import Engine
from edgekd.measure.series import measure
from edgekd.placement.scheme import scheme_named
from edgekd.quantize.calibration import CalibrationConfig
from edgekd.quantize.post_training import quantize_file
from edgekd.runtime.session import REFERENCE, RUNTIMES, open_session
from edgekd.target import Target

Array = NDArray[np.float32]
PEERS = Path(__file__).parent / "peers"
Quantizer = Callable[[Path, Path, Path], Path]
"""Model, data and folder in; what was written."""


class Far(NamedTuple):
    """How far answers are from those of the float network."""

    error: float
    cosine: float
    right: int | None

    def text(self, count: int) -> str:
        """Return it in words, for `count` samples."""
        right = "" if self.right is None else f", {self.right} of {count} right"
        return f"mean error {self.error:.4f}, cosine {self.cosine:.5f}{right}"


def ours(target: Target, config: CalibrationConfig) -> Quantizer:
    """Return edgekd's own."""

    def quantize(model: Path, data: Path, folder: Path) -> Path:
        scheme = scheme_named(target.schemes()[0])
        samples = np.load(data)["inputs"]
        return quantize_file(model, samples, target, scheme, folder / "model.onnx", config=config).path

    return quantize


def peers(python: str, script: str, *options: str) -> Quantizer:
    """Return another tool's, run by an interpreter that has it."""

    def quantize(model: Path, data: Path, folder: Path) -> Path:
        output = folder / ("model.onnx" if script.endswith("_onnx") else "")
        command = [python, str(PEERS / f"{script}.py"), str(model), str(data), str(output), *options]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{script}: {done.stderr[-2000:]}")
        return output if output.suffix else folder / "model.xml"

    return quantize


def quantizers(target: Target, python: str | None) -> dict[str, Quantizer]:
    """Return everybody who takes part."""
    found = {
        "edgekd": ours(target, CalibrationConfig()),
        "edgekd, nearest": ours(target, CalibrationConfig(rounding="nearest", bias_correction=False)),
    }
    if python is None:
        return found
    return found | {
        "NNCF, ONNX": peers(python, "nncf_onnx"),
        "NNCF, OpenVINO": peers(python, "nncf_openvino"),
        "ModelOpt, max": peers(python, "modelopt_onnx", "max"),
        "ModelOpt, entropy": peers(python, "modelopt_onnx", "entropy"),
    }


def answers(runtime: str, file: Path, inputs: Array) -> Array:
    """Return an engine's answers, one sample a call."""
    session = open_session(runtime, str(file), threads=1, batch=1)
    return np.concatenate([session.run([sample[None]])[0].copy() for sample in inputs])


def far(expected: Array, found: Array, labels: NDArray[np.integer] | None) -> Far:
    """Compare answers (N, K)."""
    a, b = (one.reshape(len(one), -1).astype(np.float64) for one in (expected, found))
    cosine = ((a * b).sum(1) / np.sqrt(np.square(a).sum(1) * np.square(b).sum(1))).mean()
    right = None if labels is None else int((found.argmax(1) == labels).sum())
    return Far(float(np.abs(a - b).mean()), float(cosine), right)


def runtimes_of(file: Path) -> tuple[str, ...]:
    """Return what can run a file here."""
    return ("openvino",) if file.suffix == ".xml" else (*RUNTIMES, REFERENCE)


def halves(count: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield which samples to calibrate on and which to judge by: each half by the other."""
    order = np.random.default_rng(0).permutation(count)
    yield order[: count // 2], order[count // 2 :]
    yield order[count // 2 :], order[: count // 2]


def crossed(quantize: Quantizer, model: Path, given: Mapping[str, Array], expected: Array, folder: Path) -> str:
    """Return the mean error on samples that nobody calibrated on, by runtime."""
    errors: dict[str, list[float]] = {}
    for number, (seen, unseen) in enumerate(halves(len(expected))):
        place = folder / f"half-{number}"
        place.mkdir()
        np.savez(place / "data.npz", inputs=given["inputs"][seen])
        file = quantize(model, place / "data.npz", place)
        for runtime in runtimes_of(file):
            found = answers(runtime, file, given["inputs"][unseen])
            errors.setdefault(runtime, []).append(far(expected[unseen], found, None).error)
    return ", ".join(f"{runtime} {np.mean(found):.4f}" for runtime, found in errors.items())


def main() -> None:
    """Quantize, judge, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--peers", default=None, metavar="PYTHON")
    parser.add_argument("--processes", type=int, default=11, help="of each engine; 0 measures no latency")
    given = parser.parse_args()
    target = targets.load("host", machine.host_target())
    held = dict(np.load(given.data))
    labels = held.get("labels")
    expected = answers("onnxruntime", given.model, held["inputs"])
    count = len(expected)
    print(f"{given.model.name} on {target.name}, {count} samples")
    print(f"float: {far(expected, expected, labels).text(count)}")
    engines = {name: Engine("float", "fp32", name, given.model, digest_of_path(given.model)) for name in RUNTIMES}
    with scratch("edgekd-bench") as folder:
        everything: list[Engine] = list(engines.values())
        for number, (name, quantize) in enumerate(quantizers(target, given.peers).items()):
            place = folder / str(number)
            place.mkdir()
            file = quantize(given.model, given.data, place)
            for runtime in runtimes_of(file):
                print(f"{name}, {runtime}: {far(expected, answers(runtime, file, held['inputs']), labels).text(count)}")
                if runtime != REFERENCE:
                    everything.append(Engine(name, "int8", runtime, file, digest_of_path(file)))
            print(f"{name}, on samples it has not seen: {crossed(quantize, given.model, held, expected, place)}")
        if given.processes:
            np.save(folder / "inputs.npy", held["inputs"])
            series = measure(
                everything,
                folder / "inputs.npy",
                OperatingPoint(),
                50,
                processes=given.processes,
                raw=folder / "latency.jsonl",
                progress=best_for_this_output(),
                title="latency",
            )
            records = {record.key: record for record in series.records}
            for engine in everything[len(engines) :]:
                floating = records[engines[engine.runtime].key]
                ratio = paired_ratio(records[engine.key], floating, 50, "latency_ratio_p50")
                print(f"{engine.network}, {engine.runtime}: {ratio.name} to float {ratio.text()}")


if __name__ == "__main__":
    main()
