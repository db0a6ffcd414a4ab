"""Builds an engine where it will run, because it is good for nothing elsewhere."""

from __future__ import annotations

from typing import Any, Dict

from ..runtime.session import TENSORRT


def build(request: Dict[str, Any]) -> Dict[str, Any]:
    """Build the engine of the file `onnx`, write it to `engine` and what it is bound to to `key`.

    Built `builds` times, the fastest is kept; `sparse`, kernels that skip zeros take part. See `tensorrt_build.built`
    for what it returns.
    """
    if request["runtime"] != TENSORRT:
        raise ValueError("engines of {} are not built on a device".format(request["runtime"]))
    from .tensorrt_build import built

    return built(
        request["onnx"],
        request["engine"],
        request["key"],
        request.get("builds", 1),
        request.get("batch", 1),
        sparse=request.get("sparse", False),
    )
