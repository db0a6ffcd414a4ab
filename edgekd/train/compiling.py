"""Whether torch.compile pays for one training: both ways are timed on copies, and its own cost counts."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import nn

from edgekd.train.batches import Batch
from edgekd.train.objective import Objective

log = logging.getLogger("edgekd")

PROBED = 20
"""Steps timed each way."""

Compile = Callable[[nn.Module], nn.Module]


def compiled(model: nn.Module) -> nn.Module:
    """Return the network, compiled when it first runs; parameters and module paths are shared with the original."""
    return torch.compile(model)  # type: ignore[return-value]


def pays(model: nn.Module, batch: Batch, objective: Objective, steps: int, compile_: Compile = compiled) -> bool:
    """Return whether `steps` steps on batches like this one are over sooner when the network is compiled first.

    Model, objective and random numbers are left as they are. A network that does not compile is told in the log.
    """
    with torch.random.fork_rng(devices=[]):
        plain_s = _per_step(copy.deepcopy(model), batch, objective)[1]
        try:
            first_s, compiled_s = _per_step(compile_(copy.deepcopy(model)), batch, objective)
        except Exception as error:  # the compiler raises whatever it likes
            log.warning("torch.compile fails on this network, it is trained without: %s", str(error).partition("\n")[0])
            return False
    gained_s = steps * (plain_s - compiled_s) - first_s
    log.info(
        "torch.compile: %.3g ms a step without, %.3g ms with, %.3g s to compile; %s over %d steps",
        1e3 * plain_s,
        1e3 * compiled_s,
        first_s,
        "taken" if gained_s > 0 else "not taken",
        steps,
    )
    return gained_s > 0


def _per_step(model: nn.Module, batch: Batch, objective: Objective) -> tuple[float, float]:
    """Return the seconds of the first step and the median of the others."""
    model.train()
    seconds = []
    for _ in range(PROBED + 1):
        started = time.perf_counter()
        model.zero_grad(set_to_none=True)
        objective(model, batch).total.backward()  # type: ignore[no-untyped-call]
        seconds.append(time.perf_counter() - started)
    return seconds[0], median(seconds[1:])
