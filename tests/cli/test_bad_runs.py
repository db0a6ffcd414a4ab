"""What only a run can find out ends with one clear sentence too, and what was finished before it is kept."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

import edgekd.runtime
from edgekd import bundle
from edgekd.errors import UsageError
from tests.cli.desk import Desk, ended, model, refused, stages


def test_a_teacher_at_chance_is_refused_and_one_that_learned_goes_on(desk: Desk) -> None:
    desk.recipe(**stages(teacher={"epochs": 1, "batch": 96, "learning_rate": 1e-7}))
    refused(desk.compress(), 2, "right on .* of validation, no better than guessing; .* or train longer")
    desk.recipe()
    ended(desk.compress())


def test_a_loss_that_becomes_nan_keeps_what_was_finished(desk: Desk) -> None:
    student = {"epochs": 2, "batch": 16, "losses": {}, "student": {"factory": "mine:steep"}}
    desk.recipe(**stages(distill={**student, "learning_rate": 100}))
    refused(desk.compress(), 2, "there is no good epoch; .*lower learning_rate .* or set clip")
    finished = {name: content for name, content in desk.state().items() if name.startswith("stages/01-teacher")}
    assert "stages/01-teacher/stage.json" in finished
    desk.recipe(**stages(distill={**student, "learning_rate": 0.05}))
    ended(desk.compress())
    assert desk.reused() == {"teacher": True, "distill": False, "export": False, "measure": False}
    assert finished.items() <= desk.state().items()


def test_factories_mended_in_place_are_noticed_although_the_recipe_is_the_same(desk: Desk) -> None:
    """A teacher of the old code lies in the cache, and stages that ran on the old data in the run folder."""
    student = {"epochs": 2, "batch": 16, "losses": {}, "student": {"factory": "mine:steep"}}
    changes = stages(
        teacher={"epochs": 3, "batch": 16, "learning_rate": 0.05}, distill={**student, "learning_rate": 100}
    )
    desk.recipe(**changes)
    refused(desk.compress(), 2, "there is no good epoch")
    text = (desk.folder / "mine.py").read_text()
    (desk.folder / "mine.py").write_text(text.replace("width=8", "width=16").replace("split(96, 0)", "split(112, 0)"))
    refused(desk.compress(), 2, "there is no good epoch")
    saved = json.loads((desk.folder / "run/stages/01-teacher/teacher/description.json").read_text())
    assert saved["attributes"]["0"]["out_channels"] == 16


def test_a_budget_out_of_reach_ends_before_training_with_the_table(desk: Desk, desk_cache: Path) -> None:
    search = {"student": "teacher", "probes": 3, "processes": 1, "space_options": {"depths": [8, 14]}}
    taught = set(desk_cache.glob("teachers/*"))
    changes = stages(search=search, teacher={"epochs": 4, "batch": 16, "learning_rate": 0.051})
    desk.recipe(**changes, budget={"latency_ms": 1e-7})
    answer = desk.compress()
    refused(answer, 3, "latency limit of 1e-07 ms is out of reach: .*predicted.* nothing was trained; raise budget")
    table = answer.err.split("feasibility, before any training:")[1]
    for role in ("smallest", "middle", "teacher"):
        assert re.search(rf"^  {role} \(.*MMACs.*predicted", table, re.MULTILINE)
    assert set(desk_cache.glob("teachers/*")) == taught
    measured = (desk.folder / "run/stages/01-search/probes.json").read_bytes()
    desk.recipe(**changes)
    ended(desk.compress())
    assert (desk.folder / "run/stages/01-search/probes.json").read_bytes() == measured


@pytest.mark.parametrize(
    ("factory", "sentence"),
    [
        (
            "undecided_network",
            r"torch\.export refuses the operator torch\.Tensor\.__bool__ in module '3' \(Undecided\)",
        ),
        ("unknown_network", "OpenVINO .* cannot convert .*No conversion rule found for operations: Det"),
    ],
)
@pytest.mark.parametrize("searches", [False, True], ids=["without search", "with search"])
def test_what_cannot_become_an_engine_is_refused_before_any_training(
    factory: str, sentence: str, searches: bool, desk: Desk, desk_cache: Path
) -> None:
    taught = set(desk_cache.glob("teachers/*"))
    more = stages(search={"student": "teacher", "probes": 1, "processes": 1}) if searches else {}
    desk.recipe(**model(f"mine:{factory}"), **more)
    refused(desk.compress(), 7, sentence)
    assert set(desk_cache.glob("teachers/*")) == taught
    if searches == (factory == "unknown_network"):  # mended once with search and once without, after either refusal
        desk.recipe(**more)
        ended(desk.compress())


def test_the_run_folder_of_another_recipe_is_refused_and_other_options_go_on(held: Desk) -> None:
    before = held.state()
    held.recipe(**model("mine:network", options={"width": 16}))
    refused(
        held.compress(), 2, r"run holds the finished run of another recipe \(mine:network on mine:data\).*--run-folder"
    )
    assert held.state() == before
    held.recipe(budget={"latency_ms": 1000, "size_mb": 100})
    ended(held.compress())
    assert held.reused() == {"teacher": True, "export": True, "measure": True}


@pytest.mark.parametrize("file", ["run.json", "config.resolved.yaml"])
def test_a_run_folder_of_another_edgekd_is_refused(file: str, held: Desk) -> None:
    path = held.folder / "run" / file
    text = path.read_text()
    path.write_text(re.sub(r"(schema_version\"?: )1", r"\g<1>2", text))
    before = held.state()
    held.recipe(seed=1)  # another run, so that the finished one is not simply replayed
    refused(held.compress(), 2, rf"{file}.*schema_version = 2 is not the one this edgekd reads \(1\).* --run-folder")
    assert held.state() == before
    path.write_text(text)
    held.recipe()
    ended(held.compress())


def test_a_recipe_of_another_schema_version_is_refused(desk: Desk) -> None:
    desk.recipe(schema_version=2, new_key_of_version_two=1)
    refused(desk.compress(), 2, r"mine\.yaml:\d+: schema_version = 2 is not the one this edgekd reads")


def test_a_flipped_bit_in_a_bundle_is_found_and_its_file_named(finished: Path, tmp_path: Path) -> None:
    whole = bundle.verify(finished / "bundle")
    for name in ("manifest.json", *whole.files):
        folder = shutil.copytree(finished / "bundle", tmp_path / name.replace("/", "-"))
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 3] ^= 1 << 5
        (folder / name).write_bytes(content)
        with pytest.raises(UsageError, match=f"{re.escape(name)} is damaged"):
            bundle.verify(folder)
        readers = [runtime for runtime, engine in whole.engines.items() if name in engine.files] or list(whole.engines)
        for runtime in readers:
            with pytest.raises(edgekd.runtime.BundleError, match=f"{re.escape(name)} is damaged"):
                edgekd.runtime.load(folder, runtime)
    assert json.loads((finished / "run.json").read_text())["bundle"] == "bundle"
