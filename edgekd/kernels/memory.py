"""Peak memory of a few probes, each in a process of its own: what is kept of weights and activations, and how often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from edgekd.connection.connection import Connection
from edgekd.fuse.fusion import Fusion
from edgekd.kernel import MemoryProbe
from edgekd.kernels.drawn import Drawn, drawn
from edgekd.onnx_graph.graph import read
from edgekd.predict.memory import activation_peak_bytes, weights_bytes

_CANDIDATES = 60
_NETWORKS = 6
_EMPTY = 3
_RUNS = 8
_FIRST = 10_000_000
"""Numbers of these networks begin here, far from those whose latency is measured."""
_HANG_S = 120.0


def memory_probes(
    connection: Connection, schemes: Sequence[str], rules: Mapping[str, Fusion], threads: int, folder: Path
) -> list[MemoryProbe]:
    """Return the peak memory of networks of various sizes, above that of a process that loads none."""
    networks = _various(schemes, rules)
    found = []
    for runtime in rules:
        call = {"verb": "memory", "runtime": runtime, "threads": threads, "batch": 1, "runs": _RUNS, "most_s": 0.5}
        empty_mb = median(_asked(connection, {**call, "engine": None}) for _ in range(_EMPTY))
        for network in networks:
            inputs = folder / "inputs.npy"
            with network.built(folder) as engines:
                for scheme in network.models:
                    graph = read(network.models[scheme])
                    np.save(inputs, np.zeros(graph.shapes[graph.inputs[0]], np.float32))
                    engine = engines[scheme, runtime]
                    sent = {"engine": connection.sent(engine), "inputs": connection.sent(inputs)}
                    peak_mb = _asked(connection, {**call, **sent})
                    connection.dropped(engine)
                    connection.dropped(inputs)
                    kernels = network.kernels[scheme, runtime]
                    found.append(
                        MemoryProbe(
                            name=network.name,
                            scheme=scheme,
                            runtime=runtime,
                            peak_mb=peak_mb - empty_mb,
                            weights_mb=weights_bytes(graph) / 1e6,
                            activations_mb=activation_peak_bytes(graph, kernels) / 1e6,
                        )
                    )
    return found


def _asked(connection: Connection, request: dict[str, Any]) -> float:
    with connection.start("a memory probe") as child:
        return float(child.ask(request, _HANG_S)["peak_mb"])


def _various(schemes: Sequence[str], rules: Mapping[str, Fusion]) -> list[Drawn]:
    """Return networks as different as possible in weights and activations, the first chosen far from nothing."""
    candidates = [drawn(_FIRST + number, schemes, rules) for number in range(_CANDIDATES)]
    graphs = [read(candidate.models[schemes[0]]) for candidate in candidates]
    sizes = np.log([[weights_bytes(graph) + 1e5, activation_peak_bytes(graph) + 1e5] for graph in graphs])
    apart = np.full(len(candidates), np.inf)
    chosen = [int(sizes.sum(axis=1).argmax())]
    while len(chosen) < _NETWORKS:
        apart = np.minimum(apart, np.abs(sizes - sizes[chosen[-1]]).max(axis=1))
        chosen.append(int(apart.argmax()))
    return [candidates[number] for number in chosen]
