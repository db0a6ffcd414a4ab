"""A column of the teacher store: what is kept of one thing the teacher gives, and how many bytes that takes.

Of R rows of K classes a sample and view takes, with i = 2 bytes for an index (4 where K > 65,536) and v = 2 bytes for a
value (4 in float32):

    full       R * K * v
    top-k      R * k * (v + i)             the k likeliest classes
    nucleus    R * 2 + sum of n * (v + i)  the n <= k likeliest classes that hold p of the mass, n of each row

What was tapped, of C values a sample, takes C * v. The seed of a view's augmentation takes 8 bytes a sample.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from edgekd.schema import Field, Schema, digest_of, model_validator

SEEDS = "seeds"
Arrays = dict[str, NDArray[Any]]


class Cut(Schema):
    """How much of the teacher's logits is kept."""

    keep: Literal["full", "top-k", "nucleus"] = Field(
        default="full", description="of the logits: all, the k likeliest, or of those the likeliest that hold p"
    )
    k: int = Field(default=8, ge=1, le=65_535, description="classes kept of a decision, at most")
    p: float = Field(default=0.95, gt=0, le=1, description="probability that what nucleus keeps has to hold")


class Column(Cut):
    """What is kept of one thing the teacher gives."""

    source: str = Field(default="", description="a tap, as a dotted path in the teacher; empty: its logits")
    precision: Literal["float16", "float32"] = Field(default="float16", description="of every value")

    @model_validator(mode="after")
    def _only_logits_are_cut(self) -> Column:
        if self.source and self.keep != "full":
            raise ValueError("only logits can be cut to their largest; what is tapped is kept whole")
        return self

    @property
    def name(self) -> str:
        """Return the name of its folder, different for everything that is kept differently."""
        cut = {"full": "", "top-k": f"-{self.k}", "nucleus": f"-{self.k}-{self.p:g}"}[self.keep]
        what = f"tap-{digest_of(self.source)[:8]}" if self.source else "logits"
        return f"{what}-{self.keep}{cut}-{self.precision}"

    def encoded(self, given: Tensor) -> Arrays:
        """Return what is written of a tensor (n, ..., K)."""
        if self.keep == "full":
            return {"values": self._values(given)}
        log_p, classes = F.log_softmax(given.float(), -1).topk(min(self.k, given.shape[-1]), -1)
        indices = classes.numpy().astype(_index_type(given.shape[-1]))
        if self.keep == "top-k":
            return {"values": self._values(log_p), "indices": indices}
        before = log_p.exp().cumsum(-1) - log_p.exp()
        kept = before < self.p  # a class stays while those before it do not hold p; so the first always does
        return {
            "counts": kept.sum(-1).numpy().astype(np.uint16),
            "values": self._values(log_p[kept]),
            "indices": indices[kept.numpy()],
        }

    def decoded(self, arrays: Arrays, shape: tuple[int, ...]) -> Tensor:
        """Return float32 (n, *shape): as the teacher gave it, or as log-probabilities of what was kept.

        What a row's kept classes do not hold is spread evenly over all others (TinyViT; Wu et al. 2022).
        """
        values = torch.from_numpy(arrays["values"].astype(np.float32))
        if self.keep == "full":
            return values
        indices = torch.from_numpy(arrays["indices"].astype(np.int64))
        if self.keep == "top-k":
            return _spread(values, indices, torch.ones_like(indices, dtype=torch.bool), shape[-1])
        counts = torch.from_numpy(arrays["counts"].astype(np.int64))
        held = torch.arange(int(counts.max())) < counts[..., None]
        padded = torch.full(held.shape, -torch.inf).masked_scatter_(held, values)
        return _spread(
            padded, torch.zeros_like(held, dtype=torch.int64).masked_scatter_(held, indices), held, shape[-1]
        )

    def bytes(self, samples: int, shape: tuple[int, ...], kept: int | None = None) -> int:
        """Return the bytes of `samples` samples of a shape; `kept` classes of all rows together for a nucleus."""
        value, index = np.dtype(self.precision).itemsize, np.dtype(_index_type(shape[-1])).itemsize
        rows = samples * math.prod(shape[:-1])
        if self.keep == "full":
            return rows * shape[-1] * value
        if self.keep == "top-k":
            return rows * min(self.k, shape[-1]) * (value + index)
        return rows * 2 + (kept or 0) * (value + index)

    def _values(self, given: Tensor) -> NDArray[Any]:
        return given.to(getattr(torch, self.precision)).numpy()


def _index_type(classes: int) -> type[np.unsignedinteger[Any]]:
    return np.uint16 if classes <= 65_536 else np.uint32


def _spread(log_p: Tensor, indices: Tensor, held: Tensor, classes: int) -> Tensor:
    """Return log-probabilities (..., classes) from those of the classes at `indices` where `held`."""
    mass = torch.where(held, log_p.exp(), 0).sum(-1, keepdim=True)
    others = classes - held.sum(-1, keepdim=True)
    rest = ((1 - mass).clamp_min(1e-7) / others.clamp_min(1)).log()
    full = rest.expand(*rest.shape[:-1], classes).clone()
    # What is not held writes the value that already stands at its place.
    return full.scatter_(-1, torch.where(held, indices, indices[..., :1]), torch.where(held, log_p, log_p[..., :1]))


def rows_of(
    column: Column, arrays: Mapping[str, NDArray[Any]], ends: NDArray[np.int64], at: NDArray[np.int64]
) -> Arrays:
    """Return the arrays of the samples `at` of a shard; `ends` (n + 1,) is where a nucleus' samples begin and end."""
    if column.keep != "nucleus":
        return {name: np.asarray(array[at]) for name, array in arrays.items()}
    lengths = ends[at + 1] - ends[at]
    first = np.repeat(ends[at] - np.concatenate([[0], lengths.cumsum()[:-1]]), lengths)
    flat = first + np.arange(int(lengths.sum()))
    return {
        "counts": np.asarray(arrays["counts"][at]),
        "values": np.asarray(arrays["values"][flat]),
        "indices": np.asarray(arrays["indices"][flat]),
    }
