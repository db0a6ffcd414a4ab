"""What the targets of a run share: a stage that is the same for all is made for one and taken over by the others.

Each target keeps a copy in its own run folder, so that the folder can be moved and resumed without the others.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from edgekd.artifact import Artifact, ArtifactSet
from edgekd.disk import whole_folder
from edgekd.schema import Schema, write_json
from edgekd.stage import Context, Stage

RECORD = "stage.json"
"""In a stage's folder: that it ended well, and with what."""


class Finished(Schema):
    """What is left of a stage that ended well."""

    key: str
    seconds: float
    artifacts: ArtifactSet


def own_part(finished: Finished, stage: Stage[Any], context: Context) -> list[Artifact]:
    """Return the artifacts a stage has added itself; those before it may be another target's.

    What was computed on this machine is the device's own figure for one target, and not for another one.
    """
    found = []
    for artifact in finished.artifacts.artifacts:
        if artifact.made_by == stage.name:
            figures = [
                figure.replace(origin=context.origin_here) if figure.origin in {"device", "host"} else figure
                for figure in artifact.figures
            ]
            found.append(artifact.replace(figures=tuple(figures)))
    return found


def copied(finished: Finished, stage: Stage[Any], source: Path, folder: Path) -> Finished:
    """Copy the stage's folder `source` of another target's run to `folder`, and return what it then holds.

    Raises ResourceError when the disk is full.
    """
    artifacts = [a for a in finished.artifacts.artifacts if a.made_by == stage.name]
    here = ArtifactSet(
        artifacts=tuple(_moved(a, f"stages/{source.name}/", f"stages/{folder.name}/") for a in artifacts)
    )
    moved = finished.replace(artifacts=here)
    with whole_folder(folder) as unfinished:
        shutil.copytree(source, unfinished, dirs_exist_ok=True)
        write_json(moved, unfinished / RECORD)
    return moved


def _moved(artifact: Artifact, before: str, after: str) -> Artifact:
    """Return an artifact as it stands in another stage folder; a path outside the run folder stands for itself."""
    if not artifact.path.startswith(before):
        return artifact
    return artifact.replace(path=after + artifact.path.removeprefix(before))
