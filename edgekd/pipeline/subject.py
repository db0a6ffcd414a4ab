"""What a run is about, as far as the recipe does not say it: the data themselves, the network a factory builds."""

from __future__ import annotations

from pathlib import Path

from edgekd.artifact import digest_of_path
from edgekd.models.build import digest_of_layers
from edgekd.schema import digest_of
from edgekd.stage import Context
from edgekd.train import data


def digest_of_subject(context: Context) -> str:
    """Return a digest that changes with the data, with the network's layers and with the weights file.

    A recipe names factories and files; who mends one of them without touching the recipe must not get stages back
    that ran on the old one. A change of a `forward` alone is told by the answer every checkpoint records.
    """
    spec = context.recipe.model
    dataset = data.load(context.recipe.data)
    layers = digest_of_layers(spec, dataset.input_shape, dataset.classes)
    return digest_of([dataset.digest, layers, digest_of_path(Path(spec.weights)) if spec.weights else None])
