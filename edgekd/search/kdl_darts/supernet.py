"""The network that is all networks of a skeleton at once: every edge is a weighted sum of its operators."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgekd.models.bottlenecks import Bottleneck, Bottlenecks
from edgekd.search.cells import Edge, Skeleton

BETAS = (0.5, 0.999)
"""Of Adam over the alphas, as in DARTS."""


class MixedEdge(nn.Module):
    """Sum over operators o of share(o) * o(x)."""

    def __init__(self, edge: Edge) -> None:
        super().__init__()
        self.operators = nn.ModuleList(
            nn.Identity() if shape is None else Bottleneck(edge.inputs, shape) for shape in edge.operators
        )

    def forward(self, x: Tensor, shares: Tensor) -> Tensor:
        """Return the sum for shares (operators,), one each."""
        answers = [share * operator(x) for share, operator in zip(shares, self.operators, strict=False)]
        return torch.stack(answers).sum(0)


class MixedCells(nn.Module):
    """The edges in a row, and the alphas that say what share each operator has (DARTS; Liu et al. 2019).

    The alphas take no gradient from whoever trains the weights: they are a parameter that is frozen but for the steps
    of their own. What those remember, and the alphas after every epoch, are buffers, so that a training's checkpoint
    holds the whole search.
    """

    alpha: nn.Parameter
    exists: Tensor
    first_moment: Tensor
    second_moment: Tensor
    alpha_steps: Tensor
    trace: Tensor

    def __init__(self, skeleton: Skeleton, epochs: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(MixedEdge(edge) for edge in skeleton.edges)
        size = len(skeleton.edges), skeleton.most
        counts = torch.tensor([[len(edge.operators)] for edge in skeleton.edges])
        self.alpha = nn.Parameter(torch.zeros(size), requires_grad=False)
        self.register_buffer("exists", torch.arange(skeleton.most) < counts)
        self.register_buffer("first_moment", torch.zeros(size))
        self.register_buffer("second_moment", torch.zeros(size))
        self.register_buffer("alpha_steps", torch.zeros(()))
        self.register_buffer("trace", torch.zeros(epochs, *size))

    def shares(self, alpha: Tensor | None = None) -> Tensor:
        """Return the share of every operator (edges, operators); what an edge does not have has none."""
        found = self.alpha if alpha is None else alpha
        return found.masked_fill(~self.exists, -torch.inf).softmax(1)

    def chosen(self) -> tuple[int, ...]:
        """Return the operator of the largest share on every edge; of equals the first."""
        return tuple(int(position) for position in self.shares().argmax(1))

    def optimizer(self, learning_rate: float, weight_decay: float) -> torch.optim.Adam:
        """Return Adam over the alphas, its memory in this module's buffers."""
        adam = torch.optim.Adam([self.alpha], lr=learning_rate, betas=BETAS, weight_decay=weight_decay)
        memory = {"step": self.alpha_steps, "exp_avg": self.first_moment, "exp_avg_sq": self.second_moment}
        adam.state[self.alpha].update(memory)
        return adam

    def forward(self, x: Tensor) -> Tensor:
        """Run all operators of all edges."""
        for edge, shares in zip(self.edges, self.shares(), strict=True):
            x = edge(x, shares)
        return x


def supernet(skeleton: Skeleton, epochs: int, channels: int, classes: int) -> tuple[Bottlenecks, MixedCells]:
    """Return the network, and its cells; `channels` are the image's."""
    cells = MixedCells(skeleton, epochs)
    return Bottlenecks(channels, skeleton.stem, cells, skeleton.width, skeleton.head, classes), cells
