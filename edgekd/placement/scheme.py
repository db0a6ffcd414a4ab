"""A quantization scheme: the integer arithmetic one family of engines computes fast and without surprises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekd.errors import UsageError, suggestion

Signedness = Literal["unsigned", "affine", "symmetric"]
"""Of a tensor: u8 with zero point 0 (never negative), u8 with a free zero point, or s8 with zero point 0."""


@dataclass(frozen=True)
class WeightScheme:
    """How weights become integers, around zero; alone, it leaves activations in float."""

    name: str
    weight_limit: int
    """Weights lie in [-weight_limit - spare, weight_limit]."""
    spare: int = 0
    """What two's complement has below, where nothing forbids it."""
    block: int | None = None
    """Inputs that share a scale; None for all of an output channel."""


@dataclass(frozen=True, kw_only=True)
class Scheme(WeightScheme):
    """How activations and weights become integers."""

    unsigned_activations: bool
    """u8 activations with a zero point; otherwise symmetric s8."""
    experimental: bool = False
    """Whether it costs accuracy that no study of edgekd's has shown it to be worth."""

    def signedness(self, *, never_negative: bool) -> Signedness:
        """Return how a tensor is stored, knowing whether it can be negative."""
        if not self.unsigned_activations:
            return "symmetric"
        return "unsigned" if never_negative else "affine"


# Why 7-bit weights: vpmaddubsw adds two u8 x s8 products in 16 bits; 2 * 255 * 63 fits, 2 * 255 * 127 does not.
SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme(name="u8w7", unsigned_activations=True, weight_limit=63),
        Scheme(name="u8w8", unsigned_activations=True, weight_limit=127),
        Scheme(name="s8", unsigned_activations=False, weight_limit=127),
        # Ternary weights: no runtime computes them faster than eight bits, but a file packs them fivefold.
        Scheme(name="u8t", unsigned_activations=True, weight_limit=1, experimental=True),
    )
}

# Symmetric and without zero points, because TensorRT takes nothing else and OpenVINO is faster so; on a ViT-S, zero
# points in blocks of 64 were as exact in 0.4 bits less a weight. Blocks are what every runtime unpacks in its kernels.
WEIGHT_SCHEMES = {"w4": WeightScheme("w4", weight_limit=7, spare=1, block=32)}
"""Of ONNX files: a runtime may still round activations while it runs, as ONNX Runtime does."""


def any_scheme_named(name: str) -> WeightScheme:
    """Return the scheme of that name, perhaps one of weights alone; raises UsageError with the known names."""
    known = {**SCHEMES, **WEIGHT_SCHEMES}
    if name not in known:
        raise UsageError(f"unknown quantization scheme '{name}'; {suggestion(name, known)}")
    return known[name]


def scheme_named(name: str) -> Scheme:
    """Return the scheme of that name; raises UsageError with the known names."""
    if name in WEIGHT_SCHEMES:
        raise UsageError(
            f"scheme '{name}' is of weights alone, and no network is trained or placed for it; give "
            f"{', '.join(SCHEMES)} here, or write it with `edgekd quantize MODEL.onnx --scheme {name}`"
        )
    if name not in SCHEMES:
        raise UsageError(f"unknown quantization scheme '{name}'; {suggestion(name, SCHEMES)}")
    return SCHEMES[name]


def integer_range(signedness: Signedness) -> tuple[int, int]:
    """Return the lowest and highest integer an activation can take."""
    return (-128, 127) if signedness == "symmetric" else (0, 255)


SMALLEST_STEP = 1e-6
"""Steps are not smaller: a bias of 1 must still be a 32-bit multiple of the product of two steps."""


def scale(low: float, high: float, signedness: Signedness) -> tuple[float, int]:
    """Return step size and zero point with which integers cover [low, high], zero exactly; low <= 0 <= high."""
    if signedness == "affine":
        step = max((high - low) / 255, SMALLEST_STEP)
        return (step, min(255, max(0, round(-low / step)))) if high > low else (1 / 255, 0)
    highest = integer_range(signedness)[1]
    largest = max(high, -low)
    return (max(largest / highest, SMALLEST_STEP) if largest > 0 else 1 / highest), 0
