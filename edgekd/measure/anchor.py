"""The anchor: one small fixed network, measured interleaved with others; its speed tells how fast the machine runs.

A latency in milliseconds holds for a machine in one state. The anchor relates two moments: what it costs now, divided
by what it cost when the machine was registered, is how much slower the machine runs. `tools/write_anchor.py` writes it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekd.artifact import digest_of_path
from edgekd.disk import whole_file
from edgekd.measure.engine import Engine

NAME = "anchor-1"
"""Changes whenever the network does: figures of different anchors say nothing about each other."""
FILE = Path(__file__).with_name("anchor.onnx")
SHAPE = (16, 40, 40)
_SAMPLES = 4


def engine(runtime: str, folder: Path) -> Engine:
    """Return the anchor as an engine of a runtime, called one input at a time; its inputs are written into `folder`."""
    return Engine(NAME, "fp32", runtime, FILE, digest_of_path(FILE), inputs=_inputs(folder), batch=1)


def _inputs(folder: Path) -> Path:
    """Write (4, 16, 40, 40) float32 values between -1 and 1, the same everywhere."""
    path = folder / f"{NAME}.npy"
    if not path.is_file():
        values = np.random.RandomState(1).randint(-128, 128, (_SAMPLES, *SHAPE)) / 128
        with whole_file(path) as unfinished, unfinished.open("wb") as stream:
            np.save(stream, values.astype(np.float32), allow_pickle=False)
    return path
