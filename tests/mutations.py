"""Mutations of YAML files, as bytes and as structure: what typing mistakes, editors and bad days do to them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

Place = tuple[str | int, ...]

BOMB = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}]\n"
    for old, new in zip("abcdefghij", "bcdefghijk", strict=True)
)
MERGE_BOMB = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [*{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}]}}\n"
    for old, new in zip("abcdefghij", "bcdefghijk", strict=True)
)

_WORDS = (
    *(
        "\t",
        "\x00",
        "\x1b[31m",
        "\u2028",
        "\ufeff",
        "é",
        "😀",
        "\r\n",
        "'",
        '"',
        "|",
        ">",
        "#",
        "%YAML 9.9\n",
        "%TAG ! x\n",
    ),
    *("---\n", "...\n", "&a ", "*a", "*nobody", "<<: ", "? ", ": ", "- ", "{", "}", "[", "]", ", ", "@", "`"),
    *("!!python/object/apply:os.getcwd []", "!!python/name:os.system ", "!!binary aGVsbG8=", "!!int x", "!!bool x"),
    *("!!int '' ", "!!float x", "!!null x", "!!set {a}", "!!omap [a: 1]", "!!timestamp x", "!local x", "!!str "),
    *(
        "9" * 5000,
        "1e999",
        "-1e-999",
        ".nan",
        "-.inf",
        "0x",
        "0o9",
        "1:30",
        "2026-13-45",
        "2026-01-01",
        "yes",
        "~",
        "=",
    ),
    *('"\\uD800"', '"\\x1b[2J"', '"\\0"', "k" * 5000, "[" * 3000, "{a: " * 3000, "- " * 3000),
)
_LINES = (
    *(BOMB, MERGE_BOMB, "a: &a [*a]\n", "a: &a {b: *a}\n", "seed: 1\n", "seed: 0\n", "budget:\n", "x\n", ": x\n"),
    *("k" * 5000 + ": 1\n", "".join(f"k{i}: 1\n" for i in range(3000)), "? [a]\n: 1\n", "1: 2\n", "null: 2\n"),
    *("stages: {}\n", "\tseed: 1\n", "---\nseed: 1\n", "...\n", "# comment\n", "\n", "t: |\n" + " x\n" * 2000),
    *(
        "".join("  " * depth + "k:\n" for depth in range(400)),
        '"\\ud83d": 1\n',
        '"a\\nb": 1\n',
        "target: ../../etc/x\n",
    ),
)


def profile(examples: int) -> settings:
    """Return how mutation tests run: the same inputs in every run, nothing kept between runs, no absolute times."""
    unhealthy = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
    return settings(
        max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=unhealthy
    )


@st.composite
def texts(draw: st.DrawFn, originals: Sequence[str]) -> bytes:
    """Draw the bytes of an original after one to three accidents."""
    content = draw(st.sampled_from(originals)).encode()
    for _ in range(draw(st.integers(1, 3))):
        content = draw(st.sampled_from(_ACCIDENTS))(draw, content)
    return content


def _flip(draw: st.DrawFn, content: bytes) -> bytes:
    at = draw(st.integers(0, max(0, len(content) - 1)))
    return content[:at] + bytes([(content + b"\n")[at] ^ (1 << draw(st.integers(0, 7)))]) + content[at + 1 :]


def _insert(draw: st.DrawFn, content: bytes) -> bytes:
    at = draw(st.integers(0, len(content)))
    word = draw(st.sampled_from(_WORDS).map(str.encode) | st.binary(min_size=1, max_size=6))
    return content[:at] + word + content[at:]


def _after_a_colon(draw: st.DrawFn, content: bytes) -> bytes:
    """Put a word where a value stands, or before it."""
    head, colon, tail = content.partition(b": ")
    for _ in range(draw(st.integers(0, content.count(b": ")))):
        more, colon, tail = tail.partition(b": ")
        head = head + b": " + more
    return head + colon + draw(st.sampled_from(_WORDS)).encode() + draw(st.sampled_from([b" ", b"\n", b", "])) + tail


def _delete(draw: st.DrawFn, content: bytes) -> bytes:
    at = draw(st.integers(0, len(content)))
    return content[:at] + content[at + draw(st.integers(1, 40)) :]


def _in_lines(draw: st.DrawFn, content: bytes) -> bytes:
    lines = content.split(b"\n")
    at, other = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    line = lines[at]
    changed: dict[str, list[bytes]] = {
        "remove": [],
        "repeat": [line, line],
        "indent": [b" " * draw(st.integers(1, 5)) + line],
        "dedent": [line.lstrip()],
        "tab": [b"\t" + line.lstrip()],
        "move": [lines[other], line],
        "add": [draw(st.sampled_from(_LINES)).encode(), line],
    }
    return b"\n".join([*lines[:at], *changed[draw(st.sampled_from(sorted(changed)))], *lines[at + 1 :]])


def _cut_short(draw: st.DrawFn, content: bytes) -> bytes:
    return content[: draw(st.integers(0, len(content)))]


def _in_another_encoding(draw: st.DrawFn, content: bytes) -> bytes:
    text = content.decode("utf-8", errors="replace")
    return text.encode(draw(st.sampled_from(["utf-16", "utf-32", "utf-8-sig", "latin-1"])), errors="replace")


_ACCIDENTS: tuple[Callable[[st.DrawFn, bytes], bytes], ...] = (
    *(_flip, _insert, _after_a_colon, _delete, _in_lines, _in_lines, _cut_short, _in_another_encoding),
)


@dataclass(frozen=True)
class Structure:
    """A changed document and what was done to it."""

    data: Any
    what: str

    @property
    def text(self) -> bytes:
        """The document as YAML."""
        return yaml.safe_dump(self.data, sort_keys=False).encode()


def places(data: Any, above: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield every place in a document with what stands there."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield (*above, key), value
        yield from places(value, (*above, key))


def replaced(data: Any, place: Place, value: Any) -> Structure:
    """Return the document with another value at a place."""
    result = copy.deepcopy(data)
    _at(result, place[:-1])[place[-1]] = value
    return Structure(result, f"{'.'.join(map(str, place))} = {str(value)[:60]!r}")


def renamed(data: Any, place: Place, name: Any) -> Structure:
    """Return the document with another name for a key, in the same position."""
    result = copy.deepcopy(data)
    mapping = _at(result, place[:-1])
    items = [(name if key == place[-1] else key, value) for key, value in mapping.items()]
    mapping.clear()
    mapping.update(items)
    return Structure(result, f"{'.'.join(map(str, place))} is called {str(name)[:60]!r}")


def removed(data: Any, place: Place) -> Structure:
    """Return the document without what stands at a place."""
    result = copy.deepcopy(data)
    del _at(result, place[:-1])[place[-1]]
    return Structure(result, f"without {'.'.join(map(str, place))}")


def _at(data: Any, place: Place) -> Any:
    for key in place:
        data = data[key]
    return data


_NAMES = st.sampled_from(
    ["", "x" * 2000, "a.b", "0", "$schema", "Epochs", "épochs", "a b", "__class__", "<<", "factory", "weights"]
)
_VALUES = (
    *("", "yes", "3", "1e-3", "nan", "host", "cpu", "mnist5k", "resnet", "json:loads", "no.such:f", ":", "../x"),
    *("/dev/null", "x" * 3000),
)
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.sampled_from([-1, 0, 1, 2, 10**30, -(10**30), 10**400])
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(_VALUES)
)
ANYTHING = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES | st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def structures(draw: st.DrawFn, originals: Sequence[Any]) -> Structure:
    """Draw a document with anything anywhere; it may still be right."""
    data = draw(st.sampled_from(originals))
    place, _ = draw(st.sampled_from(list(places(data))))
    kind = draw(st.sampled_from(["replace", "replace", "replace", "rename", "remove"]))
    if kind == "remove":
        return removed(data, place)
    if kind == "rename" and isinstance(place[-1], str):
        return renamed(data, place, draw(_NAMES | st.text(max_size=5)))
    return replaced(data, place, draw(ANYTHING))


@st.composite
def wrong_structures(draw: st.DrawFn, originals: Sequence[Any], free: frozenset[str]) -> Structure:
    """Draw a document that is wrong for sure: no key is free to be renamed, no number or name to be anything.

    `free` holds the last keys of places where any text will do.
    """
    data = draw(st.sampled_from(originals))
    place, value = draw(st.sampled_from(list(places(data))))
    if isinstance(place[-1], str) and draw(st.integers(0, 4)) == 0:
        return renamed(data, place, draw(st.sampled_from([f"{place[-1]}x", place[-1].upper(), f" {place[-1]}", ""])))
    return replaced(data, place, draw(st.sampled_from(_wrong_for(value, str(place[-1]) in free))))


def _wrong_for(value: Any, any_text: bool) -> list[Any]:
    """Return what can never stand in place of a value."""
    if isinstance(value, dict):
        return ["x", 5, True, [], [1], float("nan")]
    if isinstance(value, list):
        return ["x", 5, True, {}, {"a": 1}, [], [None], ["x"], [-1], [10**30], [[1]], [1] * 5000]
    if isinstance(value, bool):
        return ["maybe", 5, [], {}, 0.5, "true", 1]
    if isinstance(value, int | float):
        huge = [10**30, -(10**30), 1e300, 10**400]
        return ["x", "", "3", "1.5", True, False, [], [1], {}, {"a": 1}, float("nan"), float("inf"), -1, -1e-9, *huge]
    wrong = [5, 1.5, True, [], ["x"], {}, {"a": 1}, float("inf"), "x" * 5000, "a\x00b", "\x1b[2J"]
    return wrong if any_text else [*wrong, "", "no-such-thing", "NO", "../up", "null"]
