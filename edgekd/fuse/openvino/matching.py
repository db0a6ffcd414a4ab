"""Which row of an executed graph's times belongs to which kernel.

OpenVINO keeps a node's name where it can, with a suffix where it splits a bias off; where it makes a new node, as for
a folded normalisation, the name is a counted one. These are found by their place among those of their kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from edgekd.kernel import FusedKernel
from edgekd.profile import Layer

_FAMILIES: dict[str, str] = {
    "Convolution": "conv",
    "GroupConvolution": "conv",
    "ConvolutionBackpropData": "conv",
    "GroupConvolutionBackpropData": "conv",
    "Deconvolution": "conv",
    "FullyConnected": "product",
    "MatMul": "product",
    "Reorder": "reorder",
    "Transpose": "reorder",
    "MaxPool": "pool",
    "AvgPool": "pool",
    "Pooling": "pool",
    "Concat": "concat",
    "Concatenation": "concat",
    "Softmax": "softmax",
    "SoftMax": "softmax",
    "Reduce": "reduce",
    "MVN": "norm",
    "RMS": "norm",
    "NormalizeL2": "norm",
    "Interpolate": "interpolate",
    "Split": "split",
    "VariadicSplit": "split",
    "StridedSlice": "slice",
    "Slice": "slice",
    "LRN": "lrn",
    "Gather": "gather",
    "ShuffleChannels": "shuffle_channels",
}
_OF_CODES: dict[str, str] = {
    "fully_connected": "product",
    "matmul": "product",
    "mvn": "norm",
    "rms": "norm",
    "normalize": "norm",
    "transpose": "reorder",
    **dict.fromkeys(("quantize", "dequantize", "eltwise", "attention", "mlp", "group_norm", "math"), "elementwise"),
}
_STARTS = {"Reduce": "reduce", "FullyConnected": "product", "Convolution": "conv", "GroupConvolution": "conv"}
"""Operators of which OpenVINO has variants, such as FullyConnectedQuantizedLegacy."""

_LAYOUT = r"[a-zA-Z][a-zA-Z0-9]*"


def matched(kernels: Sequence[FusedKernel], rows: Sequence[Layer]) -> list[float | None]:
    """Return the milliseconds of each kernel, None where no row is found."""
    return [None if row is None else rows[row].ms for row in assigned(kernels, rows)]


def assigned(kernels: Sequence[FusedKernel], rows: Sequence[Layer]) -> list[int | None]:
    """Return the position of each kernel's row."""
    found: list[int | None] = [None] * len(kernels)
    free = dict.fromkeys(range(len(rows)))
    # A kernel is called after its last operator; one inside it may have stayed outside in the executed graph.
    _by_name(kernels, rows, found, free, lambda kernel: (kernel.name, *kernel.covers[-1:]))
    _by_name(kernels, rows, found, free, lambda kernel: kernel.covers)
    _by_place(kernels, rows, found, free, lambda family: family != "reorder")
    _by_source(kernels, rows, found, free)
    _by_place(kernels, rows, found, free, lambda family: family == "reorder")
    return found


def _family_of_kernel(kernel: FusedKernel) -> str:
    code = kernel.code.split(".")[0]
    for name in (code, code.removeprefix("q")):
        if name in _OF_CODES:
            return _OF_CODES[name]
    return code if code in set(_FAMILIES.values()) else code.removeprefix("q")


def _family_of_row(row: Layer) -> str:
    family = _FAMILIES.get(row.op)
    if family is None:
        family = next((name for start, name in _STARTS.items() if row.op.startswith(start)), "elementwise")
    return family


def _fits(kernel: FusedKernel, row: Layer) -> bool:
    wanted, given = _family_of_kernel(kernel), _family_of_row(row)
    return wanted == given or (given == "elementwise" and wanted not in set(_FAMILIES.values()))


def _by_name(
    kernels: Sequence[FusedKernel],
    rows: Sequence[Layer],
    found: list[int | None],
    free: dict[int, None],
    names: Callable[[FusedKernel], tuple[str, ...]],
) -> None:
    owners: dict[str, list[int]] = {}
    for position, kernel in enumerate(kernels):
        if _family_of_kernel(kernel) != "reorder" or kernel.covers:
            for name in dict.fromkeys(names(kernel)):
                owners.setdefault(name, []).append(position)
    for row in list(free):
        name = _stem(rows[row].name)
        numbered = re.sub(r"_\d+$", "", name)  # one of several into which a quantizer was split
        for position in owners.get(name, owners.get(numbered, ())):
            if found[position] is None and _fits(kernels[position], rows[row]):
                found[position] = row
                del free[row]
                break


def _stem(name: str) -> str:
    """Return the ONNX name within a name of the executed graph."""
    return re.split(r"/(?:WithoutBiases|Dequantization\w*)", name, maxsplit=1)[0].removesuffix("_original")


def _by_source(
    kernels: Sequence[FusedKernel], rows: Sequence[Layer], found: list[int | None], free: dict[int, None]
) -> None:
    """Find changes of layout: their names begin with the name of what they change."""
    named: dict[str, str] = {}
    for kernel, row in zip(kernels, found, strict=True):
        if row is not None:
            named[kernel.name] = rows[row].name
    for position, kernel in enumerate(kernels):
        if found[position] is None and _family_of_kernel(kernel) == "reorder":
            tensor = re.sub(r"/(planar|channels-last|blocked|floats)$", "", kernel.name)
            source = re.escape(named.get(tensor, tensor))
            for row in free:
                if _fits(kernel, rows[row]) and re.match(rf"{source}_{_LAYOUT}_{_LAYOUT}_", rows[row].name):
                    found[position] = row
                    del free[row]
                    break


def _by_place(
    kernels: Sequence[FusedKernel],
    rows: Sequence[Layer],
    found: list[int | None],
    free: dict[int, None],
    takes: Callable[[str], bool],
) -> None:
    """Give the remaining rows of a family to its remaining kernels in order, between those already known."""
    left = [
        position for position, row in enumerate(found) if row is None and takes(_family_of_kernel(kernels[position]))
    ]
    for family in dict.fromkeys(_family_of_kernel(kernels[position]) for position in left):
        waiting = [position for position in left if _family_of_kernel(kernels[position]) == family]
        able = [row for row in free if _fits(kernels[waiting[0]], rows[row]) and not _is_constant(rows[row])]
        same = len(waiting) == len(able)
        pairs = list(zip(waiting, able, strict=True)) if same else _between(waiting, able, found)
        for position, row in pairs:
            found[position] = row
            del free[row]


def _between(waiting: list[int], able: list[int], found: list[int | None]) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    taken: set[int] = set()
    for position in waiting:
        before = max((row for row in found[:position] if row is not None), default=-1)
        after = min((row for row in found[position:] if row is not None and row > before), default=1 << 60)
        row = next((row for row in able if before < row < after and row not in taken), None)
        if row is not None:
            taken.add(row)
            pairs.append((position, row))
    return pairs


def _is_constant(row: Layer) -> bool:
    return row.name.startswith("Constant_") or row.name.endswith(("/transpose_b", "_flatten_reshape"))
