"""Runs stages in numbered folders; a stage whose inputs have not changed is reused by digest, a killed one goes on."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekd import __version__
from edgekd.artifact import ArtifactSet, digest_of_path
from edgekd.errors import UsageError
from edgekd.pipeline.sharing import RECORD, Finished, copied, own_part
from edgekd.report import StageLine
from edgekd.schema import digest_of, read_json, write_json, write_text
from edgekd.shortage import shortage
from edgekd.stage import PREDICTED, Context, Stage

log = logging.getLogger("edgekd")


class Runner:
    """Runs one stage after the other and remembers which ran.

    `beside` are the run folders of the same run's other targets: what is the same for every target and was made for one
    of them is taken over from there.
    """

    def __init__(self, context: Context, subject: str = "", beside: Sequence[Path] = ()) -> None:
        self.context = context
        self._subject = subject
        self._beside = beside
        self.lines: list[StageLine] = []
        self._known: dict[str, Finished] = {}

    def run(self, stage: Stage[Any], artifacts: ArtifactSet) -> ArtifactSet:
        """Run a stage in its own folder, or return what an equal run of it left behind.

        An error gets the stage's name and the stages before it as a note.
        """
        folder = self.context.run_folder / "stages" / f"{len(self.lines) + 1:02d}-{stage.name}"
        context = replace(self.context, folder=folder)
        found = None
        if stage.judges_cost and context.keeps_choices and context.round == 0:
            key = self._key(stage, artifacts, PREDICTED)
            found = self._read(stage, key, context)
        if found is None:
            key = self._key(stage, artifacts, context.measured_on if stage.measures or stage.judges_cost else None)
            found = self._known.get(key) or self._read(stage, key, context)
        taken_from = None
        if found is None and stage.for_every_target:
            found, taken_from = self._take_over(stage, key, context)
        reused = found is not None
        if found is None:
            found = self._work(stage, artifacts, key, context)
        self._known[key] = found
        result = artifacts.add(*own_part(found, stage, context)) if stage.for_every_target else found.artifacts
        notes = _notes(artifacts, result) | ({"made for": taken_from} if taken_from else {})
        self.lines.append(StageLine(name=stage.name, seconds=found.seconds, reused=reused, notes=notes))
        told = f"taken over from {taken_from}" if taken_from else "reused" if reused else f"{found.seconds:.0f} s"
        log.info("%s: %s", stage.name, told)
        return result

    def _take_over(self, stage: Stage[Any], key: str, context: Context) -> tuple[Finished | None, str | None]:
        """Return what another target's run has left of an equal stage, copied to here, and which target that was."""
        for other in self._beside:
            for folder in sorted((other / "stages").glob(f"*-{stage.name}")):
                theirs = self._read(stage, key, replace(context, run_folder=other, folder=folder))
                if theirs is not None:
                    return copied(theirs, stage, folder, context.folder), other.name
        return None, None

    def _work(self, stage: Stage[Any], artifacts: ArtifactSet, key: str, context: Context) -> Finished:
        folder = context.folder
        started_as = folder / "started.key"
        if folder.exists() and not (started_as.is_file() and started_as.read_text() == key):
            shutil.rmtree(folder)
        write_text(key, started_as)
        begin = time.monotonic()
        log.info("%s ...", stage.name)
        try:
            stage.requires(artifacts, context)
            result = stage.run(artifacts, context)
            stage.ensures(result, context)
        except Exception as error:
            found = shortage(error, context.writes_to, f"stage '{stage.name}'")
            before = ", ".join(line.name for line in self.lines) or "none"
            (found or error).add_note(f"stage '{stage.name}' failed; finished before it: {before}; its files: {folder}")
            if found is not None:
                raise found from error
            raise
        finished = Finished(key=key, seconds=time.monotonic() - begin, artifacts=result)
        write_json(finished, folder / RECORD)
        return finished

    def _read(self, stage: Stage[Any], key: str, context: Context) -> Finished | None:
        """Return the finished stage of an earlier run of the same command, None when it must run."""
        record = context.folder / RECORD
        if not record.is_file():
            return None
        try:
            finished = read_json(Finished, record)
        except UsageError as error:
            log.warning("%s: %s; the stage runs again", stage.name, error)
            return None
        if finished.key != key:
            return None
        for artifact in finished.artifacts.artifacts:
            path = context.path(artifact)
            if artifact.made_by == stage.name and not (path.exists() and digest_of_path(path) == artifact.digest):
                log.warning("%s: %s is not what the stage wrote; it runs again", stage.name, artifact.path)
                return None
        return finished

    def _key(self, stage: Stage[Any], artifacts: ArtifactSet, measured_on: str | None) -> str:
        recipe = self.context.recipe
        of_target = {
            "target": self.context.target.plain(),
            "operating_point": recipe.budget.operating_point.plain(),
            "percentile": recipe.budget.percentile,
        }
        cost = (
            (recipe.budget.plain(), round(self.context.correction, 4), round(self.context.aim, 4))
            if stage.judges_cost
            else None
        )
        return digest_of(
            {
                "stage": stage.name,
                "config": stage.config.plain(),
                "inputs": [(a.key, a.digest) for a in stage.made_from(artifacts)],
                "subject": self._subject,
                "model": recipe.model.plain(),
                "data": recipe.data.plain(),
                "seed": recipe.seed,
                "cost": cost,
                "measured_on": measured_on,
                "version": __version__,
                **({} if stage.for_every_target else of_target),
            }
        )


def _notes(before: ArtifactSet, after: ArtifactSet) -> dict[str, str]:
    """Return what a stage noted about the artifacts it made or completed, each named where there are several."""
    new = [a for a in after.artifacts if a not in before.artifacts]
    several = len({a.network + a.scheme for a in new}) > 1
    return {
        f"{f'{a.network} in {a.scheme}, ' if several else ''}{note}": text
        for a in new
        for note, text in a.notes.items()
    }
