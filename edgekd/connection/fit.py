"""Whether a device is what a target says: told before anything is trained for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekd.errors import TargetError
from edgekd.runtime.session import RUNTIMES, TENSORRT
from edgekd.target import Target, major


def refuse_unfit(target: Target, probed: Mapping[str, Any], name: str, known: str | None) -> None:
    """Raise TargetError where engines for a target cannot run on a probed machine.

    `name` is what the machine is called, `known` the target it was probed to be. Its architecture must be the target's,
    every runtime must be there, and TensorRT must be of the major that reads the target's files.
    """
    if probed["machine"] != target.machine:
        instead = f"; it is {known}: give --target {known}" if known else ""
        raise TargetError(f"{name} is {probed['machine']}, and {target.name} is {target.machine}{instead}")
    unable = [runtime for runtime in target.runtimes if runtime not in (*RUNTIMES, TENSORRT)]
    if unable:
        raise TargetError(
            f"{target.name} names the runtime {unable[0]}, whose engines cannot be run by edgekd yet; without --device "
            "their latency is predicted"
        )
    if target.needs_gpu and not probed.get("gpu"):
        raise TargetError(f"{name} has no GPU of NVIDIA's, or no driver for it, and {target.name} needs one")
    versions: Mapping[str, str] = probed["versions"]
    missing = [runtime for runtime in target.runtimes if _package(runtime) not in versions]
    if missing:
        raise TargetError(
            f"{name} lacks {' and '.join(missing)}, which {target.name} names as runtime{'s' * (len(missing) > 1)}; "
            "install that for the Python that is used there (`python` in the devices file names one), or give a "
            "target file of your own without it"
        )
    wanted = target.software.tensorrt if target.software else None
    found = versions.get("tensorrt")
    if wanted and found and "tensorrt" in target.runtimes and major(wanted) != major(found):
        raise TargetError(
            f"{name} has TensorRT {found}, and {target.name} is about TensorRT {wanted}: their majors read files "
            "differently; give the target of its JetPack (edgekd targets lists them)"
        )


def _package(runtime: str) -> str:
    return runtime.replace("-", "_")
