"""A profile of probes as the search would have measured it, from a known cost of kernels."""

from __future__ import annotations

import numpy as np

from edgekd.artifact import Artifact
from edgekd.budget import OperatingPoint
from edgekd.figure import Figure
from edgekd.models.kernels import kernels
from edgekd.predict.features import features
from edgekd.profile import EngineRecord, Profile
from edgekd.schema import write_json
from edgekd.stage import Context
from tests.models import INPUT_SHAPE, ResidualCnn

COST = np.array([0.01, 0.002, 4e-7, 5e-7, 2e-6])
SPEED = {"fp32": 1.0, "u8w8": 0.5}


def milliseconds(channels: int, scheme: str = "fp32") -> float:
    """Return what a ResidualCnn of that width was measured to take at percentile 90."""
    return float(features(kernels(ResidualCnn(channels), INPUT_SHAPE), 16) @ COST) * SPEED[scheme]


def add_probes(context: Context) -> Artifact:
    """Write the profile into the stage's folder and return its artifact."""
    records = [
        EngineRecord(
            network="teacher" if channels == 16 else f"probe-{channels}",
            scheme=scheme,
            runtime="openvino",
            digest="0",
            operating_point=OperatingPoint(),
            figures=(Figure(name="latency_ms_p90", value=milliseconds(channels, scheme), origin="device"),),
            kernels=kernels(ResidualCnn(channels), INPUT_SHAPE),
        )
        for channels in (16, 32, 48, 64)
        for scheme in SPEED
    ]
    path = context.folder / "probes.json"
    write_json(Profile(target="x86-vnni", origin="device", records=tuple(records)), path)
    return context.store(path, network="probes", format="profile", made_by="search")
