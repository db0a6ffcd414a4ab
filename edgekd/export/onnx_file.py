"""Writes a network as one ONNX file with a free batch dimension, from torch.export's graph."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from edgekd.disk import whole_file
from edgekd.errors import ExportError
from edgekd.export.quiet import quiet
from edgekd.export.refusal import Refusal, first_line

INPUT, OUTPUT, BATCH = "input", "logits", "batch"
LARGEST_BATCH = 4096


def write(module: nn.Module, path: Path, input_shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> None:
    """Write `module` in inference mode as a single ONNX file.

    `input_shape` is the shape of one input, without the batch, and `dtype` its type, int64 for tokens. The file has the
    input "input" (batch, *input_shape) and the output "logits"; the batch is free from 1 to 4096. BatchNorm is folded
    into the convolution before it, a scale and shift of channels into the linear layer behind it, and nodes are named
    after the module they came from. A weight that layers share stands there once, and equal weights give an equal
    file, byte for byte. The module may also be a graph of torch.export that holds `torch.onnx.ops.symbolic` operators.
    Raises ExportError with the operator and the module path where torch.export or the ONNX exporter refuses.
    """
    import onnx_ir as ir  # with torch's exporter a second, which whoever is refused or resumed need not wait for

    from edgekd.export import affine, cleaning, translation

    model = translation.onnx_from_program(exported(module, input_shape, dtype), [INPUT], [OUTPUT])
    affine.fold(model)
    cleaning.clean(model, BATCH)
    with whole_file(path) as unfinished:
        ir.save(model, unfinished)


def exported(module: nn.Module, input_shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> ExportedProgram:
    """Return torch.export's graph of `module` in inference mode with a free batch.

    Raises ExportError where torch.export refuses.
    """
    # Two samples, because a batch of one in the example is taken for a constant.
    example = torch.zeros(2, *input_shape, dtype=dtype, device=next((p.device for p in module.parameters()), None))

    def attempt() -> ExportedProgram:
        shapes = ({0: Dim(BATCH, min=1, max=LARGEST_BATCH)},)
        return torch.export.export(module, (example,), dynamic_shapes=shapes, strict=False)

    with _inference(module), quiet():
        try:
            return attempt()
        except Exception as error:  # torch.export passes on whatever the module's own code raises
            refusal = Refusal.of(attempt, module)
            raise ExportError(
                f"torch.export refuses {refusal.operator} in {refusal.place}: {first_line(error)}; "
                "write that module without control flow or shapes that depend on tensor values"
            ) from error


@contextmanager
def _inference(module: nn.Module) -> Iterator[None]:
    """Set every submodule to inference; by attribute, because graphs of torch.export refuse `eval()`."""
    before = {part: part.training for part in module.modules()}
    for part in before:
        part.training = False
    try:
        yield
    finally:
        for part, training in before.items():
            part.training = training
