"""YAML as people write it, read with care: plain data of bounded size, and the line of every key."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from edgekd.errors import UsageError

_LARGEST = 100_000
"""Bytes of a file; the largest recipe anybody wrote has 2,000."""
_MOST_VALUES = 10_000
"""Counted as often as aliases repeat them, because that is what they cost."""
_DEEPEST = 30
_LONGEST = 400
"""Characters of one text, so that it can stand in a sentence."""

_TAG = "tag:yaml.org,2002:"
_PLAIN = {f"{_TAG}{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq", "merge")}


class _Loader(yaml.SafeLoader):
    """Reads `1e-3` as a number, as everybody means it; YAML 1.1 wants `1.0e-3`."""


class _Dumper(yaml.SafeDumper):
    """Quotes the texts that the loader would read as numbers."""


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(
        f"{_TAG}float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
    )


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Read a YAML mapping and the line of every dotted key in it.

    Raises UsageError for what cannot be read, is no mapping, holds a key twice or anything but plain data, and for
    files that would take long: too large, too deep, aliases that multiply.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error if isinstance(error, OSError) else 'not UTF-8'}") from None
    if len(content) > _LARGEST:
        raise UsageError(f"{path}: is larger than {_LARGEST:,} bytes; is it the right file?")
    data, lines = parse_yaml(text, str(path))
    if not isinstance(data, dict):
        raise UsageError(f"{path}: expected a mapping of keys to values at the top, got {type(data).__name__}")
    return data, lines


def parse_yaml(text: str, where: str) -> tuple[Any, dict[str, int]]:
    """Return what a YAML text says, as JSON-ready data, and the line of every dotted key in it.

    Raises UsageError that begins with `where` for everything `read_yaml` refuses.
    """
    outline = _Outline(where)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, {}
        outline.add(node, "", 0)
        return loader.construct_document(node), outline.lines
    except yaml.YAMLError as error:
        said = " ".join(str(error).replace("<unicode string>", "the text").split())
        raise UsageError(f"{where}: not valid YAML: {said[:500]}") from None
    except RecursionError:
        raise UsageError(f"{where}: is nested more than {_DEEPEST} levels deep") from None


def dump_yaml(value: dict[str, Any]) -> str:
    """Return JSON-ready data as YAML that `parse_yaml` reads as the same data."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False))


@dataclass
class _Outline:
    """The lines of all keys, and the refusal of what is no plain data of bounded size."""

    where: str
    lines: dict[str, int] = field(default_factory=dict)
    values: int = 0

    def add(self, node: yaml.Node, prefix: str, depth: int) -> None:
        self.values += 1
        if depth > _DEEPEST:
            raise self._refusal(node, f"nested more than {_DEEPEST} levels deep")
        if self.values > _MOST_VALUES:
            raise self._refusal(node, f"the file stands for more than {_MOST_VALUES:,} values")
        if node.tag not in _PLAIN:
            kind = node.tag.removeprefix(_TAG)[:40]
            raise self._refusal(node, f"a value of YAML type {kind!r}; put quotes around a text, and use no tags")
        if isinstance(node, yaml.MappingNode):
            self._add_mapping(node, prefix, depth)
        elif isinstance(node, yaml.SequenceNode):
            for position, value in enumerate(node.value):
                self.lines[f"{prefix}{position}"] = value.start_mark.line + 1
                self.add(value, f"{prefix}{position}.", depth + 1)
        elif isinstance(node, yaml.ScalarNode):
            self._check_scalar(node)

    def _add_mapping(self, node: yaml.MappingNode, prefix: str, depth: int) -> None:
        first: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in {f"{_TAG}str", f"{_TAG}merge"}:
                given = key.value if isinstance(key, yaml.ScalarNode) else "of several values"
                raise self._refusal(key, f"the key {given[:80]!r} is not a text")
            self._check_scalar(key)
            line = key.start_mark.line + 1
            name = f"{prefix}{key.value}"
            if key.value in first:
                raise self._refusal(key, f"key '{name[:80]}' stands twice, first in line {first[key.value]}")
            first[key.value] = self.lines[name] = line
            self.add(value, f"{name}.", depth + 1)

    def _check_scalar(self, node: yaml.ScalarNode) -> None:
        text = node.value
        if len(text) > _LONGEST:
            raise self._refusal(node, f"a text of {len(text):,} characters, at most {_LONGEST:,} are possible")
        if any(unicodedata.category(character) in {"Cc", "Cs"} and character not in "\t\n" for character in text):
            raise self._refusal(node, f"{text[:40]!r} holds characters that no text is made of")
        if node.tag in {f"{_TAG}int", f"{_TAG}float", f"{_TAG}bool"} and not _is_finite(node):
            kind = "truth value" if node.tag == f"{_TAG}bool" else "finite number"
            raise self._refusal(node, f"{text[:40]!r} is not a {kind}")

    def _refusal(self, node: yaml.Node, sentence: str) -> UsageError:
        return UsageError(f"{self.where}:{node.start_mark.line + 1}: {sentence}")


def _is_finite(node: yaml.ScalarNode) -> bool:
    """Say whether a scalar can be what its tag says; a whole number is finite when a double can hold it."""
    try:
        return math.isfinite(float(_Loader("").construct_object(node)))
    except (ValueError, LookupError, OverflowError):
        return False
