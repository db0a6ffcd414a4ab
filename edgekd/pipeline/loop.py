"""The one loop: choose, train, build, measure, correct; until the budget is met or shown out of reach."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import takewhile
from typing import Any

import torch

from edgekd import cache
from edgekd.artifact import ArtifactSet
from edgekd.connection.connection import Connection, usable_cores
from edgekd.connection.ssh import remote
from edgekd.disk import clear
from edgekd.errors import UsageError
from edgekd.gate import verdict as gate
from edgekd.measure import machine
from edgekd.pipeline import closing
from edgekd.pipeline.confirmation import confirm
from edgekd.pipeline.folder import alone_in, refuse_foreign
from edgekd.pipeline.request import RECIPE, TARGET, Request
from edgekd.pipeline.runner import Runner
from edgekd.pipeline.stages import configured, refuse_early
from edgekd.pipeline.subject import digest_of_subject
from edgekd.pipeline.turn import Turn, aim_after, correction_after
from edgekd.predict.limit import limit_ms
from edgekd.profile import Profile, latency_name
from edgekd.report import Round, RunReport
from edgekd.schema import read_json, write_json, write_text
from edgekd.shortage import shortage
from edgekd.stage import Context, Progress, Stage
from edgekd.train.stage import TeacherStage
from edgekd.yaml_file import dump_yaml

log = logging.getLogger("edgekd")


def compress(asked: Request, progress: Progress) -> RunReport:
    """Run a recipe to its verdict; raises an EdgekdError when no verdict can be reached.

    The run folder then holds run.json, report.md, the bundle and everything in between. A run that was killed goes on
    where it stopped when it is asked for again.
    """
    begin = time.monotonic()
    with begun(asked, progress) as (stages, runner):
        report = _run(asked, stages, runner)
        finished = report.replace(seconds=time.monotonic() - begin)
        finished.write(asked.run_folder)
        return finished


@contextmanager
def begun(asked: Request, progress: Progress) -> Iterator[tuple[list[Stage[Any]], Runner]]:
    """Hold a run's folder and its device; yield the stages of its recipe, which none of them refuses, and their runner.

    Raises UsageError for what is wrong with the recipe before anything in the run folder is touched.
    """
    stages = configured(asked.recipe, asked.source, elsewhere=asked.elsewhere)
    torch.set_num_threads(asked.recipe.threads or usable_cores())
    with ExitStack() as stack:
        connection = stack.enter_context(remote(asked.device)) if asked.device is not None else None
        context = context_of(asked, progress, connection)
        stack.enter_context(_shortages_told(context))
        if not asked.foreseen:
            refuse_early(stages, context, asked.source)
        refuse_foreign(asked)
        with alone_in(asked.run_folder):
            clear(asked.run_folder)
            clear(context.cache)
            _write_inputs(asked, connection)
            yield stages, Runner(context, digest_of_subject(context), asked.beside)


def foresee(asked: Request, progress: Progress) -> None:
    """Run what comes before any training, and refuses what cannot be built or cannot fit; `compress` goes on there.

    Raises what the stages raise.
    """
    with begun(asked, progress) as (stages, runner):
        artifacts = ArtifactSet()
        for stage in takewhile(lambda stage: not isinstance(stage, TeacherStage), stages):
            artifacts = runner.run(stage, artifacts)


def _run(asked: Request, stages: list[Stage[Any]], runner: Runner) -> RunReport:
    """Go round until a verdict is final, and close with the best round."""
    turns: list[Turn] = []
    for number in range(asked.recipe.feedback_rounds):
        correction = correction_after(turns)
        aim = aim_after(turns)
        runner.context = replace(runner.context, round=number, correction=correction, aim=aim)
        artifacts = ArtifactSet()
        for stage in stages:
            artifacts = runner.run(stage, artifacts)
        turns.append(_judge(artifacts, runner.context))
        log.info("round %d: %s", number + 1, turns[-1].verdict.line())
        if turns[-1].is_final(correction):
            break
    best = min(turns, key=lambda turn: turn.rank)
    rounds = [turn.told.replace(kept=turn is best) for turn in turns]
    return closing.close(asked, runner, rounds, best.artifacts, best.profile, best.chosen, best.confirmed)


def _judge(artifacts: ArtifactSet, context: Context) -> Turn:
    """Choose the engine to ship, measure it afresh, and hold it against the budget, on the validation split."""
    budget = context.recipe.budget
    profile = read_json(Profile, context.path(artifacts.newest(network="measured", written_as="profile")))
    chosen, why = gate.choose(profile, budget)
    confirmed = confirm(chosen, profile, artifacts, context)
    verdict = gate.judge(confirmed.chosen, confirmed.profile, budget)
    name = latency_name(budget.percentile)
    measured = chosen.figure(name)
    predicted = next(
        (a.figure(name) for a in reversed(artifacts.artifacts) if a.network == chosen.network and a.figure(name)), None
    )
    if measured is None:
        raise UsageError(f"the measure stage took no {name}")
    correction = context.correction
    if predicted is not None:
        correction *= _drift_free(measured.value, profile, context, artifacts) / predicted.value
    told = Round(
        number=context.round + 1,
        verdict=verdict.replace(reasons=(*verdict.reasons, why)) if why else verdict,
        predicted_ms=predicted.value if predicted else None,
        measured_ms=measured.value,
        origin=measured.origin,
        correction=correction,
    )
    return Turn(artifacts, profile, chosen, confirmed, verdict, told)


def _drift_free(measured_ms: float, profile: Profile, context: Context, artifacts: ArtifactSet) -> float:
    """Return the measured latency as it would have been at the machine's speed when the probes were measured.

    Absolute times drift with clocks and load; the teacher stands in both series, so its two figures relate them.
    """
    probes = artifacts.all(network="probes", written_as="profile")
    if not probes:
        return measured_ms
    relative = context.recipe.budget.replace(latency_ms=None, latency_ratio=1.0)
    before = limit_ms(relative, read_json(Profile, context.path(probes[-1])))
    now = limit_ms(relative, profile)
    return measured_ms * before / now if before and now else measured_ms


def context_of(asked: Request, progress: Progress, connection: Connection | None = None) -> Context:
    """Return what the stages of a run know about it; `connection` leads to the device that measures."""
    return Context(
        run_folder=asked.run_folder,
        folder=asked.run_folder,
        cache=cache.folder(),
        recipe=asked.recipe,
        target=asked.target,
        origin_is_device=asked.on_target,
        connection=connection,
        elsewhere=asked.elsewhere,
        keeps_choices=asked.keeps_choices,
        progress=progress,
    )


def _write_inputs(asked: Request, connection: Connection | None) -> None:
    if asked.finished() is None:  # a verdict on something else no longer holds
        (asked.run_folder / "run.json").unlink(missing_ok=True)
    write_text(dump_yaml(asked.recipe.plain()), asked.run_folder / RECIPE)
    write_text(dump_yaml(asked.target.plain()), asked.run_folder / TARGET)
    device = {} if connection is None else {"device": connection.probe()}
    write_json({**machine.probe(), **device}, asked.run_folder / "environment.json")


@contextmanager
def _shortages_told(context: Context) -> Iterator[None]:
    """Turn a full disk, a lack of memory and a folder that cannot be written into an error that says so."""
    try:
        yield
    except Exception as error:
        found = shortage(error, context.writes_to)
        if found is not None:
            raise found from error
        raise
