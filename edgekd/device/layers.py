"""Time per operator, as the runtime itself counts it: a run of its own, because counting slows every operator down.

ONNX Runtime writes every operator of every run into a file: the medians are given. OpenVINO tells the mean of all runs
so far, in whole microseconds: the mean of the runs after the warm-up is won from the means before and after them.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from statistics import median
from typing import Any, Dict, List, NamedTuple

from ..runtime.session import OnnxRuntimeSession, OpenVinoSession
from .settle import settle
from .stream import Stream

RUNS = 50
_LEARNING_RUNS = 1
"""What an OpenVINO session runs when it is bound."""
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
        session, runs = stream.session, request.get("runs", RUNS)
        if isinstance(session, OpenVinoSession):
            before = _LEARNING_RUNS + stream.done
            runs = max(runs, _MOST_FORGETTING * before)
            earlier = _means(session)
            calls = [stream.run() / 1e6 for _ in range(runs)]
            later = _means(session)
            times = {key: ((before + runs) * later[key] - before * earlier.get(key, 0.0)) / runs for key in later}
        else:
            calls = [stream.run() / 1e6 for _ in range(runs)]
            times = _medians(session, runs)
    return {"rows": _rows(times), "call_ms": median(calls), "runs": runs}


def _means(session: OpenVinoSession) -> Dict[Operator, float]:
    """Return the mean of all runs so far, in milliseconds."""
    return {
        Operator(info.node_name, info.node_type, info.exec_type, ""): info.real_time.total_seconds() * 1e3
        for info in session.profiling_info()
    }


def _medians(session: Any, runs: int) -> Dict[Operator, float]:
    """Return the median of the last `runs` runs, in milliseconds: those before were warm-up."""
    if not isinstance(session, OnnxRuntimeSession):
        raise TypeError("{} tells no times per operator".format(session.runtime))
    with open(session.end_profiling(), encoding="utf-8") as stream:
        events = json.load(stream)
    counted: Dict[Operator, List[float]] = defaultdict(list)
    for event in events:
        name, _, what = str(event.get("name", "")).rpartition("_kernel_")
        if event.get("cat") == "Node" and what == "time":
            told = event["args"]
            types = [kind for tensor in told.get("input_type_shape", ()) for kind in tensor]
            how = " ".join([told.get("provider", ""), *types[:1]])
            counted[Operator(name, told["op_name"], how, told.get("node_index", ""))].append(event["dur"] / 1e3)
    return {key: median(values[-runs:]) for key, values in counted.items()}


def _rows(times: Dict[Operator, float]) -> List[Dict[str, Any]]:
    seen = {operator: ms for operator, ms in times.items() if ms > 0}
    total = sum(seen.values()) or 1.0
    return [
        {"name": one.name, "op": one.op, "executed_as": one.executed_as, "ms": ms, "share": ms / total}
        for one, ms in seen.items()
    ]
