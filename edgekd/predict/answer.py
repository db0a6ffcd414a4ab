"""What `edgekd predict` answers: every engine a network could become on a target, and what each would cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekd.errors import UsageError
from edgekd.figure import Figure
from edgekd.fuse.fusion import rules
from edgekd.kernel import KernelProfile
from edgekd.onnx_graph.graph import Graph, read
from edgekd.onnx_graph.quantized import quantized
from edgekd.onnx_graph.source import opened
from edgekd.predict.latency import LatencyModel, Prediction
from edgekd.predict.memory import MemoryModel
from edgekd.predict.schemes import FLOAT, is_quantized, scheme_of
from edgekd.predict.widths import Widths, widths


@dataclass(frozen=True)
class Answer:
    """One engine: a scheme on a runtime."""

    scheme: str
    prediction: Prediction
    memory: Figure | None
    """`peak_memory_mb`, above that of a process without an engine."""
    costly: tuple[int, ...]
    """Positions of the most costly kernels, the most costly first."""
    widths: Mapping[int, Widths]
    """By position, of those whose width is known to be free to change."""


def answers(
    network: Path,
    profile: KernelProfile,
    runtimes: Sequence[str],
    scheme: str | None,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    most: int = 10,
) -> list[Answer]:
    """Return a prediction for every runtime: of the file as it is, or of what `scheme` would make of a float one.

    `most` is how many of the costly kernels are looked at more closely. Raises UsageError for a file that is no network
    or quantized already, ExportError for what no runtime could take.
    """
    _refuse_unknown(scheme, profile)
    graph = read(network, shapes)
    integer = is_quantized(graph)
    label = scheme or scheme_of(graph, profile)
    if scheme is not None and scheme != FLOAT:
        if integer:
            raise UsageError(f"{network} is quantized already; leave --scheme out, or give the float network")
        model, _ = opened(network)
        graph = read(quantized(model), shapes)
    elif scheme == FLOAT and integer:
        raise UsageError(f"{network} is quantized; leave --scheme out, or give the float network")
    return [_answer(graph, profile, runtime, label, most) for runtime in runtimes]


def _answer(graph: Graph, profile: KernelProfile, runtime: str, scheme: str, most: int) -> Answer:
    model = LatencyModel(profile, runtime)
    kernels = rules([runtime], profile.isa)[runtime].kernels(graph)
    prediction = model.predicted(kernels)
    costly = sorted(range(len(kernels)), key=lambda number: -prediction.kernels[number].ms)[:most]
    found = {number: widths(graph, kernels, model, number) for number in costly}
    measured = [probe for probe in profile.memory if (probe.runtime, probe.scheme) == (runtime, scheme)]
    memory = MemoryModel(measured).peak_mb(graph, kernels) if measured else None
    return Answer(
        scheme,
        prediction,
        memory,
        tuple(costly),
        {number: width for number, width in found.items() if width is not None},
    )


def _refuse_unknown(scheme: str | None, profile: KernelProfile) -> None:
    known = sorted({FLOAT, *(probe.scheme for probe in profile.probes)})
    if scheme is not None and scheme not in known:
        raise UsageError(f"unknown scheme '{scheme}'; known: {', '.join(known)}", scheme)
