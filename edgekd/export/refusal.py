"""Finds the operator and the module at which tracing a network failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from torch import fx, nn
from torch.overrides import TorchFunctionMode, resolve_name


@dataclass(frozen=True)
class Refusal:
    """Where tracing stopped: the operator that raised, and the module whose forward was running."""

    operator: str
    place: str

    @classmethod
    def of(cls, attempt: Callable[[], object], module: nn.Module) -> Refusal:
        """Repeat an attempt that fails, and watch it."""
        running: list[str] = []
        raising = _RaisingOperator()
        handles: list[Any] = []
        for name, part in module.named_modules():
            handles.append(part.register_forward_pre_hook(_push(running, _called(name, part))))
            handles.append(part.register_forward_hook(_pop(running)))
        try:
            with suppress(Exception), raising:
                attempt()
        finally:
            for handle in handles:
                handle.remove()
        operator = f"the operator {raising.name}" if raising.name else "the network"
        return cls(operator, running[-1] if running else _TOP)


_TOP = "the outermost module"


def module_of(graphs: Iterable[fx.Graph], name: str, operator: str) -> str:
    """Return the module a node of torch.export's graphs came from, found by its operator, preferably by its name."""
    nodes = [node for graph in graphs for node in graph.nodes if node.op == "call_function"]
    same = [node for node in nodes if str(node.target).split(".")[:2] == operator.split(".")[:2]]
    for node in sorted(same, key=lambda node: node.name != name):
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        if stack and stack[-1][0]:
            return f"module '{stack[-1][0]}'"
    return _TOP


def _called(name: str, part: nn.Module) -> str:
    return f"module '{name}' ({type(part).__name__})" if name else f"{_TOP} ({type(part).__name__})"


def _push(running: list[str], name: str) -> Callable[..., None]:
    def hook(*_: object) -> None:
        running.append(name)

    return hook


def _pop(running: list[str]) -> Callable[..., None]:
    def hook(*_: object) -> None:
        running.pop()

    return hook


class _RaisingOperator(TorchFunctionMode):
    """Remembers the innermost torch function the last exception came from."""

    name = ""
    _error: Exception | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        try:
            return func(*args, **(kwargs or {}))
        except Exception as error:
            if error is not self._error:
                self._error, self.name = error, resolve_name(func) or getattr(func, "__name__", str(func))
            raise


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, short enough for one sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200].rstrip(".") if lines else type(error).__name__


def one_line(error: BaseException) -> str:
    """Return an error's message as one line, short enough to read."""
    return " ".join(str(error).split())[:400].rstrip(".") or type(error).__name__
