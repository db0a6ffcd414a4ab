"""A search that was killed is led through what it asked and was told, and goes on as it would have gone."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from edgekd.errors import EdgekdError
from edgekd.recipe import ModelSpec
from edgekd.search.course import Course, Score
from edgekd.search.sampler import SAMPLERS, Grid, create
from edgekd.search.space import Axis, Point

GRID = Grid((Axis(4), Axis(3, ordered=False), Axis(3)))
FIRST = (3, 2, 2)
OPTIONS = {"evolution": {"population": 4}, "nsga2": {"population": 4}, "sms-ego": {"startup": 4, "every": 2}}


def course(path: Path, name: str = "random", *, key: str = "a", seed: int = 0, most: int = 20) -> Course:
    return Course(create(name, OPTIONS.get(name, {}), GRID, costs=1, seed=seed), FIRST, most, path, key)


def score(point: Point) -> Score:
    return Score(spec=ModelSpec(name="resnet"), error_percent=10 + sum(point) * (point[1] + 1), images=1)


def go_on(search: Course, answers: int | None = None) -> list[Point]:
    """Answer two questions at a time, the younger one first, until there are so many answers; return the questions."""
    asked, waiting, points = list[Point](), list[Point](), search.open()
    while answers is None or answers > 0:
        for point in islice(points, 2 - len(waiting)):
            asked.append(point)
            waiting.append(point)
        if not waiting:
            break
        point = waiting.pop()
        search.tell(point, score(point))
        answers = None if answers is None else answers - 1
    return asked


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_a_search_that_was_killed_asks_what_it_would_have_asked(name: str, tmp_path: Path) -> None:
    whole = course(tmp_path / "whole", name)
    asked = go_on(whole)
    killed = course(tmp_path / "killed", name)
    before = go_on(killed, answers=9)
    again = course(tmp_path / "killed", name)
    assert list(again.told) == [point for point in before if point in again.told]
    assert len(again.told) == 9
    after = go_on(again)
    assert after[0] in before, "what was asked and never told comes first"
    assert [*before, *after[1:]] == asked
    assert again.told == whole.told
    assert list(whole.told) == asked
    assert asked[0] == FIRST
    assert len(asked) == len(set(asked)) == 20


def test_all_that_is_allowed_is_asked_once(tmp_path: Path) -> None:
    assert sorted(go_on(course(tmp_path / "course", most=100))) == sorted(GRID.points())


def test_another_search_begins_anew_and_another_sampler_is_told(tmp_path: Path) -> None:
    path = tmp_path / "course"
    go_on(course(path), answers=5)
    assert len(course(path).told) == 5
    with pytest.raises(EdgekdError, match="does not ask what it asked then; delete the file"):
        course(path, seed=1)
    assert not course(path, key="b", seed=1).told


def test_a_later_rung_is_kept_and_the_sampler_is_not_told_of_it(tmp_path: Path) -> None:
    search = course(tmp_path / "course", "evolution", most=6)
    asked = go_on(search)
    better = {point: score(point).replace(error_percent=1.0) for point in asked[3:5]}
    for point in reversed(better):
        search.tell(point, better[point], rung=1)
    again = course(tmp_path / "course", "evolution", most=6)
    assert again.told_in(1) == search.told_in(1) == better
    assert list(again.told_in(1)) == asked[3:5], "in the order they were asked for"
    assert again.told == {point: score(point) for point in asked}
    assert again.told_in(2) == {}
    assert not list(again.open())
