"""Predictions for a target whose kernels nobody has measured: its datasheet, known boards, and figures a user gives."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekd.errors import TargetError, UsageError
from edgekd.fuse.fusion import FUSIONS
from edgekd.kernel import FusedKernel
from edgekd.onnx_graph.graph import Graph, read
from edgekd.predict.board import Board
from edgekd.predict.known_boards import known_boards
from edgekd.predict.roofline import Roofline
from edgekd.target import BoardFacts, Target

_LAYOUT = "reorder"


def facts_of(target: Target) -> BoardFacts:
    """Return what a target's datasheet says; raises TargetError when the target file holds no such facts."""
    if target.board is None:
        raise TargetError(
            f"no kernel profile of {target.name} is known, nor what its datasheet says; on the device itself run: "
            f"edgekd profile --target {target.name} --kernels"
        )
    return target.board


def roofline(target: Target, figures: Path | None) -> Roofline:
    """Return the model of a target by its datasheet; `figures` is a CSV file of networks measured there.

    Raises what `facts_of` does, and UsageError for a fault in the figures.
    """
    facts = facts_of(target)
    board = Board(target.name, facts.dense_tflops.value, facts.vector_tflops.value, facts.bandwidth_gbs.value)
    if figures is None:
        return Roofline.uncalibrated(board, known_boards())
    networks, latencies = _measured(figures)
    return Roofline.calibrated(board, [merged(read(network)) for network in networks], latencies, known_boards())


def merged(graph: Graph) -> list[FusedKernel]:
    """Return what every engine makes of a network: layers with what follows them, no changes of layout.

    The rules are those of OpenVINO, whose fusions of convolutions with activations and sums other engines share.
    """
    found = FUSIONS.get("openvino")().kernels(graph)
    return [kernel for kernel in found if not kernel.code.removeprefix("q").startswith(_LAYOUT)]


def _measured(figures: Path) -> tuple[list[Path], list[float]]:
    try:
        rows = list(csv.DictReader(figures.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{figures} cannot be read: {error}; give a CSV file with the columns network,ms") from None
    networks, latencies = [], []
    for number, row in enumerate(rows, start=2):
        network, ms = _network(figures, row), _number(row.get("ms"))
        if network is None or ms is None:
            raise UsageError(f"{figures}:{number}: expected the path of an ONNX file and its ms, got {dict(row)}")
        networks.append(network)
        latencies.append(ms)
    if not networks:
        raise UsageError(f"{figures} holds no figure; a line for each network measured is needed: network,ms")
    return networks, latencies


def _network(figures: Path, row: Mapping[str, str | None]) -> Path | None:
    name = row.get("network")
    return (figures.parent / name) if name else None


def _number(text: str | Sequence[str] | None) -> float | None:
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None
