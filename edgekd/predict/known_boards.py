"""Boards that others measured, as prior for a new one: networks on three Jetsons, as plain numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from edgekd.errors import EdgekdError
from edgekd.predict.board import Board, Measured
from edgekd.predict.work import TERMS

FILE = Path(__file__).with_suffix(".json")


def known_boards() -> list[Measured]:
    """Return the known boards: 13 networks each, TensorRT, fp16, batch 1; the file names source and licence.

    Raises EdgekdError where the work of the networks was counted in other terms than today's.
    """
    written = json.loads(FILE.read_text(encoding="utf-8"))
    if tuple(written["terms"]) != TERMS:
        raise EdgekdError(
            f"{FILE.name} counts {written['terms']}, not {list(TERMS)}; run tools/study_roofline.py --write"
        )
    works = np.array([network["work"] for network in written["networks"]], np.float64)
    return [
        Measured(
            Board(board["name"], board["dense_tflops"], board["vector_tflops"], board["bandwidth_gbs"]),
            works,
            np.array(board["latencies_ms"], np.float64),
        )
        for board in written["boards"]
    ]
