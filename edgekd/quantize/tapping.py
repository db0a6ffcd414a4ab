"""Taps in a captured graph: what a module of the network gave, though the graph calls modules no more.

torch.export notes with every operator which modules it was called in, so the last operator of a module makes what
the module returned. A tap reads it on the side and changes nothing; `edgekd.distill.taps` finds it by the path that
`tapped` returns.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, fx, nn

from edgekd.errors import UsageError, suggestion

TAPPED = "tapped"


class Tap(nn.Identity):
    """Hands on what it is given, to whoever hooks it; nothing in the graph reads it."""

    _is_impure = True
    """Keeps torch.fx from removing it as dead code."""


def tap(network: fx.GraphModule, paths: Iterable[str]) -> None:
    """Put a tap behind each module of these dotted paths; raises UsageError for one that makes no single tensor."""
    for path in dict.fromkeys(paths):
        (source, *_) = [node for node in reversed(network.graph.nodes) if path in _modules(node)] or (None,)
        if source is None or not isinstance(source.meta.get("val"), Tensor):
            known = {name for node in network.graph.nodes for name in _modules(node) if name}
            raise UsageError(f"tap '{path}': no module of the network is called so; {suggestion(path, known)}", path)
        network.add_submodule(tapped(path), Tap())
        with network.graph.inserting_after(source):
            network.graph.call_module(tapped(path), (source,))


def tapped(path: str) -> str:
    """Return the path by which a module's tap is known in the captured network."""
    # One flat name: a block and a module inside it may both be tapped.
    return f"{TAPPED}.{path.replace('.', '/')}"


def _modules(node: fx.Node) -> set[str]:
    """Return the paths of the modules an operator was called in."""
    stack = node.meta.get("nn_module_stack") or {}
    return {str(path) for path, *_ in stack.values()}
