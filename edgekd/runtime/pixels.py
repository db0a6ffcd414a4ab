"""How pixels become what an engine reads, as the manifest of its bundle says."""

from __future__ import annotations

from typing import Any, Dict

import numpy as np


class Pixels:
    """The preprocessing of one manifest: (pixel / divisor - mean) / std, channel by channel."""

    def __init__(self, manifest: Dict[str, Any]) -> None:
        steps = manifest["preprocessing"]
        self._dtype = np.dtype(steps["pixels"])
        self._divisor = np.float32(steps["divisor"])
        self._mean = np.asarray(steps["mean"], np.float32).reshape(-1, 1, 1)
        self._std = np.asarray(steps["std"], np.float32).reshape(-1, 1, 1)
        self._shape = tuple(manifest["input"]["shape"][1:])

    def normalised(self, images: np.ndarray) -> np.ndarray:
        """Return pixels (N, C, H, W), or one image (C, H, W), as float32 inputs (N, C, H, W) of the engine.

        Raises TypeError when they are of another type than the manifest says, ValueError when the shape does not fit.
        """
        if images.dtype != self._dtype:
            raise TypeError("preprocess takes pixels as {}, {} was given".format(self._dtype, images.dtype))
        batch = images[None] if images.ndim == len(self._shape) else images
        if batch.shape[1:] != self._shape:
            raise ValueError("images have the shape {}, expected (N, *{})".format(images.shape, self._shape))
        result: np.ndarray = batch.astype(np.float32)
        result /= self._divisor
        result -= self._mean
        result /= self._std
        return result
