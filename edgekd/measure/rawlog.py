"""The raw values of a measuring series as JSON lines: what statistics need, and what a killed run resumes from."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class RawLog:
    """One series on disk: a header, the numbers of processes it was judged at, and one line per process of a round.

    A round is written at once when it is complete. Opened again with the same header (same engines, operating point and
    boot of the machine) it continues; with any other it begins anew, because measurements are never carried over.
    """

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self.path = path
        self.rounds: list[dict[str, dict[str, Any]]] = []
        self.states: list[dict[str, Any]] = []
        self.looks: list[int] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = _lines(path)
        if lines and lines[0][0] == {"kind": "series", **header}:
            os.truncate(path, self._replay(lines, len(header["engines"])))
        else:
            path.write_text("", encoding="utf-8")
            self._append([{"kind": "series", **header}])

    def plan(self, processes: int) -> None:
        """Note that the series will be judged at this number of processes, before any of them runs."""
        if processes not in self.looks:
            self._append([{"kind": "look", "processes": processes}])
            self.looks.append(processes)

    def add_round(self, processes: Sequence[dict[str, Any]], state: dict[str, Any]) -> None:
        """Write one complete round: a mapping per process (`engine` is its key), and the machine's state after it."""
        number = len(self.rounds)
        lines = [{"kind": "process", "round": number, **process} for process in processes]
        self._append([*lines, {"kind": "machine", "round": number, **state}])
        self.rounds.append({process["engine"]: dict(process) for process in processes})
        self.states.append(state)

    def add_state(self, state: dict[str, Any]) -> None:
        """Write a state of the machine that belongs to no round: before the first of a session."""
        self._append([{"kind": "machine", "round": None, **state}])
        self.states.append(state)

    def _replay(self, lines: Sequence[tuple[dict[str, Any], int]], engines: int) -> int:
        """Take over what is complete; return where it ends in the file, because what a kill tore off must go."""
        unfinished: dict[str, dict[str, Any]] = {}
        complete = lines[0][1]
        for line, end in lines[1:]:
            kind = line.pop("kind", None)
            if kind == "look":
                self.looks.append(line["processes"])
            elif kind == "process":
                unfinished[line["engine"]] = line
            elif kind == "machine":
                self.states.append(line)
                if line.pop("round") is not None and len(unfinished) == engines:
                    self.rounds.append(unfinished)
                unfinished = {}
            complete = complete if kind == "process" else end
        return complete

    def _append(self, lines: Sequence[dict[str, Any]]) -> None:
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write("".join(json.dumps(line, allow_nan=False) + "\n" for line in lines))
            stream.flush()
            os.fsync(stream.fileno())


def _lines(path: Path) -> list[tuple[dict[str, Any], int]]:
    """Return the complete lines, each with where it ends in the file; the last one of a killed run may be torn."""
    found: list[tuple[dict[str, Any], int]] = []
    end = 0
    for text in path.read_bytes().split(b"\n")[:-1] if path.is_file() else []:
        end += len(text) + 1
        try:
            found.append((json.loads(text), end))
        except ValueError:
            break
    return found
