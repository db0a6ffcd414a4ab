from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from edgekd import catalogue, recipe, target
from edgekd.artifact import Artifact, ArtifactSet
from edgekd.errors import ResourceError, UsageError
from edgekd.figure import Figure
from edgekd.pipeline.runner import Runner
from edgekd.schema import Schema
from edgekd.stage import Context, Stage


class Letters(Schema):
    text: str = "a"


class Write(Stage[Letters]):
    """Writes a letter and counts how often."""

    name: ClassVar[str] = "write"
    Config: ClassVar[type[Schema]] = Letters
    runs: ClassVar[list[str]] = []

    def run(self, artifacts: ArtifactSet, context: Context) -> ArtifactSet:
        self.runs.append(self.config.text)
        context.folder.mkdir(parents=True, exist_ok=True)
        path = context.folder / "letter"
        path.write_text(self.config.text + (path.read_text() if path.exists() else ""))
        notes = {"letter": self.config.text}
        return artifacts.add(context.store(path, network="x", format="torch", made_by=self.name, notes=notes))


class Judge(Write):
    """A stage that depends on the budget."""

    name: ClassVar[str] = "judge"
    judges_cost: ClassVar[bool] = True


class Shared(Write):
    """A stage that is the same for every target."""

    name: ClassVar[str] = "shared"
    for_every_target: ClassVar[bool] = True

    def run(self, artifacts: ArtifactSet, context: Context) -> ArtifactSet:
        made = super().run(artifacts, context).newest(network="x")
        figure = Figure(name="accuracy_percent", value=90, origin=context.origin_here)
        return artifacts.add(made.replace(figures=(figure,)))


class Dies(Stage[Letters]):
    """A stage that fails after it has written something."""

    name: ClassVar[str] = "dies"
    Config: ClassVar[type[Schema]] = Letters
    error: ClassVar[type[BaseException]] = KeyboardInterrupt

    def run(self, artifacts: ArtifactSet, context: Context) -> ArtifactSet:
        (context.folder / "half").write_text("half")
        raise self.error("no")


@pytest.fixture(autouse=True)
def _count_anew() -> None:
    Write.runs.clear()


def runner(folder: Path, **changes: Any) -> Runner:
    loaded = recipe.load(catalogue.find("recipes", "smoke")).replace(**changes)
    return Runner(Context(folder, folder, folder / "cache", loaded, target.load("x86-avx2"), origin_is_device=True))


def test_a_stage_with_the_same_inputs_is_reused_across_processes_and_rounds(tmp_path: Path) -> None:
    first = runner(tmp_path)
    made = first.run(Write(Letters()), ArtifactSet())
    assert first.run(Write(Letters()), ArtifactSet()) == made
    assert runner(tmp_path).run(Write(Letters()), ArtifactSet()) == made
    assert Write.runs == ["a"]
    assert [(line.name, line.reused) for line in first.lines] == [("write", False), ("write", True)]
    assert first.lines[0].notes == {"letter": "a"}


def test_another_option_seed_or_input_runs_again_in_an_empty_folder(tmp_path: Path) -> None:
    runner(tmp_path).run(Write(Letters()), ArtifactSet())
    made = runner(tmp_path).run(Write(Letters(text="b")), ArtifactSet())
    assert (tmp_path / made.artifacts[0].path).read_text() == "b", "nothing of the other run is left"
    runner(tmp_path, seed=1).run(Write(Letters(text="b")), ArtifactSet())
    assert Write.runs == ["a", "b", "b"]


def test_only_stages_that_judge_cost_depend_on_the_budget(tmp_path: Path) -> None:
    for ratio in (0.5, 0.4):
        budget = {"latency_ratio": ratio}
        runner(tmp_path / "w", budget=budget).run(Write(Letters()), ArtifactSet())
        runner(tmp_path / "j", budget=budget).run(Judge(Letters()), ArtifactSet())
    assert Write.runs == ["a", "a", "a"]


def test_a_changed_artifact_is_noticed_and_made_again(tmp_path: Path) -> None:
    made = runner(tmp_path).run(Write(Letters()), ArtifactSet())
    (tmp_path / made.artifacts[0].path).write_text("damaged")
    runner(tmp_path).run(Write(Letters()), ArtifactSet())
    assert Write.runs == ["a", "a"]


def test_a_killed_stage_finds_its_own_files_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        runner(tmp_path).run(Dies(Letters()), ArtifactSet())
    with pytest.raises(KeyboardInterrupt):
        runner(tmp_path).run(Dies(Letters()), ArtifactSet())
    assert (tmp_path / "stages" / "01-dies" / "half").is_file()
    with pytest.raises(KeyboardInterrupt):
        runner(tmp_path, seed=9).run(Dies(Letters()), ArtifactSet())


def test_an_error_names_the_stage_and_those_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = runner(tmp_path)
    here.run(Write(Letters()), ArtifactSet())
    monkeypatch.setattr(Dies, "error", UsageError)
    with pytest.raises(UsageError) as caught:
        here.run(Dies(Letters()), ArtifactSet())
    assert "stage 'dies' failed; finished before it: write" in caught.value.__notes__[0]
    monkeypatch.setattr(Dies, "error", MemoryError)
    with pytest.raises(ResourceError, match="stage 'dies' ran out of memory"):
        here.run(Dies(Letters()), ArtifactSet())


def test_another_subject_runs_again_although_the_recipe_is_the_same(tmp_path: Path) -> None:
    runner(tmp_path).run(Write(Letters()), ArtifactSet())
    mended = Runner(runner(tmp_path).context, "other data")
    mended.run(Write(Letters()), ArtifactSet())
    assert Write.runs == ["a", "a"]
    Runner(mended.context, "other data").run(Write(Letters()), ArtifactSet())
    assert Write.runs == ["a", "a"]


def beside(folder: Path, other: Path, subject: str = "", **changes: Any) -> Runner:
    """Return the runner of another target, one that this machine is not."""
    context = replace(runner(folder, **changes).context, target=target.load("x86-vnni"), origin_is_device=False)
    return Runner(context, subject, (other,))


def test_what_is_the_same_for_every_target_is_taken_over_from_the_one_it_was_made_for(tmp_path: Path) -> None:
    first = runner(tmp_path / "first")
    first.run(Write(Letters()), ArtifactSet())
    probes = Artifact(network="probes", format="profile", path="probes.json", digest="d", made_by="search")
    theirs = first.run(Shared(Letters()), ArtifactSet(artifacts=(probes,))).newest(network="x")
    second = beside(tmp_path / "second", tmp_path / "first")
    own = second.run(Shared(Letters()), ArtifactSet())  # elsewhere in the order than there
    assert Write.runs == ["a", "a"]
    assert [a.key for a in own.artifacts] == ["x/fp32/torch"], "and nothing of what else the first had"
    made = own.newest(network="x")
    assert (made.path, made.digest) == ("stages/01-shared/letter", theirs.digest)
    assert [figure.origin for a in (theirs, made) for figure in a.figures] == ["device", "host"]
    assert (second.lines[0].reused, second.lines[0].notes["made for"]) == (True, "first")
    (tmp_path / "first" / theirs.path).unlink()
    assert beside(tmp_path / "second", tmp_path / "first").run(Shared(Letters()), ArtifactSet()) == own
    assert Write.runs == ["a", "a"], "its own copy is enough"


def test_nothing_else_is_taken_over(tmp_path: Path) -> None:
    first, other = runner(tmp_path / "first"), tmp_path / "first"
    made = first.run(Shared(Letters()), ArtifactSet())
    first.run(Write(Letters()), ArtifactSet())
    Write.runs.clear()
    beside(tmp_path / "of a target", other).run(Write(Letters()), ArtifactSet())
    beside(tmp_path / "options", other).run(Shared(Letters(text="b")), ArtifactSet())
    beside(tmp_path / "seed", other, seed=1).run(Shared(Letters()), ArtifactSet())
    beside(tmp_path / "subject", other, subject="other data").run(Shared(Letters()), ArtifactSet())
    beside(tmp_path / "input", other).run(Shared(Letters()), made)
    (other / made.artifacts[0].path).write_text("damaged")
    beside(tmp_path / "damaged", other).run(Shared(Letters()), ArtifactSet())
    assert Write.runs == ["a", "b", "a", "a", "a", "a"]


@pytest.mark.parametrize("content", ["{", '{"key": "x", "written_by": "another edgekd"}'])
def test_a_record_that_cannot_be_read_lets_the_stage_run_again(
    content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = runner(tmp_path).run(Write(Letters()), ArtifactSet())
    (tmp_path / "stages" / "01-write" / "stage.json").write_text(content)
    (tmp_path / "stages" / "01-write" / "letter").unlink()
    assert runner(tmp_path).run(Write(Letters()), ArtifactSet()) == made
    assert "the stage runs again" in caplog.text
