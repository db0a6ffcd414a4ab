"""Several processes that train one network: each takes its share of every batch, the gradients are averaged.

The processes are torch.distributed's, started by `torchrun`. Each of them holds the same batches and takes every
n-th sample of one, so that together they see what one process would. BatchNorm takes the statistics of its own share.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from edgekd.errors import UsageError
from edgekd.train.batches import Batch


@dataclass(frozen=True)
class Peers:
    """The processes that train together; alone where torch.distributed is not in use."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Return whether this process writes the files."""
        return self.rank == 0

    def wrapped(self, model: nn.Module) -> nn.Module:
        """Return the model in the wrapper that averages gradients; itself where there is one process."""
        return DistributedDataParallel(model) if self.size > 1 else model

    def share(self, batch: Batch) -> Batch:
        """Return this process's samples of a batch; raises UsageError when they cannot be dealt out evenly."""
        if self.size == 1:
            return batch
        if len(batch.labels) % self.size:
            raise UsageError(
                f"a batch of {len(batch.labels)} cannot be dealt out evenly to {self.size} processes; "
                f"choose a batch that is a multiple of {self.size}"
            )
        part = slice(self.rank, None, self.size)
        teacher = None if batch.teacher is None else batch.teacher.each(lambda tensor: tensor[part])
        return Batch(batch.inputs[part], batch.labels[part], teacher)

    def average(self, tensors: Iterable[Tensor | None]) -> None:
        """Replace each tensor by its mean over all processes."""
        for tensor in tensors if self.size > 1 else ():
            if tensor is not None:
                dist.all_reduce(tensor)
                tensor.div_(self.size)

    def mean(self, value: float) -> float:
        """Return the mean of a number over all processes; not finite where one of them is not."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64)
        dist.all_reduce(shared)
        return float(shared) / self.size

    def of_leader(self, value: float) -> float:
        """Return the number the first process has, so that all decide alike."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64)
        dist.broadcast(shared, 0)
        return float(shared)

    def any(self, flag: bool) -> bool:
        """Return whether a flag is up in any of the processes."""
        return self.mean(float(flag)) > 0

    def wait(self) -> None:
        """Wait until every process has come here."""
        if self.size > 1:
            dist.barrier()


def peers() -> Peers:
    """Return the processes this one trains with."""
    if not (dist.is_available() and dist.is_initialized()):
        return Peers()
    return Peers(dist.get_rank(), dist.get_world_size())


@contextmanager
def joined() -> Iterator[Peers]:
    """Join the processes that `torchrun` started with this one, and leave them at the end; alone without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield peers()
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield peers()
    finally:
        dist.destroy_process_group()


def plain(model: nn.Module) -> nn.Module:
    """Return the network inside the wrappers of DDP and torch.compile, whose module paths are the user's own."""
    if isinstance(model, DistributedDataParallel):
        return plain(model.module)
    compiled_from = getattr(model, "_orig_mod", None)  # naming the class would import the compiler, which takes seconds
    return plain(compiled_from) if isinstance(compiled_from, nn.Module) else model
