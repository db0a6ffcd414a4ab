"""Who answers as the teacher: a torch module, an ONNX file, a bundle's engine, or several of them together."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekd.distill.taps import Taps
from edgekd.errors import UsageError
from edgekd.runtime.load import load
from edgekd.runtime.session import open_session
from edgekd.train.evaluate import laid_out


class Teacher(Protocol):
    """Answers what a network eats."""

    def __call__(self, inputs: Tensor, sources: Sequence[str]) -> list[Tensor]:
        """Return for inputs (B, ...) what each source gives, float32: the logits for "", else that tap."""


class ModuleTeacher:
    """A torch network in eval mode."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, inputs: Tensor, sources: Sequence[str]) -> list[Tensor]:
        """Return logits and taps."""
        paths = [source for source in sources if source]
        output, tapped = Taps(self.network, paths)(self.network, laid_out(inputs))
        found = iter(tapped)
        return [(next(found) if source else output).float().contiguous() for source in sources]


class EngineTeacher:
    """An ONNX file, or the engine of a bundle; it has no modules to look into."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Open the file or the bundle's folder.

        Raises UsageError when it cannot be opened, or the runtime it needs is not installed.
        """
        self._path = path
        try:
            self._answer = _answering(path, threads or os.cpu_count() or 1)
        except Exception as error:  # every runtime raises errors of its own
            raise UsageError(f"teacher '{path}' cannot be opened: {' '.join(str(error).split())}", str(path)) from error

    def __call__(self, inputs: Tensor, sources: Sequence[str]) -> list[Tensor]:
        """Return the logits; raises UsageError when a tap is asked for."""
        tapped = [source for source in sources if source]
        if tapped:
            raise UsageError(
                f"'{tapped[0]}' cannot be tapped in {self._path}: an engine shows its output only; take losses that "
                "compare logits, or a torch network as the teacher"
            )
        answers = torch.from_numpy(self._answer(np.ascontiguousarray(inputs.numpy()))).float()
        return [answers for _ in sources]


class Ensemble:
    """Several teachers, whose mean probability is what they say together (Hinton, Vinyals, Dean 2015)."""

    def __init__(self, members: Sequence[Teacher]) -> None:
        self._members = tuple(members)

    def __call__(self, inputs: Tensor, sources: Sequence[str]) -> list[Tensor]:
        """Return the logarithm of the mean probability; raises UsageError when a tap is asked for."""
        if any(sources):
            raise UsageError(
                "several teachers have no layers in common; take losses that compare logits, or one teacher"
            )
        said = torch.stack([member(inputs, [""])[0].log_softmax(-1) for member in self._members])
        mean = said.logsumexp(0) - float(np.log(len(self._members)))
        return [mean for _ in sources]


def _answering(path: Path, threads: int) -> Callable[[NDArray[Any]], NDArray[Any]]:
    if path.is_dir():
        return load(path, threads=threads).predict
    session = open_session("onnxruntime", str(path), threads, None)
    return lambda inputs: session.run((inputs,))[0].copy()
