"""Quantization of trained networks by edgekd and by NNCF, with and without training; the built engines' own accuracy.

    PYTHON -m tools.bench_qat FOLDER [--seeds 8] [--images 30000] [--qat-images 10000] [--styles resnet]
        [--processes 51]

PYTHON is an interpreter that has edgekd[compress], nncf and Fashion-MNIST. Each seed trains a float network, which both
tools quantize: by calibration on the same 256 images, and by training on the same batches with the same optimizer,
cosine and number of steps from there; both learn from labels alone, edgekd also from the float network as it does by
default. Accuracy is that of OpenVINO's engine on all 10,000 test images, and of ONNX Runtime's for edgekd. FOLDER keeps
a row for each seed of each style, which is not made again, and the engines of the first seed, whose latencies are
measured in turns. Prints paired differences with their 95 % interval (Student's t over seeds), and how surely one is at
most 0.1 points below the other (Wilcoxon's signed ranks, one-sided: a single network that collapses says little there).
"""

from __future__ import annotations

import argparse
import copy
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import wilcoxon
from torch import nn

from edgekd.artifact import digest_of_path
from edgekd.disk import scratch
from edgekd.distill.loss import create
from edgekd.distill.objective import DistillObjective
from edgekd.export.backend import BACKENDS
from edgekd.export.onnx_file import write
from edgekd.measure.comparison import paired_ratio
from edgekd.measure.engine import Engine
from edgekd.models.build import build
from edgekd.placement.scheme import SCHEMES
from edgekd.quantize.emission import freeze
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.quantize.stage import QuantizeConfig
from edgekd.quantize.unfold import refold, unfold
from edgekd.recipe import DataSpec, ModelSpec
from edgekd.runtime.session import open_session
from edgekd.train import data
from edgekd.train.answer import Answer
from edgekd.train.augment import augmentation
from edgekd.train.batches import AugmentedBatches, Batch
from edgekd.train.dataset import DataSet
from edgekd.train.evaluate import accuracy, logits
from edgekd.train.loop import LoopConfig, train
from edgekd.train.objective import Objective, Terms
from tools.bench_losses import interval
from tools.in_turns import in_turns
from tools.rows import add_row, rows_in

SPEC = DataSpec(name="fashion-mnist", augmentation="crop-flip", augmentation_options={"padding": 2})
STYLES = {
    "resnet": ModelSpec(name="resnet", options={"depth": 8, "channels": [16, 32, 64]}),
    "mobilenetv2": ModelSpec(name="mobilenetv2", options={"width": 0.35, "depth": 0.35, "head": 64}),
}
CALIBRATION, BATCH = 256, 64
MARGIN = 0.1
PAIRS = (
    ("edgekd PTQ", "NNCF PTQ"),
    ("edgekd QAT", "NNCF QAT"),
    ("edgekd QAT taught", "NNCF QAT"),
    ("edgekd PTQ", "float"),
    ("edgekd QAT", "edgekd PTQ"),
    ("edgekd QAT taught", "edgekd QAT"),
    ("NNCF QAT", "NNCF PTQ"),
)
Array = NDArray[np.float32]


def loop(images: int, dataset: DataSet, rate: float, optimizer: str) -> LoopConfig:
    """Return how long and how a network is trained."""
    epochs = max(1, round(images / len(dataset.train)))
    decay = 5e-4 if optimizer == "sgd" else 1e-4
    return LoopConfig(epochs=epochs, batch=BATCH, optimizer=optimizer, learning_rate=rate, weight_decay=decay)


def from_labels(model: nn.Module, batch: Batch) -> Terms:
    """Return the cross-entropy."""
    return Terms(nn.functional.cross_entropy(model(batch.inputs), batch.labels))


def by_default(teacher: nn.Module) -> Objective:
    """Return what edgekd's quantize stage minimises unless told otherwise."""
    config = QuantizeConfig().qat
    objective = DistillObjective(create(config.losses), config.label_weight)

    def taught(model: nn.Module, batch: Batch) -> Terms:
        with torch.no_grad():
            answer = Answer(teacher(batch.inputs))
        return objective(model, replace(batch, teacher=answer))  # type: ignore[no-any-return]

    return taught


def trained(
    model: nn.Module, dataset: DataSet, config: LoopConfig, seed: int, objective: Objective = from_labels
) -> nn.Module:
    """Train on augmented images."""
    batches = AugmentedBatches(
        data.normalised(dataset.train, dataset),
        dataset.train.labels,
        batch=config.batch,
        augmentation=augmentation(SPEC),
        seed=seed,
    )

    with tempfile.TemporaryDirectory() as folder:
        train(model, batches, objective, config, folder=Path(folder), title="training")
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return model.eval()


def engine_accuracy(runtime: str, engine: Path, inputs: Array, labels: NDArray[np.int64]) -> float:
    """Return what the built engine gets right, in percent."""
    session = open_session(runtime, str(engine), threads=1, batch=100)
    parts = np.split(inputs, len(inputs) // 100)
    return accuracy(np.concatenate([session.run([part])[0].copy() for part in parts]), labels)


def of_edgekd(module: nn.Module, inputs: Array, labels: NDArray[np.int64], folder: Path) -> dict[str, float]:
    """Return the accuracy of both engines, which stay in `folder`, and of the module they were made of."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write(module, folder / "model.onnx", tuple(inputs.shape[1:]))
    found = {"fake": accuracy(logits(module, inputs), labels)}
    for runtime in ("openvino", "onnxruntime"):
        engine = BACKENDS.get(runtime)().build(folder / "model.onnx", folder)
        found[runtime] = engine_accuracy(runtime, engine, inputs, labels)
    return found


def of_nncf(module: nn.Module, inputs: Array, labels: NDArray[np.int64], folder: Path) -> dict[str, float]:
    """Return the accuracy of OpenVINO's engine, which stays in `folder`."""
    import nncf
    import openvino

    example = torch.from_numpy(inputs[:2])
    model = openvino.convert_model(nncf.strip(module, do_copy=True, example_input=example), example_input=example)
    model.input(0).get_tensor().set_names({"input"})
    model.output(0).get_tensor().set_names({"logits"})
    engine = folder / "openvino"
    openvino.save_model(model, engine / "model.xml", compress_to_fp16=False)
    return {"openvino": engine_accuracy("openvino", engine, inputs, labels)}


def by_nncf(model: nn.Module, images: Array) -> nn.Module:
    """Return the network with NNCF's quantizers, weights of half the range as this processor needs them."""
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

    quantized: nn.Module = nncf.quantize(
        model,
        nncf.Dataset([torch.from_numpy(image[None]) for image in images]),
        subset_size=len(images),
        advanced_parameters=AdvancedQuantizationParameters(overflow_fix=OverflowFix.ENABLE),
    )
    return quantized


def row(style: str, seed: int, images: int, qat_images: int, folder: Path) -> dict[str, Any]:
    """Train and quantize one network in every way; the engines of the first seed stay in `folder`."""
    torch.set_num_threads(1)
    with scratch("edgekd-bench") as unkept:
        return quantized(style, seed, images, qat_images, unkept if seed else folder / style)


def quantized(style: str, seed: int, images: int, qat_images: int, folder: Path) -> dict[str, Any]:
    """Return the accuracies of one network; its engines stay in `folder`."""
    dataset = data.load(SPEC)
    torch.manual_seed(seed)
    model = build(STYLES[style], dataset.input_shape, dataset.classes)
    model = trained(model, dataset, loop(images, dataset, 0.1, "sgd"), seed)
    inputs, labels = data.normalised(dataset.test, dataset), dataset.test.labels
    seen = data.normalised(dataset.calibration, dataset)[:CALIBRATION]
    short = loop(qat_images, dataset, QuantizeConfig().qat.learning_rate, "adamw")
    found: dict[str, Any] = {"style": style, "seed": seed}

    def add(name: str, judge: Callable[..., dict[str, float]], network: nn.Module) -> None:
        judged = judge(network, inputs, labels, folder / name)
        found[name] = judged["openvino"]
        found.update({f"{name}, {key}": value for key, value in judged.items() if key != "openvino"})

    add("float", of_edgekd, model)
    module = prepare(model, torch.from_numpy(seen[:2]), SCHEMES["u8w7"])
    calibrate(module, seen)
    add("edgekd PTQ", of_edgekd, freeze(module))
    objectives: dict[str, Objective] = {"edgekd QAT": from_labels, "edgekd QAT taught": by_default(model)}
    for name, objective in objectives.items():
        student = copy.deepcopy(module)
        unfold(student)
        trained(student, dataset, short, seed, objective)
        refold(student)
        add(name, of_edgekd, freeze(student))
    theirs = by_nncf(model, seen)
    add("NNCF PTQ", of_nncf, theirs)
    add("NNCF QAT", of_nncf, trained(theirs, dataset, short, seed))
    return found


def told(rows: list[dict[str, Any]], style: str) -> None:
    """Print what was found for one style."""
    mine = sorted((one for one in rows if one["style"] == style), key=lambda one: one["seed"])
    if not mine:
        return
    names = [key for key in mine[0] if key not in {"style", "seed"}]
    print(f"{style}, {len(mine)} seeds: " + ", ".join(f"{n} {np.mean([r[n] for r in mine]):.2f}" for n in names))
    for first, second in PAIRS:
        apart = np.array([one[first] - one[second] for one in mine])
        held = wilcoxon(apart + MARGIN, alternative="greater").pvalue
        print(f"  {first} - {second}: {interval(apart)}; more than {MARGIN} below: ruled out with p = {held:.4f}")
    for name in ("edgekd PTQ", "edgekd QAT", "edgekd QAT taught"):
        worst = max(abs(one[name] - one[f"{name}, fake"]) for one in mine)
        print(f"  {name}, engine against fake-quantized network: at most {worst:.2f} points")


def latencies(folder: Path, processes: int) -> None:
    """Measure the engines of one network in turns, and print their latency by that of NNCF's after calibration."""
    engines = [
        Engine(place.name, "int8", runtime, path, digest_of_path(path))
        for place in sorted(folder.iterdir())
        for runtime, path in (("openvino", place / "openvino"), ("onnxruntime", place / "model.onnx"))
        if path.exists()
    ]
    dataset = data.load(SPEC)
    found = in_turns(engines, data.normalised(dataset.test, dataset), processes)
    records = dict(zip(((engine.network, engine.runtime) for engine in engines), found, strict=True))
    for (name, runtime), record in records.items():
        ratio = paired_ratio(record, records["NNCF PTQ", "openvino"], 50, "latency_ratio_p50")
        print(f"  {name}, {runtime}: {ratio.text()} of the latency of NNCF PTQ in openvino")


def main() -> None:
    """Make what rows are missing, print differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--images", type=int, default=30_000)
    parser.add_argument("--qat-images", type=int, default=10_000)
    parser.add_argument("--styles", default=",".join(STYLES))
    parser.add_argument("--processes", type=int, default=51, help="of each engine whose latency is measured")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    held = given.folder / "rows.jsonl"
    rows: list[dict[str, Any]] = rows_in(held, dict)
    done = {(one["style"], one["seed"]) for one in rows}
    styles = given.styles.split(",")
    wanted = [(style, seed) for seed in range(given.seeds) for style in styles if (style, seed) not in done]
    with ProcessPoolExecutor(2) as pool:
        jobs = [pool.submit(row, *job, given.images, given.qat_images, given.folder) for job in wanted]
        for job in as_completed(jobs):
            rows.append(job.result())
            add_row(rows[-1], held)
    for style in styles:
        told(rows, style)
        latencies(given.folder / style, given.processes)


if __name__ == "__main__":
    main()
