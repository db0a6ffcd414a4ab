"""The same question to a fresh process per engine, several times over, every answer kept as a line of JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from edgekd.figure import Figure
from edgekd.measure.meter import Meter, Setup
from edgekd.measure.statistics import median_bounds
from edgekd.schema import write_text

Answer = dict[str, Any]


def repeat(
    meter: Meter,
    requests: Mapping[str, dict[str, Any]],
    setup: Setup,
    *,
    processes: int,
    alone: bool = True,
    ask: Callable[[str, dict[str, Any]], Answer] | None = None,
) -> dict[str, list[Answer]]:
    """Return by engine key what `processes` fresh processes answered to its request, one after the other in rounds.

    Every other round goes backwards, so that a drift cancels out. `alone` false lets as many run at once as there are
    cores: for what does not depend on time. The answers stand in `<raw>/<meter>.jsonl`, a line per process with `kind`,
    `engine` and the number of the `process`.
    """
    question = ask or (lambda key, request: asked(setup, key, request))
    keys = list(requests)
    rounds = [keys if number % 2 == 0 else keys[::-1] for number in range(processes)]
    order = [key for round_keys in rounds for key in round_keys]
    with setup.connection.locked(), setup.progress.task(meter.name, len(order)) as advance:

        def answered(key: str) -> Answer:
            answer = question(key, requests[key])
            advance(1, key)
            return answer

        answers = setup.connection.at_once(answered, order, 1 if alone else setup.connection.cores())
    found: dict[str, list[Answer]] = {key: [] for key in keys}
    for key, answer in zip(order, answers, strict=True):
        found[key].append({name: value for name, value in answer.items() if name != "ok"})
    write_lines(meter, setup, found)
    return found


def asked(setup: Setup, label: str, request: dict[str, Any]) -> Answer:
    """Return what one fresh process answers to one request."""
    with setup.connection.start(label) as child:
        return child.ask(request, setup.hang_s)


def write_lines(meter: Meter, setup: Setup, found: Mapping[str, Sequence[Answer]]) -> None:
    """Write the raw values of a meter, a line per process; the file appears whole."""
    lines = [
        {"kind": meter.name, "engine": key, "process": number, **answer}
        for key, answers in found.items()
        for number, answer in enumerate(answers)
    ]
    setup.raw.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
    write_text(text, setup.raw / f"{meter.name}.jsonl")


def bounded(name: str, values: Sequence[float], setup: Setup) -> Figure:
    """Return the median over processes as a figure, with distribution-free bounds where there are enough of them."""
    return Figure(name=name, origin=setup.origin, samples=len(values), **median_bounds(values)._asdict())


def extremes(name: str, values: Sequence[float], setup: Setup) -> Figure:
    """Return the median with the extremes as bounds, for what hardly varies; with enough processes as `bounded`."""
    found = bounded(name, values, setup)
    if found.lower is not None:
        return found
    return found.replace(value=median(values), lower=min(values), upper=max(values))
