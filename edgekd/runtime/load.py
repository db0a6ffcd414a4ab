"""Loads a bundle for an app: numpy and one engine, nothing else of edgekd."""

from __future__ import annotations

import os
from typing import Any, Dict, Optional, Tuple

import numpy as np

from .manifest import BundleError, check, read_manifest
from .pixels import Pixels
from .session import Session, open_session

__all__ = ["BundleError", "Engine", "load"]


class Engine:
    """The engine of a bundle, ready to predict. One thread at a time."""

    def __init__(self, session: Session, manifest: Dict[str, Any], runtime: str) -> None:
        self.manifest = manifest
        self.runtime = runtime
        self.labels: Tuple[str, ...] = tuple(manifest["class_names"])
        self._run = session.run
        self._dtype = np.dtype(session.inputs[0].dtype)
        self._pixels = Pixels(manifest)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the logits (N, classes) of normalised inputs (N, C, H, W), in an array of the caller's own.

        Raises TypeError when `x` is not float32, ValueError when its shape does not fit.
        """
        if x.dtype != self._dtype:
            raise TypeError(
                "predict takes normalised {} inputs, {} was given; pixels go through preprocess first".format(
                    self._dtype, x.dtype
                )
            )
        return self._run((x,))[0].copy()

    def preprocess(self, images: np.ndarray) -> np.ndarray:
        """Return pixels (N, C, H, W), or one image (C, H, W), as normalised inputs (N, C, H, W) for `predict`.

        The manifest says what pixels are, usually uint8. Raises TypeError when they are of another type, ValueError
        when the shape does not fit.
        """
        return self._pixels.normalised(images)


def load(path: Any, runtime: Optional[str] = None, threads: Optional[int] = None, batch: Optional[int] = 1) -> Engine:
    """Open a bundle: check the digests of everything that is read, load the engine, bind its buffers.

    Without `runtime` the bundle's chosen engine is taken, without `threads` the number its figures were measured with.
    A batch other than `batch` works too and is bound when it first comes.
    Raises BundleError when a file is damaged or missing or the bundle has no engine for `runtime`, ImportError with the
    command when the runtime is not installed.
    """
    folder = os.fspath(path)
    manifest = read_manifest(folder)
    name = runtime or manifest["chosen"]
    if name not in manifest["engines"]:
        known = ", ".join(sorted(manifest["engines"]))
        raise BundleError("{} has no engine for the runtime '{}'; it has: {}".format(folder, name, known))
    engine = manifest["engines"][name]
    for file in engine["files"]:
        check(folder, file, manifest["files"][file])
    place = os.path.join(folder, engine["path"])
    session = _opened(name, place, threads or manifest["threads"], batch)
    _refuse_other_shapes(session, manifest, place)
    return Engine(session, manifest, name)


def _opened(runtime: str, path: str, threads: int, batch: Optional[int]) -> Session:
    """Open an engine; whatever its runtime says about the file becomes a BundleError."""
    try:
        return open_session(runtime, path, threads, batch)
    except (ImportError, MemoryError):
        raise
    except Exception as error:
        raise BundleError(
            "{} cannot be opened by {}: {}".format(path, runtime, " ".join(str(error).split()))
        ) from error


def _refuse_other_shapes(session: Session, manifest: Dict[str, Any], path: str) -> None:
    """Raise BundleError when the engine takes or gives something else than the manifest says."""
    shape, classes = manifest["input"]["shape"], len(manifest["class_names"])
    taken, given = session.inputs[0].shape, session.outputs[0].shape
    if len(taken) != len(shape) or any(t not in (None, s) for t, s in zip(taken[1:], shape[1:])):
        raise BundleError("{} takes inputs of shape {}, the manifest says {}".format(path, taken, shape))
    if given[-1] not in (None, classes):
        raise BundleError("{} gives {} values, the manifest names {} classes".format(path, given[-1], classes))
