"""Answers of three kinds of network, for losses: of a CNN, a vision transformer and a language model."""

from __future__ import annotations

import torch
from torch import Tensor

from edgekd.distill.loss import Loss, create
from edgekd.train.answer import Answer

KINDS = ("cnn", "vit", "language-model")
SAMPLES, CLASSES, TOKENS = 12, 7, 9


def logits(rows: int, seed: int = 0, spread: float = 3.0) -> Tensor:
    return torch.randn(rows, CLASSES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * spread


def labels(kind: str, samples: int = SAMPLES) -> Tensor:
    return torch.arange(samples * (TOKENS if kind == "language-model" else 1)) % CLASSES


def answer(
    kind: str, seed: int = 0, samples: int = SAMPLES, spread: float = 3.0, dtype: torch.dtype = torch.float64
) -> Answer:
    """Return an answer whose every tensor would take a gradient."""
    random = torch.Generator().manual_seed(100 + seed)

    def normal(*shape: int) -> Tensor:
        return (torch.randn(*shape, generator=random, dtype=torch.float64) * spread).to(dtype).requires_grad_()

    rows = samples * (TOKENS if kind == "language-model" else 1)
    features = [(samples, 6, 4, 4), (samples, 8, 2, 2)] if kind == "cnn" else [(samples, TOKENS, 8)] * 2
    attention = [] if kind == "cnn" else [normal(samples, 2, TOKENS, TOKENS).float().softmax(-1).to(dtype)] * 2
    return Answer(
        logits(rows, seed, spread).to(dtype).requires_grad_(),
        tuple(normal(*shape) for shape in features),
        tuple(maps.detach().requires_grad_() for maps in attention),
        normal(samples, 8),
    )


def leaves(of: Answer) -> list[Tensor]:
    embedding = [] if of.embedding is None else [of.embedding]
    return [of.logits, *of.features, *of.attention, *embedding]


def part(of: Answer, samples: slice, count: int = SAMPLES) -> Answer:
    """Return the answer to some of the samples."""
    return of.each(lambda tensor: tensor.unflatten(0, (count, -1))[samples].flatten(0, 1))


def moved(of: Answer, seed: int, by: float = 0.1) -> Answer:
    """Return an answer a little away from another; attention stays a distribution."""
    other = answer(
        "cnn" if not of.attention else "vit", seed, samples=len(of.embedding if of.embedding is not None else of.logits)
    )
    if of.logits.shape != other.logits.shape:
        other = Answer(logits(len(of.logits), seed), other.features, other.attention, other.embedding)
    mixed = [a.detach() + by * b.detach() for a, b in zip(leaves(of), leaves(other), strict=True)]
    count = len(of.features)
    maps = tuple(m / m.sum(-1, keepdim=True) for m in mixed[1 + count : 1 + count + len(of.attention)])
    return Answer(mixed[0], tuple(mixed[1 : 1 + count]), maps, mixed[-1])


def loss_called(
    name: str, kind: str = "cnn", teacher: Answer | None = None, student: Answer | None = None, **options: object
) -> Loss:
    """Return a loss as a training would begin with it; with attention, where the network has some."""
    if name == "featalign" and kind != "cnn":
        options = {"attention": 1.0, **options}
    torch.manual_seed(0)
    loss = create({name: dict(options)})[name]
    given = answer(kind)
    loss.prepare(student or given, teacher or given, steps=100)
    return loss.double()
