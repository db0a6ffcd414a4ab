"""Weights that are zero stay exactly zero while a network trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from edgekd.errors import EdgekdError


@contextmanager
def zeros_stay(weights: Mapping[str, nn.Parameter]) -> Iterator[None]:
    """Hold what is zero in `weights`, by their names, at zero for as long as the block lasts.

    No gradient reaches it, so momentum never begins, decay has nothing to shrink, and an average over the weights has
    only zeros to average. Raises EdgekdError in the end where an optimizer has moved it nevertheless.
    """
    zeros = {name: weight.detach() == 0 for name, weight in weights.items()}
    hooks = [weights[name].register_hook(_Without(where)) for name, where in zeros.items()]  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    moved = [name for name, where in zeros.items() if weights[name].detach()[where].any()]
    if moved:
        raise EdgekdError(
            f"the optimizer moved weights of {moved[0]} that have no gradient and are to stay zero; "
            "choose the optimizer sgd, adamw or dot"
        )


class _Without:
    """A gradient without the part that would move zeros."""

    def __init__(self, where: Tensor) -> None:
        self._where = where

    def __call__(self, gradient: Tensor) -> Tensor:
        return gradient.masked_fill(self._where, 0.0)
