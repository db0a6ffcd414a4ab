"""Several targets one after the other: all are looked at before anything is trained, none takes another down with it.

Each target's part is a run of its own, in its own folder. What is the same for every target is made for the first that
needs it and taken over by the others; a target that fails leaves the others as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgekd.errors import EdgekdError, UsageError
from edgekd.pipeline import loop, searching, summary
from edgekd.pipeline.folder import alone_in, refuse_foreign
from edgekd.pipeline.request import Request
from edgekd.pipeline.several import Several
from edgekd.pipeline.summary import Outcome, Summary
from edgekd.schema import write_json
from edgekd.stage import Progress

log = logging.getLogger("edgekd")


def compress(several: Several, progress: Progress) -> Summary:
    """Run a recipe to its verdict on every target, and write the summary; targets that have ended keep their verdict.

    Raises UsageError for what is wrong with the recipe or a target, before anything is trained. Whatever else goes
    wrong is the outcome of its target.
    """
    return _in_turn(
        several,
        progress,
        ended=lambda asked: None if (found := asked.finished()) is None else Outcome.of_report(asked, found),
        work=lambda asked: Outcome.of_report(asked, loop.compress(asked, progress)),
        file=several.run_folder / summary.FILE,
    )


def search(several: Several, progress: Progress) -> tuple[Summary, dict[str, searching.Found]]:
    """Choose a student for every target, and write the summary; returns also what was found, by target.

    Raises as `compress` does.
    """
    found: dict[str, searching.Found] = {}

    def work(asked: Request) -> Outcome:
        name = asked.target.name
        found[name] = searching.search(asked, progress)
        return Outcome(
            target=name,
            asked=asked.asked_target,
            status="chosen",
            exit_code=0,
            said=f"chosen: {found[name].why}",
            result=f"{name}/{searching.FILE}",
        )

    for asked in several.requests:
        searching.choosing(asked)
    told = _in_turn(several, progress, ended=lambda _: None, work=work, file=several.run_folder / searching.FILE)
    return told, found


def _in_turn(
    several: Several,
    progress: Progress,
    *,
    ended: Callable[[Request], Outcome | None],
    work: Callable[[Request], Outcome],
    file: Path,
) -> Summary:
    """Foresee every target that has not ended, then work at each; write the summary to `file`."""
    with alone_in(several.run_folder):
        for asked in several.requests:
            refuse_foreign(asked)
        outcomes: dict[int, Outcome] = {}
        for number, one in enumerate(several.resolved):
            found = ended(one) if isinstance(one, Request) else one
            if found is not None:
                outcomes[number] = found

        def foresee(asked: Request) -> None:
            loop.foresee(asked, progress)

        def worked(asked: Request) -> Outcome:
            return work(replace(asked, foreseen=True))

        _each(several, outcomes, foresee, wrong_usage_stops_all=True)
        several.begin()
        file.unlink(missing_ok=True)  # of a run before this one, which may be interrupted
        _each(several, outcomes, worked)
        told = Summary.of(several.recipe.title, (outcomes[number] for number in range(len(several.resolved))))
        write_json(told, file)
        return told


def _each(
    several: Several,
    outcomes: dict[int, Outcome],
    deed: Callable[[Request], Outcome | None],
    *,
    wrong_usage_stops_all: bool = False,
) -> None:
    """Do a deed for each target without an outcome; note the outcome it returns, or that it failed and why.

    Before anything is trained, wrong usage of one target stops all: nothing is lost by mending it first.
    """
    for number, asked in enumerate(several.resolved):
        if number in outcomes or not isinstance(asked, Request):
            continue
        log.info("target %s (%d of %d)", asked.target.name, number + 1, len(several.resolved))
        try:
            found = deed(asked)
        except Exception as error:
            if wrong_usage_stops_all and isinstance(error, UsageError):
                raise
            found = Outcome.of_error(asked.target.name, asked.asked_target, error)
            told = [found.line(), *getattr(error, "__notes__", [])]
            log.warning("\n".join(told), exc_info=None if isinstance(error, EdgekdError) else error)
        if found is not None:
            outcomes[number] = found
