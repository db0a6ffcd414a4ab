"""Answers requests, one JSON object a line: `python -m edgekd.device`, or the same code packed as a zipapp.

The first line written is a greeting. A request names its `verb` (`_verbs` lists them); the answer has `ok`,
and where that is false `error` and `kind`. The end of the input ends the process, and so does a silence: a cable that
was pulled ends no input for hours, and meanwhile nobody else could measure. A request may say by `patience_s` how long
the next one is waited for.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Any, Callable, Dict, TextIO

PROTOCOL = 1
PATIENCE_S = 3600
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until the input ends."""
    _die_with_parent()
    answers = _claim_output()
    _write(answers, {"ok": True, "protocol": PROTOCOL, "pid": os.getpid()})
    verbs = _verbs()
    patience_s = PATIENCE_S
    while True:
        _end_after(patience_s)
        line = sys.stdin.readline()
        _end_after(0)
        if not line:
            break
        if line.strip():
            request = _read(line)
            patience_s = request.get("patience_s", patience_s)
            _write(answers, _answer(verbs, request))
    answers.flush()
    # A runtime's tear-down takes longer than its work here; nothing is left to be saved.
    os._exit(0)


def _die_with_parent() -> None:
    """Let Linux kill this process with the one that started it, so that nothing disturbs whoever measures next."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_after(seconds: float) -> None:
    """Let the kernel end this process in so many seconds; 0 takes that back."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _claim_output() -> TextIO:
    """Keep the protocol's stream to ourselves: whatever a runtime prints goes to the error stream."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own


def _write(stream: TextIO, answer: Dict[str, Any]) -> None:
    stream.write(json.dumps(answer) + "\n")
    stream.flush()


def _verbs() -> Dict[str, Callable[[Dict[str, Any]], Dict[str, Any]]]:
    from .build import build
    from .describe import describe
    from .energy import energy
    from .evaluate import evaluate
    from .layers import layers
    from .loadgen import loadgen
    from .lock import Lock
    from .memory import memory
    from .operators import operators
    from .probe import probe
    from .throughput import throughput
    from .time import Timer

    functions = (probe, build, describe, evaluate, memory, throughput, energy, layers, loadgen, operators)
    steps = {"time": Timer().step, "lock": Lock().step}
    return {**steps, **{function.__name__: function for function in functions}}


def _read(line: str) -> Dict[str, Any]:
    """Return the request of a line; one that is no JSON object asks for a verb of that name, which there is not."""
    try:
        request = json.loads(line)
    except ValueError:
        request = None
    return request if isinstance(request, dict) else {"verb": line.strip()[:80]}


def _answer(verbs: Dict[str, Callable[[Dict[str, Any]], Dict[str, Any]]], request: Dict[str, Any]) -> Dict[str, Any]:
    try:
        name = request.get("verb")
        if name not in verbs:
            return _refusal("unknown verb {!r}; known: {}".format(name, ", ".join(sorted(verbs))), "ValueError")
        return {"ok": True, **verbs[name](request)}
    except KeyError as error:
        return _refusal("the request lacks the key {}".format(error), "KeyError")
    except Exception as error:  # whatever it is, the other side must hear of it and this process must live on
        return _refusal(str(error) or repr(error), type(error).__name__)


def _refusal(message: str, kind: str) -> Dict[str, Any]:
    return {"ok": False, "error": message, "kind": kind}


if __name__ == "__main__":
    main()
