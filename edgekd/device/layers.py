"""Time per operator, as the runtime itself counts it: a run of its own, because counting slows every operator down.

ONNX Runtime and OpenVINO count in whole microseconds. ONNX Runtime writes every operator of every run into a file; the
mean of the middle runs is given, which is finer than any of them. OpenVINO tells the mean of all runs so far, cut to
microseconds: half of one is added, and the mean of the runs after the warm-up is won from the means before and after
them. TensorRT reports each run by itself, with the layers it adds to change layouts.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from statistics import median
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

from ..runtime.session import OnnxRuntimeSession, OpenVinoSession, Session, TimedSession
from .settle import settle
from .stream import Stream

RUNS = 50
_LEARNING_RUNS = 1
"""What an OpenVINO session runs when it is bound."""
_CUT_MS = 0.0005
"""What is lost on average when a time is cut to whole microseconds."""
_NOT_EXECUTED = ("undef", "unknown")
"""How OpenVINO calls the code of what is fused into another operator, a view or an end of the graph."""
_REFORMATS = ("Reformat", "reformat")
"""How TensorRT calls what it puts between layers of different layouts or precisions."""
_OUTER = 0.1
"""Share of the fastest and of the slowest runs that the mean leaves out."""
_MOST_FORGETTING = 4
"""OpenVINO's means are over so many times the runs of the warm-up, so that rounding to microseconds does not matter."""


class Operator(NamedTuple):
    """One operator of the executed graph, in the runtime's words."""

    name: str
    op: str
    executed_as: str
    place: str
    """Tells apart what has the same name."""


def layers(request: Dict[str, Any]) -> Dict[str, Any]:
    """Return `rows` of an engine, {name, op, executed_as, ms, share}, in the order of execution.

    Operators that stay below the microsecond in which the runtimes count are left out. `share` is of the sum of all
    rows; `call_ms` is the median of the whole call while the runtime counts, so that the overhead of the counting and
    of the call is seen beside the sum; `runs` are at least as many as asked for. The runtime's own files are removed.
    """
    with tempfile.TemporaryDirectory(prefix="edgekd-layers-") as folder:
        stream = Stream({**request, "profile": folder})
        settle(stream.run, request.get("least_s", 0.0), request.get("most_s", 2.0))
        runs = request.get("runs", RUNS)
        if isinstance(stream.session, OpenVinoSession):
            runs = max(runs, _MOST_FORGETTING * (_LEARNING_RUNS + stream.done))
        times, calls = counted(stream.session, stream.run, stream.done, runs)
    return {"rows": rows(times), "call_ms": median(calls), "runs": runs}


def counted(
    session: Session, run: Callable[[], int], done: int, runs: int
) -> Tuple[Dict[Operator, float], List[float]]:
    """Run `runs` times and return the milliseconds of every operator, and those of every call while that is counted.

    `run` runs the session, opened with `profile`, once and returns the nanoseconds; it has run `done` times before.
    Counting of ONNX Runtime ends with it. Raises TypeError for a runtime that tells no times.
    """
    if isinstance(session, OpenVinoSession):
        before = _LEARNING_RUNS + done
        earlier = _means(session)
        calls = [run() / 1e6 for _ in range(runs)]
        later = _means(session)
        return {key: ((before + runs) * later[key] - before * earlier.get(key, 0.0)) / runs for key in later}, calls
    if isinstance(session, TimedSession):
        return _reported(session, run, runs)
    if not isinstance(session, OnnxRuntimeSession):
        raise TypeError("{} tells no times per operator".format(session.runtime))
    calls = [run() / 1e6 for _ in range(runs)]
    return _middle_means(session.end_profiling(), runs), calls


def _reported(session: TimedSession, run: Callable[[], int], runs: int) -> Tuple[Dict[Operator, float], List[float]]:
    """Return the same of a runtime that reports every run; what only changes a layout stands for itself."""
    session.layer_ms()
    found: Dict[Operator, List[float]] = defaultdict(list)
    calls = []
    for _ in range(runs):
        calls.append(run() / 1e6)
        for place, (name, ms) in enumerate(session.layer_ms()):
            op = "Reformat" if name.startswith(_REFORMATS) else "Layer"
            found[Operator(name, op, session.runtime, str(place))].append(ms)
    return {key: _middle_mean(values) for key, values in found.items()}, calls


def _means(session: OpenVinoSession) -> Dict[Operator, float]:
    """Return the mean of all runs so far, in milliseconds, of what is executed: also below a microsecond."""
    return {
        Operator(info.node_name, info.node_type, info.exec_type, ""): info.real_time.total_seconds() * 1e3 + _CUT_MS
        for info in session.profiling_info()
        if not info.exec_type.startswith(_NOT_EXECUTED)
    }


def _middle_means(file: str, runs: int) -> Dict[Operator, float]:
    """Return the mean of the middle of the last `runs` runs, in milliseconds: those before were warm-up."""
    with open(file, encoding="utf-8") as stream:
        events = json.load(stream)
    found: Dict[Operator, List[float]] = defaultdict(list)
    for event in events:
        name, _, what = str(event.get("name", "")).rpartition("_kernel_")
        if event.get("cat") == "Node" and what == "time":
            told = event["args"]
            types = [kind for tensor in told.get("input_type_shape", ()) for kind in tensor]
            how = " ".join([told.get("provider", ""), *types[:1]])
            found[Operator(name, told["op_name"], how, told.get("node_index", ""))].append(event["dur"] / 1e3)
    return {key: _middle_mean(values[-runs:]) for key, values in found.items()}


def _middle_mean(values: List[float]) -> float:
    cut = int(_OUTER * len(values))
    middle = sorted(values)[cut : len(values) - cut]
    return sum(middle) / len(middle)


def rows(times: Dict[Operator, float]) -> List[Dict[str, Any]]:
    """Return the operators that took time, with their share of the sum."""
    seen = {operator: ms for operator, ms in times.items() if ms > 0}
    total = sum(seen.values()) or 1.0
    return [
        {"name": one.name, "op": one.op, "executed_as": one.executed_as, "ms": ms, "share": ms / total}
        for one, ms in seen.items()
    ]
