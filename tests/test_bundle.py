from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from edgekd import bundle
from edgekd.errors import EdgekdError, UsageError
from tests import bundles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return bundles.written(tmp_path)


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_layout_and_manifest(folder: Path) -> None:
    variant = {f"variants/fp32/model.{end}" for end in ("onnx", "xml", "bin")}
    assert _files(folder) == {"manifest.json", "manifest.sha256", *variant}
    manifest = bundle.verify(folder)
    assert manifest == bundle.read(folder)
    assert manifest.chosen == "openvino"
    assert manifest.files.keys() == variant
    assert manifest.engines["openvino"].path == "variants/fp32/model.xml"
    assert manifest.engines["onnxruntime"].files == ("variants/fp32/model.onnx",)
    assert manifest.variants["fp32"].network == "pruned"
    assert [path.name for path in folder.parent.iterdir() if "unfinished" in path.name] == []


def test_a_stranger_can_read_and_check_it_without_edgekd(folder: Path) -> None:
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--status", "manifest.sha256"], cwd=folder, check=True)
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert manifest["preprocessing"]["mean"] == [0.1, 0.2, 0.3]
    assert manifest["class_names"] == ["a", "b", "c", "d", "e"]
    assert manifest["engines"]["openvino"]["figures"][0]["origin"] == "device"


@pytest.mark.parametrize(
    "name", ["manifest.json", "manifest.sha256", *(f"variants/fp32/model.{end}" for end in ("onnx", "xml", "bin"))]
)
@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_damage_is_named(folder: Path, name: str, damage: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).unlink()
    if damage == "flip":
        (folder / name).write_bytes(content)
    # The seal vouches for the manifest alone, so a damaged seal is told from a damaged manifest by nobody.
    named = "manifest" if name.startswith("manifest") else name
    with pytest.raises(UsageError, match=named):
        bundle.verify(folder)


def test_writing_again_gives_the_same_bytes_and_leaves_nothing_old(folder: Path) -> None:
    before = (folder / "manifest.json").read_bytes()
    (folder / "old").touch()
    bundles.written(folder.parent)
    assert (folder / "manifest.json").read_bytes() == before
    assert "old" not in _files(folder)


def test_two_networks_cannot_share_an_arithmetic(folder: Path) -> None:
    manifest = bundle.read(folder)
    description = bundle.Description(**{name: getattr(manifest, name) for name in bundle.Description.model_fields})
    file = folder / "variants/fp32/model.onnx"
    first = bundle.Shipment("onnxruntime", "pruned", "fp32", file, file)
    for second in (
        bundle.Shipment("openvino", "distilled", "fp32", file, file),
        bundle.Shipment("onnxruntime", "pruned", "u8w7", file, file),
    ):
        with pytest.raises(EdgekdError, match="collides"):
            bundle.write(folder.parent / "other", description, [first, second])
    assert not (folder.parent / "other").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("chosen", "tensorrt", "not among engines"),
        ("files", {"../../etc/passwd": "0"}, "lies outside"),
        ("surprise", 1, "unknown key 'surprise'"),
    ],
)
def test_a_manifest_that_does_not_hold_together_is_refused(folder: Path, key: str, value, message: str) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(UsageError, match=message):
        bundle.read(folder)


def test_a_folder_that_is_no_bundle_is_called_so(tmp_path: Path) -> None:
    for ask in (bundle.read, bundle.verify):
        with pytest.raises(UsageError, match="is not a bundle"):
            ask(tmp_path)


def test_preprocessing_needs_one_value_a_channel() -> None:
    for mean, std in (((0.0,), (1.0, 1.0)), ((0.0,), (0.0,))):
        with pytest.raises(ValueError, match="one value a channel"):
            bundle.Preprocessing(mean=mean, std=std)
