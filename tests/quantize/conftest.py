"""Every tiny network, quantized in both x86 schemes and written as ONNX, once for all tests."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import fx, nn

from edgekd.export.onnx_file import write
from edgekd.measure import machine
from edgekd.placement.scheme import SCHEMES
from edgekd.quantize.emission import freeze
from edgekd.quantize.prepare import calibrate, prepare
from tests.models import INPUT_SHAPE, TINY, settled


@dataclass(frozen=True)
class Variant:
    floating: nn.Module
    module: fx.GraphModule
    path: Path
    images: np.ndarray
    scheme: str


@pytest.fixture(scope="session", params=itertools.product(TINY, ("u8w7", "u8w8")), ids="-".join)
def variant(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Variant:
    name, scheme = request.param
    floating = settled(name)
    images = (torch.randn(64, *INPUT_SHAPE, generator=torch.Generator().manual_seed(1)) * 0.7 + 0.2).numpy()
    module = prepare(floating, torch.from_numpy(images[:2]), SCHEMES[scheme])
    calibrate(module, images)
    path = tmp_path_factory.mktemp("variant") / "model.onnx"
    write(freeze(module), path, INPUT_SHAPE)
    return Variant(floating, module, path, images, scheme)


@pytest.fixture
def exact(variant: Variant) -> Variant:
    """A variant whose integers this processor adds up exactly."""
    if variant.scheme == "u8w8" and "vnni" not in machine.probe()["isa"]:
        pytest.skip("without integer dot products, sums of two products saturate in 16 bits; see test_saturation")
    return variant
