"""A machine whose kernels cost what a formula says, so that predictions can be held against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from random import Random

from edgekd.fuse.fusion import rules
from edgekd.kernel import FusedKernel, KernelProfile, MemoryProbe, Probe, TimedKernel
from edgekd.kernels.drawn import drawn
from edgekd.predict.learning import learned

CALL_MS = 0.005
SCHEMES = ("fp32", "u8w8")
ISA = ("avx2", "avx512f")
STEP = 16
"""Channels are computed in steps of so many."""


def kernel_ms(kernel: FusedKernel) -> float:
    """Multiplications at 20 (integers: 60) a nanosecond in whole vectors, bytes at 10 a nanosecond, and a start."""
    rate = 60e6 if kernel.types[0] in {"u8", "s8"} else 20e6
    wide = kernel.output[1] if len(kernel.output) == 4 else kernel.output[-1] if kernel.output else 1
    filled = _filled(wide) if kernel.weights else 1.0
    if len(kernel.weights) > 2 and kernel.groups == 1:
        filled *= _filled(kernel.weights[1])
    moved = kernel.bytes_read + kernel.bytes_written + kernel.bytes_of_weights
    return 0.001 + kernel.macs * filled / rate + moved / 10e6


def _filled(count: int) -> float:
    return -(-count // STEP) * STEP / max(count, 1)


def latency_ms(kernels: Sequence[FusedKernel]) -> float:
    """Return what a whole network costs there."""
    return CALL_MS + sum(map(kernel_ms, kernels))


@cache
def _drawn(number: int, runtime: str) -> tuple[str, dict[str, list[FusedKernel]]]:
    """Return the name and the kernels by scheme of a probe network; many tests begin with the same ones."""
    network = drawn(number, SCHEMES, rules([runtime], ISA))
    return network.name, {scheme: network.kernels[scheme, runtime] for scheme in SCHEMES}


def probes(first: int, count: int, runtime: str, noise: float = 0.02) -> list[Probe]:
    """Return measured probes of so many networks."""
    chance = Random(first)
    found = []
    for number in range(first, first + count):
        name, by_scheme = _drawn(number, runtime)
        for scheme, kernels in by_scheme.items():
            told = [kernel_ms(kernel) * chance.gauss(1, noise) for kernel in kernels]
            found.append(
                Probe(
                    name=name,
                    scheme=scheme,
                    runtime=runtime,
                    ms=CALL_MS + sum(told),
                    runs=100,
                    scatter=0.01,
                    pace=1.0,
                    rows=len(told),
                    rows_ms=sum(told),
                    kernels=tuple(TimedKernel(k, ms) for k, ms in zip(kernels, told, strict=True)),
                )
            )
    return found


@cache
def profile(runtimes: tuple[str, ...] = ("onnxruntime",), count: int = 150) -> KernelProfile:
    """Return the kernel profile of that machine, on which half a megabyte is needed beside three times the weights."""
    found = {runtime: probes(1, count, runtime) for runtime in runtimes}
    memory = [
        MemoryProbe(
            name=str(number),
            scheme=scheme,
            runtime=runtime,
            peak_mb=0.5 + 3 * weights + 2 * activations,
            weights_mb=weights,
            activations_mb=activations,
        )
        for runtime in runtimes
        for scheme in SCHEMES
        for number, (weights, activations) in enumerate([(0.1, 5.0), (10.0, 0.2), (1.0, 1.0), (4.0, 8.0)])
    ]
    return KernelProfile(
        target="x86-vnni",
        origin="device",
        machine={"cpu": "a formula", "isa": list(ISA), "seconds": 1.0, "doubts": [], "remarks": []},
        versions=dict.fromkeys(runtimes, "1.0"),
        anchor_ms=dict.fromkeys(runtimes, 0.5),
        probes=tuple(probe for each in found.values() for probe in each),
        memory=tuple(memory),
        fits={runtime: learned(each) for runtime, each in found.items()},
    )
