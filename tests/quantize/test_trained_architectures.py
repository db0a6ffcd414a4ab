"""Networks of every family, trained, quantized and built: an engine is right as often as the network it was made from.

Untrained networks, as in `test_architectures.py`, show what each layer computes; how often an engine is right shows
only where there is something to be right about. Digits for those that see, topics of Python's help for the one that
reads, and for the one that paints how bright every pixel was before noise.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.export.backend import BACKENDS
from edgekd.export.onnx_file import write
from edgekd.placement.scheme import SCHEMES
from edgekd.quantize.emission import freeze
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.recipe import DataSpec
from edgekd.runtime.session import open_session
from edgekd.train import data
from tests.architectures import ARCHITECTURES, TOKENS
from tests.export.running import RUNNING

POINTS = 0.2
IN_EVERY_RUN = ("text-encoder",)
TRAINED, BATCH = 3000, 50
EPOCHS = {"vit": 8, "vit-nonorm": 8, "text-encoder": 12}
"""Transformers learn slowly; convolutions have 3."""


def samples(name: str) -> tuple[Tensor, Tensor]:
    """Return inputs, and a label for each decision; the first are trained on, all are judged by."""
    texts, digits = DataSpec(name="python-topics", options={"tokens": TOKENS}), DataSpec(name="mnist5k")
    known = data.load(texts if name == "text-encoder" else digits)
    splits = (known.train, known.validation, known.test)
    inputs = torch.from_numpy(np.concatenate([data.normalised(split, known) for split in splits]))
    labels = torch.from_numpy(np.concatenate([split.labels for split in splits]))
    if name == "text-encoder":
        return inputs, labels
    clean = F.pad(inputs, (2, 2, 2, 2), mode="replicate").expand(-1, 3, -1, -1)
    if name != "unet":
        return clean.contiguous(), labels
    brightness = (clean[:, 0] - clean.min()) / (clean.max() - clean.min())
    noise = 0.5 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(3))
    return clean + noise, (brightness * 3.999).long()


def trained(name: str, inputs: Tensor, labels: Tensor) -> nn.Module:
    torch.manual_seed(0)
    model = ARCHITECTURES[name]().train()
    orders = torch.cat([torch.randperm(len(inputs)) for _ in range(EPOCHS.get(name, 3))]).split(BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(orders))
    for order in orders:
        optimizer.zero_grad()
        F.cross_entropy(model(inputs[order]), labels[order]).backward()
        optimizer.step()
        cosine.step()
    with torch.no_grad():
        for order in orders[-60:]:
            model(inputs[order])  # statistics of the weights as they ended
    return model.eval()


def right(answers: np.ndarray, labels: Tensor) -> float:
    """Return the share of right decisions in percent."""
    return 100 * float((answers.argmax(1) == labels.numpy()).mean())


@pytest.mark.parametrize(
    "name", [name if name in IN_EVERY_RUN else pytest.param(name, marks=pytest.mark.slow) for name in ARCHITECTURES]
)
def test_an_engine_is_right_as_often_as_its_fake_quantized_network(name: str, tmp_path: Path) -> None:
    inputs, labels = samples(name)
    model = trained(name, inputs[:TRAINED], labels[:TRAINED])
    module = prepare(model, inputs[:2], SCHEMES["u8w7"])
    calibrate(module, inputs[:128].numpy())
    with torch.no_grad():
        floating, fake = (
            right(np.concatenate([network(part).numpy() for part in inputs.split(BATCH)]), labels)
            for network in (model, module)
        )
    commonest = 100 * float(labels.flatten().bincount().max()) / labels.numel()
    assert floating > commonest + 0.2 * (100 - commonest)  # it has learned something
    write(freeze(module), tmp_path / "model.onnx", tuple(inputs.shape[1:]), inputs.dtype)
    for runtime in RUNNING:
        built = BACKENDS.get(runtime)().build(tmp_path / "model.onnx", tmp_path)
        session = open_session(runtime, str(built), batch=BATCH)
        engine = right(np.concatenate([session.run([part.numpy()])[0].copy() for part in inputs.split(BATCH)]), labels)
        print(f"{name}: float {floating:.2f}, fake-quantized {fake:.2f}, {runtime} {engine:.2f}")
        assert abs(engine - fake) <= POINTS
