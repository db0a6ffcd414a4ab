"""Quantization of trained networks by edgekd and by NNCF, with and without training; the built engines' own accuracy.

    PYTHON -m tools.bench_qat [--seeds 8] [--images 30000] [--qat-images 10000] [--rows FILE] [--styles resnet]

PYTHON is an interpreter that has edgekd[compress], nncf and Fashion-MNIST. Each seed trains a float network, which both
tools quantize: by calibration on the same 256 images, and by training on the same batches with the same optimizer,
cosine and number of steps from there. Accuracy is that of OpenVINO's engine on all 10,000 test images, and of ONNX
Runtime's for edgekd. A row is one seed of one style; rows in FILE are not made again. Prints paired differences with
their 95 % interval (Student's t over seeds).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekd.export.backend import BACKENDS
from edgekd.export.onnx_file import write
from edgekd.models.build import build
from edgekd.placement.scheme import SCHEMES
from edgekd.quantize.emission import freeze
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.recipe import DataSpec, ModelSpec
from edgekd.runtime.session import open_session
from edgekd.train import data
from edgekd.train.augment import augmentation
from edgekd.train.batches import AugmentedBatches, Batch
from edgekd.train.dataset import DataSet
from edgekd.train.evaluate import accuracy, logits
from edgekd.train.loop import LoopConfig, train
from edgekd.train.objective import Terms
from tools.bench_losses import interval

SPEC = DataSpec(name="fashion-mnist", augmentation="crop-flip", augmentation_options={"padding": 2})
STYLES = {
    "resnet": ModelSpec(name="resnet", options={"depth": 8, "channels": [16, 32, 64]}),
    "mobilenetv2": ModelSpec(name="mobilenetv2", options={"width": 0.5, "depth": 0.5, "head": 128}),
}
CALIBRATION, BATCH = 256, 64
PAIRS = (
    ("edgekd PTQ", "NNCF PTQ"),
    ("edgekd QAT", "NNCF QAT"),
    ("edgekd PTQ", "float"),
    ("edgekd QAT", "edgekd PTQ"),
    ("NNCF QAT", "NNCF PTQ"),
)
Array = NDArray[np.float32]


def loop(images: int, dataset: DataSet, rate: float, optimizer: str) -> LoopConfig:
    """Return how long and how a network is trained."""
    epochs = max(1, round(images / len(dataset.train)))
    decay = 5e-4 if optimizer == "sgd" else 1e-4
    return LoopConfig(epochs=epochs, batch=BATCH, optimizer=optimizer, learning_rate=rate, weight_decay=decay)


def trained(model: nn.Module, dataset: DataSet, config: LoopConfig, seed: int) -> nn.Module:
    """Train on labels alone."""
    batches = AugmentedBatches(
        data.normalised(dataset.train, dataset),
        dataset.train.labels,
        batch=config.batch,
        augmentation=augmentation(SPEC),
        seed=seed,
    )

    def objective(network: nn.Module, batch: Batch) -> Terms:
        return Terms(nn.functional.cross_entropy(network(batch.inputs), batch.labels))

    with tempfile.TemporaryDirectory() as folder:
        train(model, batches, objective, config, folder=Path(folder), title="training")
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return model.eval()


def engine_accuracy(runtime: str, engine: Path, inputs: Array, labels: NDArray[np.integer]) -> float:
    """Return what the built engine gets right, in percent."""
    session = open_session(runtime, str(engine), threads=1, batch=100)
    parts = np.split(inputs, len(inputs) // 100)
    return accuracy(np.concatenate([session.run([part])[0].copy() for part in parts]), labels)


def of_edgekd(module: nn.Module, inputs: Array, labels: NDArray[np.integer]) -> dict[str, float]:
    """Return the accuracy of both engines and of the fake-quantized module."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(freeze(module), folder / "model.onnx", tuple(inputs.shape[1:]))
        found = {"fake": accuracy(logits(module, inputs), labels)}
        for runtime in ("openvino", "onnxruntime"):
            engine = BACKENDS.get(runtime)().build(folder / "model.onnx", folder)
            found[runtime] = engine_accuracy(runtime, engine, inputs, labels)
    return found


def of_nncf(module: nn.Module, inputs: Array, labels: NDArray[np.integer]) -> float:
    """Return the accuracy of OpenVINO's engine."""
    import nncf
    import openvino

    example = torch.from_numpy(inputs[:2])
    plain = nncf.strip(module, do_copy=True, example_input=example)
    with tempfile.TemporaryDirectory() as name:
        model = openvino.convert_model(plain, example_input=example)
        model.input(0).get_tensor().set_names({"input"})
        model.output(0).get_tensor().set_names({"logits"})
        openvino.save_model(model, Path(name) / "model.xml", compress_to_fp16=False)
        return engine_accuracy("openvino", Path(name), inputs, labels)


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


def row(style: str, seed: int, images: int, qat_images: int) -> dict[str, Any]:
    """Train and quantize one network in every way."""
    torch.set_num_threads(1)
    dataset = data.load(SPEC)
    torch.manual_seed(seed)
    model = build(STYLES[style], dataset.input_shape, dataset.classes)
    model = trained(model, dataset, loop(images, dataset, 0.1, "sgd"), seed)
    inputs, labels = data.normalised(dataset.test, dataset), dataset.test.labels
    seen = data.normalised(dataset.calibration, dataset)[:CALIBRATION]
    short = loop(qat_images, dataset, 3e-4, "adamw")
    found: dict[str, Any] = {"style": style, "seed": seed, "float": accuracy(logits(model, inputs), labels)}

    def add(name: str, judged: dict[str, float]) -> None:
        found[name] = judged["openvino"]
        found.update({f"{name}, {key}": value for key, value in judged.items() if key != "openvino"})

    module = prepare(model, torch.from_numpy(seen[:2]), SCHEMES["u8w7"])
    calibrate(module, seen)
    add("edgekd PTQ", of_edgekd(module, inputs, labels))
    add("edgekd QAT", of_edgekd(trained(module, dataset, short, seed), inputs, labels))
    quantized = by_nncf(model, seen)
    found["NNCF PTQ"] = of_nncf(quantized, inputs, labels)
    found["NNCF QAT"] = of_nncf(trained(quantized, dataset, short, seed), inputs, labels)
    return found


def told(rows: list[dict[str, Any]], style: str) -> None:
    """Print what was found for one style."""
    mine = sorted((one for one in rows if one["style"] == style), key=lambda one: one["seed"])
    if not mine:
        return
    names = [key for key in mine[0] if key not in {"style", "seed"}]
    print(f"{style}, {len(mine)} seeds: " + ", ".join(f"{n} {np.mean([r[n] for r in mine]):.2f}" for n in names))
    for first, second in PAIRS:
        print(f"  {first} - {second}: {interval(np.array([one[first] - one[second] for one in mine]))}")
    for kind in ("PTQ", "QAT"):
        apart = [abs(one[f"edgekd {kind}"] - one[f"edgekd {kind}, fake"]) for one in mine]
        print(f"  edgekd {kind}, engine against fake-quantized network: at most {max(apart):.2f} points")


def main() -> None:
    """Make what rows are missing, print differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--images", type=int, default=30_000)
    parser.add_argument("--qat-images", type=int, default=10_000)
    parser.add_argument("--styles", default=",".join(STYLES))
    parser.add_argument("--rows", type=Path, default=None)
    given = parser.parse_args()
    held = given.rows is not None and given.rows.is_file()
    rows = [json.loads(line) for line in given.rows.open()] if held else []
    done = {(one["style"], one["seed"]) for one in rows}
    styles = given.styles.split(",")
    wanted = [(style, seed) for seed in range(given.seeds) for style in styles if (style, seed) not in done]
    call: Callable[..., dict[str, Any]] = row
    with ProcessPoolExecutor(2) as pool:
        jobs = [pool.submit(call, *job, given.images, given.qat_images) for job in wanted]
        for job in as_completed(jobs):
            rows.append(job.result())
            if given.rows is not None:
                with given.rows.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    for style in styles:
        told(rows, style)


if __name__ == "__main__":
    main()
