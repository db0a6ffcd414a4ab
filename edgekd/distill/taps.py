"""Taps: what the modules of a network give, by dotted path, without editing the network.

`blocks.2` is what that module returns, `head:input` what it is given, `attention:1` the second of several things it
returns. Paths are those of `named_modules` of the network itself, also inside DDP and torch.compile.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from edgekd.errors import EdgekdError, UsageError, suggestion
from edgekd.train.parallel import plain

_INPUT = "input"


class Taps:
    """Runs a network and returns its output with what the tapped modules gave; the network keeps no trace of it."""

    def __init__(self, model: nn.Module, paths: Sequence[str]) -> None:
        """Take the paths; raises UsageError for one that names no module."""
        self.paths = tuple(paths)
        modules = dict(plain(model).named_modules()) if paths else {}
        self._modules: list[nn.Module] = []
        for path in paths:
            name, _, part = path.partition(":")
            if not name or name not in modules:
                raise UsageError(f"tap '{path}': the network has no module '{name}'; {suggestion(name, modules)}", path)
            if part and part != _INPUT and not part.isdecimal():
                raise UsageError(f"tap '{path}': after the colon stands 'input', or the number of an output", path)
            self._modules.append(modules[name])

    def __call__(self, model: nn.Module, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the output for `inputs` and the tapped tensors, in the order of the paths.

        A module that runs several times is read the last time. Raises EdgekdError when one did not run, or gave no
        tensor.
        """
        if not self.paths:
            return model(inputs), []
        found: dict[str, object] = {}
        with ExitStack() as stack:
            for path, module in zip(self.paths, self._modules, strict=True):
                stack.callback(module.register_forward_hook(_reader(path, found)).remove)
            output = model(inputs)
        return output, [_tensor(path, found) for path in self.paths]


def _reader(path: str, found: dict[str, object]) -> Any:
    part = path.partition(":")[2]

    def read(module: nn.Module, given: tuple[Any, ...], returned: object) -> None:
        del module
        if part == _INPUT:
            found[path] = given[0] if given else None
        elif part:
            several = returned if isinstance(returned, tuple | list) else (returned,)
            found[path] = several[int(part)] if int(part) < len(several) else None
        else:
            found[path] = returned

    return read


def _tensor(path: str, found: dict[str, object]) -> Tensor:
    if path not in found:
        raise EdgekdError(f"tap '{path}': the module did not run; is it used by the network's forward?")
    tensor = found[path]
    if not isinstance(tensor, Tensor):
        raise EdgekdError(
            f"tap '{path}' gives {type(tensor).__name__}, not a tensor; choose one of several with '{path}:0', "
            "or a module inside"
        )
    return tensor
