"""A bundle: the folder that ships. Plain files and JSON, readable without edgekd.

bundle/
├── manifest.json      inputs, pre- and post-processing, classes, engines with their figures, digests
├── manifest.sha256    for `sha256sum -c manifest.sha256`
└── variants/<scheme>/model.onnx, model.xml, model.bin
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, Self

from edgekd import __version__
from edgekd.artifact import TensorSpec
from edgekd.disk import whole_folder
from edgekd.errors import EdgekdError, UsageError
from edgekd.figure import Figure
from edgekd.schema import Field, Schema, model_validator, read_json, write_json, write_text

_MANIFEST, _SEAL = "manifest.json", "manifest.sha256"


class Preprocessing(Schema):
    """How pixels become what the engine reads, channel by channel: (pixel / divisor - mean) / std."""

    layout: Literal["NCHW"] = "NCHW"
    pixels: Literal["uint8", "float32"] = "uint8"
    divisor: float = Field(default=255, gt=0)
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @model_validator(mode="after")
    def _one_value_a_channel(self) -> Self:
        if len(self.mean) != len(self.std) or not all(value > 0 for value in self.std):
            raise ValueError("mean and std need one value a channel, those of std positive")
        return self


class Postprocessing(Schema):
    """How the engine's output becomes an answer."""

    decision: Literal["argmax"] = "argmax"
    probabilities: Literal["softmax"] = "softmax"


class Variant(Schema):
    """One network in one arithmetic."""

    network: str
    onnx: str = Field(description="path inside the bundle")


class ShippedEngine(Schema):
    """What one runtime loads."""

    variant: str = Field(description="key in `variants`: the arithmetic")
    path: str = Field(description="file the runtime opens, inside the bundle")
    files: tuple[str, ...] = Field(description="every file it then reads")
    figures: tuple[Figure, ...] = ()
    built: bool = Field(default=True, description="false: the device builds the engine from the file at `path`")


class Description(Schema):
    """What a bundle's author says about the network."""

    name: str
    target: str
    threads: int = Field(default=1, ge=1, le=1024, description="of the operating point the figures hold at")
    input: TensorSpec
    output: TensorSpec
    preprocessing: Preprocessing
    postprocessing: Postprocessing = Postprocessing()
    class_names: tuple[str, ...]
    versions: dict[str, str] = Field(default_factory=dict, description="of the packages that made and measured it")


class Manifest(Description):
    """Everything an app needs to know, in one JSON file."""

    schema_version: Literal[1] = 1
    edgekd_version: str = __version__
    variants: dict[str, Variant]
    engines: dict[str, ShippedEngine] = Field(min_length=1, description="by runtime")
    chosen: str = Field(description="the runtime whose engine met the budget best")
    files: dict[str, str] = Field(description="SHA-256 of every file but the manifest")

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if self.chosen not in self.engines:
            raise ValueError(f"chosen = '{self.chosen}' is not among engines {sorted(self.engines)}")
        channels = self.input.shape[1] if len(self.input.shape) > 1 else None
        if len(self.preprocessing.mean) != channels:
            raise ValueError(f"mean and std have {len(self.preprocessing.mean)} values, the input {channels} channels")
        if not self.output.shape or self.output.shape[-1] not in {None, len(self.class_names)}:
            raise ValueError(f"the output has the shape {self.output.shape}, there are {len(self.class_names)} classes")
        for path in self.files:
            if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
                raise ValueError(f"files: '{path}' lies outside the bundle")
        for engine in self.engines.values():
            if engine.variant not in self.variants or engine.path not in engine.files:
                raise ValueError(f"engine '{engine.path}' names no variant of the bundle, or is not among its files")
            if not set(engine.files) <= self.files.keys():
                raise ValueError(f"engine '{engine.path}' names a file the bundle has not")
        for variant in self.variants.values():
            if variant.onnx not in self.files:
                raise ValueError(f"variant '{variant.onnx}' is a file the bundle has not")
        return self


@dataclass(frozen=True)
class Shipment:
    """An engine to put into a bundle."""

    runtime: str
    network: str
    scheme: str
    engine: Path
    """A file, or a folder whose files are the engine."""
    onnx: Path
    figures: tuple[Figure, ...] = ()
    built: bool = True


def write(
    folder: Path, description: Description, shipments: Sequence[Shipment], beside: Sequence[Shipment] = ()
) -> Manifest:
    """Write a bundle, whole or not at all; the first shipment is the chosen engine. An older bundle is replaced.

    Of the shipments `beside` them only the ONNX files go in, as further variants. Raises EdgekdError when two shipments
    claim the same runtime or put different networks under one arithmetic.
    """
    with whole_folder(folder) as unfinished:
        return _fill(unfinished, description, shipments, beside)


def _fill(
    unfinished: Path, description: Description, shipments: Sequence[Shipment], beside: Sequence[Shipment]
) -> Manifest:
    variants: dict[str, Variant] = {}
    engines: dict[str, ShippedEngine] = {}
    for shipment in (*shipments, *beside):
        variant = Variant(network=shipment.network, onnx=f"variants/{shipment.scheme}/model.onnx")
        is_engine = shipment in shipments
        if (is_engine and shipment.runtime in engines) or variants.setdefault(shipment.scheme, variant) != variant:
            raise EdgekdError(
                f"a bundle holds one engine a runtime and one network an arithmetic; {shipment.network}/"
                f"{shipment.scheme}/{shipment.runtime} collides with an engine before it"
            )
        place = unfinished / "variants" / shipment.scheme
        place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(shipment.onnx, unfinished / variant.onnx)
        if is_engine:
            engines[shipment.runtime] = _put(shipment, place, unfinished)
    files = sorted(path for path in unfinished.rglob("*") if path.is_file())
    manifest = Manifest(
        **{name: getattr(description, name) for name in Description.model_fields},
        variants=variants,
        engines=engines,
        chosen=shipments[0].runtime,
        files={path.relative_to(unfinished).as_posix(): _sha256(path) for path in files},
    )
    write_json(manifest, unfinished / _MANIFEST)
    write_text(f"{_sha256(unfinished / _MANIFEST)}  {_MANIFEST}\n", unfinished / _SEAL)
    return manifest


def _put(shipment: Shipment, place: Path, bundle: Path) -> ShippedEngine:
    if shipment.engine.is_dir():
        copied = [Path(shutil.copy(file, place / file.name)) for file in sorted(shipment.engine.iterdir())]
        copied.sort(key=lambda file: file.suffix != ".xml")
    else:
        copied = [place / "model.onnx"]
    names = tuple(file.relative_to(bundle).as_posix() for file in copied)
    return ShippedEngine(
        variant=shipment.scheme, path=names[0], files=names, figures=shipment.figures, built=shipment.built
    )


def read(folder: Path) -> Manifest:
    """Return the manifest of a bundle without checking digests; raises UsageError when it is missing or broken."""
    if not (folder / _MANIFEST).is_file():
        raise UsageError(f"{folder} is not a bundle: it has no {_MANIFEST}")
    return read_json(Manifest, folder / _MANIFEST)


def verify(folder: Path) -> Manifest:
    """Return the manifest once every digest holds and nothing stands beside what it lists.

    Raises UsageError naming the first file that is damaged, missing, a link, or not in the manifest.
    """
    if not (folder / _MANIFEST).is_file():
        raise UsageError(f"{folder} is not a bundle: it has no {_MANIFEST}")
    present = _files(folder)
    if _SEAL not in present:
        raise UsageError(f"{folder / _SEAL} is missing; copy the bundle again")
    if (folder / _SEAL).read_bytes() != f"{_sha256(folder / _MANIFEST)}  {_MANIFEST}\n".encode():
        raise UsageError(f"{folder / _MANIFEST} is damaged: its digest is not the one {_SEAL} holds; copy it again")
    manifest = read(folder)
    for name, digest in manifest.files.items():
        if name not in present:
            raise UsageError(f"{folder / name} is missing; copy the bundle again")
        if _sha256(folder / name) != digest:
            raise UsageError(f"{folder / name} is damaged: its digest is not the one in the manifest; copy it again")
    strangers = sorted(present - {*manifest.files, _MANIFEST, _SEAL})
    if strangers:
        raise UsageError(f"{folder / strangers[0]} is not in the manifest, so nothing vouches for it; remove it")
    return manifest


def _files(folder: Path) -> set[str]:
    """Return the relative names of all files of a bundle; raises UsageError for what is neither file nor folder."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise UsageError(f"{path} is a link or no file; a bundle holds plain files, copy it again")
        if path.is_file():
            found.add(path.relative_to(folder).as_posix())
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
