"""Which kernel profile is known of a target: the user's own, else one that is shipped."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

from edgekd import cache, catalogue
from edgekd.errors import TargetError
from edgekd.kernel import KernelProfile
from edgekd.schema import read_json, write_text
from edgekd.target import Target

FILE = "kernels.json"


def own_file(target: str) -> Path:
    """Return where the user's own kernel profile of a target lies."""
    return cache.folder() / "profiles" / target / FILE


def find(target: Target) -> Path | None:
    """Return the kernel profile of a target, the user's own before the shipped one; None where there is none."""
    shipped = catalogue.folder("profiles") / target.name / FILE
    return next((path for path in (own_file(target.name), shipped) if path.is_file()), None)


def required(target: Target, file: Path | None = None) -> Path:
    """Return `file`, else the kernel profile of a target; raises TargetError when there is none."""
    found = file or find(target)
    if found is None:
        raise TargetError(
            f"no kernel profile of {target.name} is known; measure one with: "
            f"edgekd profile --target {target.name} --kernels"
        )
    return found


def load(path: Path) -> KernelProfile:
    """Read a kernel profile; raises UsageError when it is none."""
    return read_json(KernelProfile, path)


def save(profile: KernelProfile, path: Path) -> None:
    """Write a kernel profile atomically, one probe a line."""
    plain = profile.plain()
    probes = ",\n  ".join(json.dumps(probe, allow_nan=False) for probe in plain.pop("probes"))
    head = json.dumps(plain, indent=1, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(head.removesuffix("\n}") + ',\n "probes": [\n  ' + probes + "\n ]\n}\n", path)


def is_here(profile: KernelProfile) -> bool:
    """Return whether the profile is of a processor like this machine's."""
    from edgekd.device import probe

    return bool(profile.machine.get("cpu") == probe.identity()["cpu"])


def refuse_other_version(profile: KernelProfile, runtime: str, path: Path) -> None:
    """Raise TargetError when this machine's runtime has another version than the profiled one.

    Kernels change from version to version. Where the runtime is not installed there is nothing to compare with.
    """
    try:
        here = metadata.version(runtime)
    except metadata.PackageNotFoundError:
        return
    profiled = profile.versions.get(runtime)
    if profiled != here:
        raise TargetError(
            f"{path} was measured with {runtime} {profiled}, here is {here}, whose kernels may be others; tell the "
            f"drift and correct the profile with: edgekd profile --target {profile.target} --kernels --reanchor"
        )
