"""What an engine takes and gives, told by the runtime that opened it."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

from ..runtime.session import Port, open_session


def describe(request: Dict[str, Any]) -> Dict[str, Any]:
    """Return `inputs` and `outputs` of `engine`: name, numpy dtype and shape of each, None where a size is free.

    `batch` and `threads` are those the engine is opened with; without a batch its shapes stay as they are in the file.
    """
    session = open_session(request["runtime"], request["engine"], request.get("threads", 1), request.get("batch"))
    return {"inputs": _ports(session.inputs), "outputs": _ports(session.outputs)}


def _ports(ports: Sequence[Port]) -> List[Dict[str, Any]]:
    return [{"name": port.name, "dtype": port.dtype, "shape": list(port.shape)} for port in ports]
