"""What a TensorRT engine was built by: it is never loaded where that is another, or where its bytes are others."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Dict

ENGINE, KEY = "engine.plan", "key.json"
"""The two files of an engine's folder."""


def digest_of(path: str) -> str:
    """Return the SHA-256 of a file."""
    found = hashlib.sha256()
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            found.update(chunk)
    return found.hexdigest()


def write(folder: str, here: Dict[str, str]) -> Dict[str, str]:
    """Write the key of the engine in a folder, built `here` (GPU, compute capability, TensorRT, driver); return it."""
    key = {**here, "digest": digest_of(os.path.join(folder, ENGINE))}
    with open(os.path.join(folder, KEY), "w", encoding="utf-8") as stream:
        json.dump(key, stream, indent=2, sort_keys=True)
        stream.write("\n")
    return key


def refuse_foreign(folder: str, here: Dict[str, str]) -> None:
    """Raise ValueError where the engine in a folder was built by something else than is `here`, or was changed since.

    Deserialising it could crash the process, or run kernels that were tuned for another GPU.
    """
    try:
        with open(os.path.join(folder, KEY), encoding="utf-8") as stream:
            key = json.load(stream)
    except (OSError, ValueError) as error:
        raise ValueError(
            "the engine in {} has no key that can be read: {}; build it again".format(folder, error)
        ) from error
    for name, value in here.items():
        if key.get(name) != value:
            raise ValueError(
                "the engine in {} was built by {} {}, here it is {}; build it again on this device".format(
                    folder, name, key.get(name), value
                )
            )
    if key.get("digest") != digest_of(os.path.join(folder, ENGINE)):
        raise ValueError("the engine in {} is not the file its key was written for; build it again".format(folder))
