"""Mixed precision: layers go back to float, those first that buy back most error per millisecond, until a limit holds.

Whatever is rounded, a tensor or a weight, is a source of error. What each does to the network's answers is measured by
itself (Pandey et al. 2023, "A Practical Mixed Precision Algorithm for Post-Training Quantization"), and independent
errors add up in squares (Zhou et al. 2018, "Adaptive Quantization for Deep Neural Network"). Ours is what follows: the
rules of placement tell which sources are left once layers are in float, borders included, so that the error of any
choice is predicted without running it; and a tensor that is rounded for two layers is freed by both or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

from edgekd.errors import BudgetError
from edgekd.placement.graph import MOVING, WEIGHTED
from edgekd.placement.place import Placement
from edgekd.quantize.calibration import Integers
from edgekd.quantize.layer_costs import Clock, Costs, Unit, counted
from edgekd.quantize.onnx_network import NOTHING, OnnxNetwork
from edgekd.quantize.tolerance import Distance, Judge, Tolerance, mean_error
from edgekd.stage import Progress

EXAMINED = 16
"""Samples on which every source of error is looked at by itself."""
LEAST = 1e-3
"""What any choice is taken to cost, in ms or MMACs: runtimes count in microseconds."""

Planned = Callable[[Collection[str]], Placement]
"""Layers that are in float in, the placement out."""
Mixer = Callable[[OnnxNetwork, Planned, Integers], tuple[Placement, "Mixed"]]
"""`mixed` once its limits are set."""


@dataclass(frozen=True)
class FloatLayer:
    """A layer that was put back into float."""

    layer: str
    sensitivity: float
    """Error of the answers, as in `Distance.error`, to be expected when this layer alone is in integers."""
    lost: float
    """What it takes longer in float than in integers, or its work; see `Mixed.unit`."""


@dataclass(frozen=True)
class Mixed:
    """What mixed precision was needed to keep within the limits, and how far the answers are then."""

    floating: tuple[FloatLayer, ...]
    """Those first that bought back most error for what they cost; none where integers are good enough."""
    integers: Distance
    """With every layer in integers."""
    found: Distance
    unit: Unit | None = None
    """Of `FloatLayer.lost`: ms measured on the target, or MMACs counted; None where nobody had to ask."""


def mixed(
    network: OnnxNetwork,
    planned: Planned,
    integers: Integers,
    *,
    tolerance: Tolerance,
    clock: Clock | None,
    progress: Progress,
) -> tuple[Placement, Mixed]:
    """Return a placement with as many layers in float as `tolerance` asks for; `integers` are those of `planned(())`.

    Without a clock the cost of a layer is its work. Raises BudgetError where not one layer can be in integers, and what
    measuring raises.
    """
    everything, judge = planned(()), Judge(network, integers, tolerance)
    before = judge.distance(everything)
    if tolerance.holds(before):
        return everything, Mixed((), before, before)
    costs = counted(network) if clock is None else clock.costs(network, everything, integers)
    sources = Sources.measured(network, everything, integers, tolerance, progress)
    steps = order(network, planned, sources, costs)
    floating = _needed(steps, lambda chosen: judge.accepts(planned(chosen)), progress)
    plan = planned(floating)
    if not plan.weights:
        raise BudgetError(
            f"integers do not pay: no layer can be in integers within this limit (all of them: {before.text()}); allow "
            "more, give another --scheme, or keep the float file"
        )
    told = [(network.layers[name].label, sources.alone(name, planned), costs.lost[name]) for name in floating]
    return plan, Mixed(tuple(FloatLayer(*one) for one in told), before, judge.distance(plan), costs.unit)


@dataclass(frozen=True)
class Sources:
    """The squared errors that each rounded tensor and each rounded weight brings about by itself."""

    tensors: dict[str, float]
    weights: dict[str, float]

    @classmethod
    def measured(
        cls, network: OnnxNetwork, plan: Placement, integers: Integers, tolerance: Tolerance, progress: Progress
    ) -> Sources:
        """Round everything in `plan`, one after the other."""
        samples = tolerance.samples[:EXAMINED]
        expected = network.answers(NOTHING, None, samples)
        with progress.task("sensitivity", len(plan.tensors) + len(plan.weights)) as advance:

            def squared(alone: Placement) -> float:
                advance()
                return mean_error(expected, network.answers(alone, integers, samples)) ** 2

            tensors = {tensor.operator: squared(Placement((tensor,), ())) for tensor in plan.tensors}
            weights = {name: squared(Placement((), (name,))) for name in plan.weights}
        return cls(tensors, weights)

    def squared(self, plan: Placement) -> float:
        """Return the squared error that is to be expected of a placement."""
        rounded = sum(self.tensors[tensor.operator] for tensor in plan.tensors)
        return rounded + sum(self.weights[name] for name in plan.weights)

    def alone(self, layer: str, planned: Planned) -> float:
        """Return the error that is to be expected when one layer alone is in integers."""
        return sqrt(self.squared(planned([name for name in self.weights if name != layer])))


def order(network: OnnxNetwork, planned: Planned, sources: Sources, costs: Costs) -> list[tuple[str, ...]]:
    """Return all layers, one by one or in groups, in the order in which they are worth being put into float."""
    everything = planned(())
    groups = [*((name,) for name in everything.weights), *_sharing(network, everything)]
    steps: list[tuple[str, ...]] = []
    floating: set[str] = set()
    while left := dict.fromkeys(new for group in groups if (new := tuple(n for n in group if n not in floating))):
        error = sources.squared(planned(floating))
        bought = {group: error - sources.squared(planned(floating.union(group))) for group in left}
        lost = {group: max(LEAST, sum(costs.lost[name] for name in group)) for group in left}
        steps.append(max(left, key=lambda group: bought[group] / lost[group]))
        floating.update(steps[-1])
    return steps


def _sharing(network: OnnxNetwork, plan: Placement) -> Iterator[tuple[str, ...]]:
    """Yield the layers that each tensor is rounded for: a convolution that makes it, and all that read it."""
    graph, weights = network.operators, set(plan.weights)

    def readers(name: str) -> Iterator[str]:
        for user in graph.users(graph[name]):
            if user.name in weights:
                yield user.name
            elif user.kind in MOVING or (user.name in plan.integers and user.kind not in WEIGHTED):
                yield from readers(user.name)

    for tensor in plan.tensors:
        makers = [name for name in (tensor.operator, *graph[tensor.operator].inputs) if name in weights]
        yield tuple(dict.fromkeys([*makers, *readers(tensor.operator)]))


def _needed(steps: Sequence[Sequence[str]], holds: Callable[[Collection[str]], bool], progress: Progress) -> list[str]:
    """Return the layers of the fewest first steps with which the limit holds, but for those it holds without."""
    few, many = 0, len(steps)
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if holds([name for step in steps[:middle] for name in step]) else (middle, many)
    floating = [name for step in steps[:many] for name in step]
    with progress.task("layers that can do without float", len(floating)) as advance:
        for name in reversed(floating.copy()):
            without = [other for other in floating if other != name]
            floating = without if holds(without) else floating
            advance()
    return floating
