"""The chain of Fashion-MNIST: a trained ResNet pruned, recovered on 30,000 images and quantized; accuracy and latency.

    python -m tools.bench_chain FOLDER [--chains third] [--seeds 1] [--processes 11]

The network is the one of `recipes/fashion-mnist.yaml` (805,546 parameters, 72 million multiply-accumulate operations,
110,000 augmented images of training). Every chain prunes it to a share of its fastest float engine's latency, as
predicted from engines that were measured, recovers it under itself on 30,000 augmented images, all pruning steps
included, and quantizes it by calibration. FOLDER keeps teachers, engines and a row for each chain and seed, which is
not made again. Prints the accuracy of the built engines on all 10,000 test images, what was lost against the float
engine with its 95 % interval (paired over images), and latencies, all engines of a seed in turns.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgekd import target as targets
from edgekd.artifact import ArtifactSet, digest_of_path
from edgekd.cli.progress import best_for_this_output
from edgekd.export.backend import BACKENDS
from edgekd.export.onnx_file import write
from edgekd.measure import machine
from edgekd.measure.comparison import paired_ratio
from edgekd.measure.engine import Engine
from edgekd.models.kernels import kernels, macs, parameters
from edgekd.placement.scheme import scheme_named
from edgekd.predict.predictor import measured_ms
from edgekd.prune.stage import PruneStage
from edgekd.quantize.emission import freeze
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.recipe import load
from edgekd.runtime.session import open_session
from edgekd.schema import from_mapping
from edgekd.search.stage import SearchStage
from edgekd.stage import Context, Stage
from edgekd.train import checkpoint, data
from edgekd.train.evaluate import logits
from edgekd.train.stage import TeacherStage
from tools.in_turns import in_turns
from tools.rows import add_row, rows_in

RECIPE = Path(__file__).parents[1] / "recipes" / "fashion-mnist.yaml"
CALIBRATION = 256
WHOLE = "unpruned"
"""The chain that leaves the teacher as it is."""
RUNTIMES = {"openvino": "openvino", "onnxruntime": "model.onnx"}


@dataclass(frozen=True)
class Chain:
    """How one network is made smaller."""

    share: float
    """Of the latency of the teacher's fastest float engine, as predicted."""
    prune: dict[str, Any]
    """Options of the prune stage."""


_SOFT: dict[str, Any] = {"losses": {"logits-kl": {"weight": 1.0}}, "label_weight": 0.3}
"""Chosen on 20,000 images of the training file that are in no split, as were batch and learning rate."""
CHAINS = {
    "third": Chain(0.36, {"recovery": {"epochs": 3, "batch": 32, "learning_rate": 0.02}}),
    "seventh": Chain(0.152, {"recovery": {"epochs": 3, "batch": 32, "learning_rate": 0.05, **_SOFT}}),
}
"""By name; one epoch is 10,000 images."""


def context(folder: Path, share: float, seed: int) -> Context:
    """Return a run of the recipe on this machine, its limit a share of the teacher's latency."""
    recipe = load(RECIPE, (f"budget.latency_ratio={share}", "budget.percentile=50", f"seed={seed}"))
    here = targets.load("host", machine.host_target())
    return Context(
        folder, folder, folder / "cache", recipe, here, origin_is_device=True, progress=best_for_this_output()
    )


def made(
    kind: type[Stage[Any]], artifacts: ArtifactSet, run: Context, options: dict[str, Any] | None = None
) -> ArtifactSet:
    """Return what a stage makes; its options are those of the recipe, unless others are given."""
    given = run.recipe.stages[kind.name] if options is None else options
    return kind(from_mapping(kind.Config, given, kind.name)).run(artifacts, run)


def trained(folder: Path, seed: int) -> ArtifactSet:
    """Return the teacher and what probes say of latency here, made once."""
    kept = folder / "artifacts.json"
    if kept.is_file():
        return ArtifactSet.model_validate_json(kept.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    run = context(folder, 1.0, seed)
    artifacts = made(SearchStage, made(TeacherStage, ArtifactSet(), run), run)
    kept.write_text(artifacts.model_dump_json())
    return artifacts


def row(name: str, chain: Chain | None, seed: int, folder: Path) -> dict[str, Any]:
    """Make one network and its engines, which stay in `folder`; None leaves the teacher whole."""
    artifacts = trained(folder, seed)
    run = context(folder, chain.share if chain else 1.0, seed)
    place = folder / "chains" / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    if chain is not None:
        artifacts = made(PruneStage, artifacts, replace(run, folder=place), {"margin": 1.0, **chain.prune})
    model = checkpoint.load(run.path(artifacts.newest(scheme="fp32", written_as="torch")))
    dataset = data.load(run.recipe.data)
    counted = kernels(model, dataset.input_shape)
    found: dict[str, Any] = {"chain": name, "seed": seed, "parameters": parameters(model), "macs": macs(counted)}
    seen = data.normalised(dataset.calibration, dataset)[:CALIBRATION]
    module = prepare(model, torch.from_numpy(seen[:2]), scheme_named(run.target.schemes()[0]))
    calibrate(module, seen)
    inside = logits(model, data.normalised(dataset.validation, dataset))
    found["validation"] = float(100 * (inside.argmax(1) == dataset.validation.labels).mean())
    for scheme, network in {"float": model, "integers": freeze(module)}.items():
        own = place / scheme
        own.mkdir()
        write(network, own / "model.onnx", tuple(dataset.input_shape))
        for runtime, file in RUNTIMES.items():
            BACKENDS.get(runtime)().build(own / "model.onnx", own)
            right = answered(runtime, own / file, seed)
            np.save(own / f"{runtime}.npy", right)
            found[f"{scheme}, {runtime}"] = float(100 * right.mean())
    return found


def answered(runtime: str, engine: Path, seed: int) -> NDArray[np.bool_]:
    """Return which test images an engine gets right."""
    dataset = data.load(context(engine, 1.0, seed).recipe.data)
    session = open_session(runtime, str(engine), threads=1, batch=100)
    parts = np.split(data.normalised(dataset.test, dataset), len(dataset.test) // 100)
    outputs = np.concatenate([session.run([part])[0].copy() for part in parts])
    return outputs.argmax(1) == dataset.test.labels  # type: ignore[no-any-return]


def latencies(folder: Path, names: list[str], seed: int, processes: int) -> dict[tuple[str, str, str], str]:
    """Measure engines in turns; return their latency by that of the teacher's fastest float engine."""
    engines = [
        Engine(name, scheme, runtime, path, digest_of_path(path))
        for name in (WHOLE, *names)
        for scheme in ("float", "integers")
        for runtime, file in RUNTIMES.items()
        if (path := folder / "chains" / name / scheme / file).exists() and (name == WHOLE or scheme == "integers")
    ]
    dataset = data.load(context(folder, 1.0, seed).recipe.data)
    found = in_turns(engines, data.normalised(dataset.test, dataset), processes)
    keys = [(engine.network, engine.scheme, engine.runtime) for engine in engines]
    records = dict(zip(keys, found, strict=True))
    floats = [record for key, record in records.items() if key[:2] == (WHOLE, "float")]
    best = min(floats, key=lambda record: measured_ms(record, 50) or float("inf"))
    return {key: paired_ratio(record, best, 50, "latency_ratio_p50").text() for key, record in records.items()}


def lost(folder: Path, name: str, runtime: str) -> str:
    """Return the points an engine is below the teacher's float engine, with a 95 % interval paired over images."""
    right = [
        np.load(place / f"{runtime}.npy")
        for place in (folder / "chains" / WHOLE / "float", folder / "chains" / name / "integers")
    ]
    apart = 100 * (right[0].astype(float) - right[1].astype(float))
    return f"{apart.mean():+.2f} +- {1.96 * apart.std() / np.sqrt(len(apart)):.2f}"


def main() -> None:
    """Make what rows are missing, print accuracies and latencies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--chains", default=",".join(CHAINS), help="names, with commas")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--processes", type=int, default=11, help="of each engine; 0: no latency is measured")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.folder.mkdir(parents=True, exist_ok=True)
    held = given.folder / "rows.jsonl"
    rows: list[dict[str, Any]] = rows_in(held, dict)
    names = given.chains.split(",")
    for seed in range(given.seeds):
        own = given.folder / f"{seed}"
        for name in (WHOLE, *names):
            if any((one["chain"], one["seed"]) == (name, seed) for one in rows):
                continue
            rows.append(row(name, CHAINS.get(name), seed, own))
            add_row(rows[-1], held)
            print({key: value if isinstance(value, str) else round(value, 2) for key, value in rows[-1].items()})
    for seed in range(given.seeds):
        own = given.folder / f"{seed}"
        ratios = latencies(own, names, seed, given.processes) if given.processes else {}
        for name in (WHOLE, *names):
            for runtime in RUNTIMES:
                ratio = ratios.get((name, "integers", runtime), "not measured")
                print(f"seed {seed}, {name}, {runtime}: {lost(own, name, runtime)} points; latency {ratio}", flush=True)


if __name__ == "__main__":
    main()
