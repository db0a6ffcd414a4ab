"""The order of execution."""

from __future__ import annotations

from edgekd.fuse.openvino.draft import Draft, Step


def sort(draft: Draft) -> None:
    """Put what a step reads right before it, its first operand first, starting from the first result."""
    sorted_: dict[int, Step] = {}
    for name in draft.graph.outputs:
        for end in (*(s for s in draft.consumers(name) if s.code.startswith("reorder")), draft.producer(name)):
            waiting = [end] if end is not None else []
            while waiting:
                step = waiting[-1]
                made = [draft.producer(source) for source in step.inputs]
                missing = [one for one in made if one is not None and id(one) not in sorted_]
                if missing and id(step) not in sorted_:
                    waiting.append(missing[0])
                else:
                    sorted_.setdefault(id(step), step)
                    waiting.pop()
    left = [step for step in draft.steps if id(step) not in sorted_]
    draft.steps = [*sorted_.values(), *left]
    draft.reindex()
