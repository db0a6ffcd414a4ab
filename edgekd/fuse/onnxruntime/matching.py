"""Which row of a profile is which kernel.

Rows carry the names of the nodes the runtime executes: those of the ONNX file, the tensor with a suffix for operators
in blocks, the name of the first node with a suffix for what patterns made. Layout changes carry a running number only;
they are told apart by their operator and by the rows around them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from edgekd.fuse.onnxruntime.codes import operators
from edgekd.kernel import FusedKernel
from edgekd.profile import Layer

_RUNNING = re.compile(r"(_token_\d+)+$")
_PATTERNS = re.compile(r"^fused |(/MatMulAddFusion|/MatMulScaleFusion/|/LayerNormFusion/|/QuickGeluFusion/"
                       r"|_new_reshape|/GatherSliceToSplitFusion|/duplicated)+$")  # fmt: skip
_BLOCKED = ("_bn_nchwc", "_mul_nchwc", "_nchwc")


def matched(kernels: Sequence[FusedKernel], rows: Sequence[Layer]) -> list[float | None]:
    """Return the milliseconds of each kernel; see `edgekd.fuse.fusion.Fusion.matched`."""
    found = _by_name(kernels, rows)
    _by_place(kernels, rows, found)
    times: list[float | None] = [None] * len(kernels)
    for row, index in zip(rows, found, strict=True):
        if index is not None:
            times[index] = (times[index] or 0.0) + row.ms
    return times


def _by_name(kernels: Sequence[FusedKernel], rows: Sequence[Layer]) -> list[int | None]:
    """Return for each row the kernel of its name and operator, each kernel once, in order."""
    known: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, kernel in enumerate(kernels):
        if kernel.code.startswith("reorder."):
            continue
        for name in dict.fromkeys((*kernel.covers, kernel.name)):
            for op in operators(kernel.code):
                known[name, op].append(index)
    taken: set[int] = set()
    found: list[int | None] = []
    for row in rows:
        candidates = [one for one in known.get((_plain(row.name), row.op), ()) if one not in taken]
        found.append(candidates[0] if candidates else None)
        taken.update(candidates[:1])
    return found


def _plain(name: str) -> str:
    """Return the node or tensor of the ONNX graph in the name of an executed node."""
    name = _RUNNING.sub("", name)
    for ending in _BLOCKED:
        if name.endswith(ending):
            return name.removesuffix(ending)
    return _RUNNING.sub("", _PATTERNS.sub("", name))


def _by_place(kernels: Sequence[FusedKernel], rows: Sequence[Layer], found: list[int | None]) -> None:
    """Fill in the rows without a name: those of an operator in the order of its kernels, between the named ones."""
    free: dict[str, list[int]] = defaultdict(list)
    taken = {index for index in found if index is not None}
    for index, kernel in enumerate(kernels):
        if index not in taken:
            for op in operators(kernel.code):
                free[op].append(index)
    _behind_producers(kernels, rows, found, free, taken)
    behind: list[int] = []
    before = len(kernels)
    for known in reversed(found):
        before = before if known is None else known
        behind.append(before)
    behind.reverse()
    for exact in (True, False):
        last = -1
        for position, row in enumerate(rows):
            if found[position] is None:
                choices = [one for one in free[row.op] if one not in taken]
                between = [one for one in choices if last < one < behind[position]]
                if between or (choices and not exact):
                    found[position] = (between or choices)[0]
                    taken.add((between or choices)[0])
            here = found[position]
            last = last if here is None else here


def _behind_producers(
    kernels: Sequence[FusedKernel],
    rows: Sequence[Layer],
    found: list[int | None],
    free: dict[str, list[int]],
    taken: set[int],
) -> None:
    """Fill in the rows that bring the tensor of the row before them into another layout."""
    for position in range(1, len(rows)):
        before = found[position - 1]
        if found[position] is not None or before is None:
            continue
        for one in free[rows[position].op]:
            if one not in taken and kernels[one].name == kernels[before].name:
                found[position] = one
                taken.add(one)
                break
