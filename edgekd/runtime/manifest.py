"""What a bundle says about itself, believed only once it is checked: digests, paths inside the folder, types."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any, Callable, Dict, Tuple

_MANIFEST, _SEAL = "manifest.json", "manifest.sha256"
_LARGEST = 10_000_000
"""Bytes of a manifest; one with thousands of classes has 100,000."""


class BundleError(ValueError):
    """A bundle is damaged, or asked for something it does not hold."""


def read_manifest(folder: str) -> Dict[str, Any]:
    """Return the manifest of a bundle; raises BundleError when it is damaged or does not hold together."""
    path = os.path.join(folder, _MANIFEST)
    if not os.path.isfile(os.path.join(folder, _SEAL)):
        raise BundleError("{} is not a bundle: it has no {}".format(folder, _SEAL))
    content = _content(folder, _MANIFEST)
    seal = "{}  {}\n".format(hashlib.sha256(content).hexdigest(), _MANIFEST)
    if _content(folder, _SEAL) != seal.encode():
        raise BundleError(
            "{} is damaged: its digest is not the one {} holds; copy the bundle again".format(path, _SEAL)
        )
    if len(content) > _LARGEST:
        raise BundleError("{} is larger than {} bytes".format(path, _LARGEST))
    try:
        manifest = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError("{} cannot be read as JSON: {}".format(path, error)) from None
    for key, holds in _RULES:
        if not _is_true(holds, manifest):
            raise BundleError(
                "{}: '{}' is missing or not what this edgekd reads; make the bundle again, or upgrade edgekd".format(
                    path, key
                )
            )
    return dict(manifest)


def check(folder: str, name: str, digest: str) -> None:
    """Raise BundleError unless the file of that name lies in the bundle and has this SHA-256."""
    if hashlib.sha256(_content(folder, name)).hexdigest() != digest:
        raise BundleError(
            "{} is damaged: its digest is not the recorded one; copy the bundle again".format(
                os.path.join(folder, name)
            )
        )


def _content(folder: str, name: str) -> bytes:
    """Return a file's content; what a path or a link puts outside the bundle is never opened."""
    path = os.path.join(folder, name)
    try:
        root, real = os.path.realpath(folder), os.path.realpath(path)
        if ".." in name.split("/") or os.path.isabs(name) or not real.startswith(os.path.join(root, "")):
            raise BundleError("{}: '{}' leads out of the bundle; copy the bundle again".format(folder, name))
        if not os.path.isfile(real):  # before it is opened: a pipe would wait for ever
            raise BundleError("{} is missing or no file; copy the bundle again".format(path))
        with open(real, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise BundleError("{} cannot be read: {}".format(path, error)) from None
    except UnicodeError:
        raise BundleError("{}: {!a} is no name of a file".format(folder, name)) from None


def _is_true(holds: Callable[[Any], bool], manifest: Any) -> bool:
    try:
        return holds(manifest)
    except (LookupError, TypeError, AttributeError, OverflowError):
        return False


def _is_count(value: Any, most: int) -> bool:
    return type(value) is int and 1 <= value <= most


def _are_texts(values: Any) -> bool:
    return len(values) > 0 and all(type(value) is str and "\0" not in value for value in values)


def _are_numbers(values: Any, count: int, above: float) -> bool:
    return len(values) == count and all(type(value) in (int, float) and above < value < 1e30 for value in values)


def _is_engine(manifest: Dict[str, Any], engine: Dict[str, Any]) -> bool:
    """Say whether an engine names its files, all of them with a digest."""
    files = engine["files"]
    return type(files) is list and engine["path"] in files and all(name in manifest["files"] for name in files)


_RULES: Tuple[Tuple[str, Callable[[Any], bool]], ...] = (
    ("schema_version", lambda m: type(m["schema_version"]) is int and m["schema_version"] == 1),
    ("threads", lambda m: _is_count(m["threads"], 1024)),
    ("class_names", lambda m: type(m["class_names"]) is list and _are_texts(m["class_names"])),
    (
        "input",
        lambda m: len(m["input"]["shape"]) > 1 and all(_is_count(size, 2**31) for size in m["input"]["shape"][1:]),
    ),
    (
        "preprocessing",
        lambda m: (
            m["preprocessing"]["layout"] == "NCHW"
            and m["preprocessing"]["pixels"] in ("uint8", "float32")
            and _are_numbers([m["preprocessing"]["divisor"]], 1, 0)
            and _are_numbers(m["preprocessing"]["mean"], m["input"]["shape"][1], -1e30)
            and _are_numbers(m["preprocessing"]["std"], m["input"]["shape"][1], 0)
        ),
    ),
    ("files", lambda m: _are_texts(m["files"].keys()) and _are_texts(m["files"].values())),
    ("engines", lambda m: len(m["engines"]) > 0 and all(_is_engine(m, engine) for engine in m["engines"].values())),
    ("chosen", lambda m: m["chosen"] in m["engines"]),
)
