"""500 mutated bundles: the damaged file is named by verify and by load, and no path leads out of the folder."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import edgekd.runtime
from edgekd import bundle
from edgekd.errors import UsageError
from edgekd.runtime import BundleError
from tests import bundles, mutations
from tests.bundle_damages import DAMAGES, FILES
from tests.mutations import Place, places

READ_BY = {"onnxruntime": {FILES[0], FILES[1], FILES[2]}, "openvino": {FILES[0], FILES[1], FILES[3], FILES[4]}}
OUTSIDE = b"what lies outside of a bundle is none of its business"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.written(tmp_path_factory.mktemp("pristine"))


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("mutated")
    (folder / "outside.onnx").write_bytes(OUTSIDE)
    yield folder
    assert (folder / "outside.onnx").read_bytes() == OUTSIDE


def fresh(pristine: Path, room: Path) -> Path:
    shutil.rmtree(room / "bundle", ignore_errors=True)
    return Path(shutil.copytree(pristine, room / "bundle"))


def damaged(data: st.DataObject, pristine: Path, room: Path) -> None:
    """One file is not what was sealed: verify names it, and load of every runtime that reads it names it."""
    folder = fresh(pristine, room)
    name = data.draw(st.sampled_from(FILES))
    damage = data.draw(st.sampled_from(DAMAGES))
    damage(data.draw, folder, name)
    changed = _changed(folder, pristine)
    assert changed
    said = refusal_of(lambda: bundle.verify(folder), UsageError)
    assert any(_named(name, said) for name in changed), said
    for runtime, read in READ_BY.items():
        if read & changed:
            said = refusal_of(lambda runtime=runtime: edgekd.runtime.load(folder, runtime), BundleError)
            assert any(_named(name, said) for name in changed), said
        else:
            assert edgekd.runtime.load(folder, runtime).labels == ("a", "b", "c", "d", "e")


def _changed(folder: Path, pristine: Path) -> set[str]:
    def same(name: str) -> bool:
        file = folder / name
        plain = file.is_file() and not file.is_symlink() and not file.parents[1].is_symlink()
        return plain and file.read_bytes() == (pristine / name).read_bytes()

    return {name for name in FILES if not same(name)}


def _named(name: str, said: str) -> bool:
    """Manifest and seal vouch for each other, so that one of them is damaged, and nobody knows which."""
    is_linked = f"{name.partition('/')[0]} is a link" in said
    return name in said or is_linked or (name.startswith("manifest.") and "manifest." in said)


def refusal_of(ask: Callable[[], object], kind: type[Exception]) -> str:
    with pytest.raises(kind) as caught:
        ask()
    assert type(caught.value) is kind
    said = str(caught.value)
    assert 20 < len(said) < 1500
    assert "\n" not in said.strip() or kind is UsageError
    return said


def seal(folder: Path) -> None:
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    (folder / "manifest.sha256").write_text(f"{digest}  manifest.json\n")


PATHS = (
    "../outside.onnx",
    "variants/../../outside.onnx",
    "{room}/outside.onnx",
    "/etc/hostname",
    "/dev/zero",
    "..",
    ".",
)
VALUES = mutations.ANYTHING | st.sampled_from(PATHS)


def manifested(data: st.DataObject, pristine: Path, room: Path) -> None:
    """The manifest says something else, and is sealed again: refused, or what it says is true and it works."""
    folder = fresh(pristine, room)
    path = folder / "manifest.json"
    before = json.loads(path.read_text())
    place, _ = data.draw(st.sampled_from(list(places(before))))
    kind = data.draw(st.sampled_from(["replace", "replace", "path", "remove", "rename"]))
    if kind == "remove":
        changed = mutations.removed(before, place)
    elif kind == "rename" and isinstance(place[-1], str):
        changed = mutations.renamed(before, place, data.draw(st.text(max_size=5) | st.sampled_from(PATHS)))
    else:
        value = data.draw(VALUES if kind != "path" else st.sampled_from(PATHS))
        value = value.format(room=room) if value in PATHS[2:3] else value
        changed = mutations.replaced(before, place, value)
    path.write_text(json.dumps(changed.data))
    assume(changed.data != before)
    said = refusal_of(lambda: bundle.verify(folder), UsageError)  # before it is sealed again
    assert "manifest.json" in said
    seal(folder)
    said_by(lambda: bundle.verify(folder), UsageError, folder)
    for runtime in ("onnxruntime", "openvino", None):
        refused_or_working(folder, runtime, changed.what)


def said_by(ask: Callable[[], object], kind: type[Exception], folder: Path) -> str | None:
    """Return the sentence of a refusal, None where there is none."""
    try:
        ask()
    except kind as error:
        said = str(error)
    else:
        return None
    assert 20 < len(said) < 1500, said
    assert str(folder) in said
    return said


def refused_or_working(folder: Path, runtime: str | None, what: str) -> bool:
    """Return whether the bundle works; one that neither works nor is refused fails the test."""
    if said_by(lambda: edgekd.runtime.load(folder, runtime), BundleError, folder) is not None:
        return False
    engine = edgekd.runtime.load(folder, runtime)
    channels, height, width = bundles.SHAPE
    pixels = np.zeros((2, channels, height, width), engine.manifest["preprocessing"]["pixels"])
    logits = engine.predict(engine.preprocess(pixels))
    assert logits.shape == (2, len(engine.labels)), what
    assert np.isfinite(logits).all(), what
    return True


@pytest.mark.parametrize(("holds", "few"), [(damaged, 35), (manifested, 25)])
def test_a_mutated_bundle_is_refused(holds: Callable[..., None], few: int, pristine: Path, room: Path) -> None:
    mutations.profile(few)(given(st.data())(lambda data: holds(data, pristine, room)))()


@pytest.mark.slow
@pytest.mark.parametrize(("holds", "many"), [(damaged, 300), (manifested, 200)])
def test_five_hundred_mutated_bundles(holds: Callable[..., None], many: int, pristine: Path, room: Path) -> None:
    mutations.profile(many)(given(st.data())(lambda data: holds(data, pristine, room)))()


# Whatever the mutations found once, in its smallest form.
FOUND_IN_MANIFESTS: list[tuple[Place, Any]] = [
    (("schema_version",), "1"),
    (("chosen",), []),
    (("threads",), 10**9),
    (("class_names",), None),
    (("class_names",), ["a", "b"]),
    (("input", "shape"), []),
    (("preprocessing", "mean"), [0.1]),
    (("preprocessing", "std"), [0, 1, 1]),
    (("preprocessing", "divisor"), None),
    (("preprocessing", "pixels"), "object"),
    (("files",), ["variants/fp32/model.onnx"]),
    (("engines", "onnxruntime", "files"), []),
    (("engines", "onnxruntime", "path"), "{room}/outside.onnx"),
    (("engines", "onnxruntime", "files", 0), "../outside.onnx"),
    (("engines", "onnxruntime", "files", 0), "x" * 300),
    (("variants", "fp32", "onnx"), "../outside.onnx"),
]


@pytest.mark.parametrize(("place", "value"), FOUND_IN_MANIFESTS)
def test_a_sealed_manifest_that_lies_is_refused(place: Place, value: Any, pristine: Path, room: Path) -> None:
    folder = fresh(pristine, room)
    before = json.loads((folder / "manifest.json").read_text())
    value = value.format(room=room) if isinstance(value, str) else value
    (folder / "manifest.json").write_text(json.dumps(mutations.replaced(before, place, value).data))
    seal(folder)
    assert said_by(lambda: bundle.verify(folder), UsageError, folder) is not None
    if place[0] != "variants":  # an app reads engines, never variants
        assert said_by(lambda: edgekd.runtime.load(folder, "onnxruntime"), BundleError, folder) is not None


def test_an_engine_of_another_shape_is_refused(pristine: Path, room: Path) -> None:
    """Only load can tell: verify opens no engine."""
    folder = fresh(pristine, room)
    manifest = folder / "manifest.json"
    other = mutations.replaced(json.loads(manifest.read_text()), ("input", "shape"), [None, 3, 9, 8])
    manifest.write_text(json.dumps(other.data))
    seal(folder)
    for runtime in ("onnxruntime", "openvino"):
        said = said_by(lambda runtime=runtime: edgekd.runtime.load(folder, runtime), BundleError, folder)
        assert said is not None
        assert "the manifest says [None, 3, 9, 8]" in said


@pytest.mark.parametrize("text", ["", "null", "[]", "[" * 50_000, "9" * 5000, '{"a": NaN}'])
def test_a_sealed_manifest_that_is_none_is_refused(text: str, pristine: Path, room: Path) -> None:
    folder = fresh(pristine, room)
    (folder / "manifest.json").write_text(text)
    seal(folder)
    assert said_by(lambda: bundle.verify(folder), UsageError, folder) is not None
    assert said_by(lambda: edgekd.runtime.load(folder), BundleError, folder) is not None


@pytest.mark.parametrize("path", ["{room}/outside.onnx", "../outside.onnx", "variants/link.onnx"])
def test_not_even_a_true_digest_makes_load_read_outside(path: str, pristine: Path, room: Path) -> None:
    folder = fresh(pristine, room)
    shutil.copyfile(folder / "variants/fp32/model.onnx", room / "engine.onnx")
    (folder / "variants/link.onnx").symlink_to(room / "engine.onnx")
    path = path.format(room=room).replace("outside", "engine")
    text = (folder / "manifest.json").read_text().replace("variants/fp32/model.onnx", path)
    (folder / "manifest.json").write_text(text)
    seal(folder)
    said = said_by(lambda: edgekd.runtime.load(folder, "onnxruntime"), BundleError, folder)
    assert said is not None
    assert "leads out of the bundle" in said


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("content", [b"", b"nonsense", OUTSIDE * 1000])
def test_a_sealed_file_that_is_no_engine_is_refused(runtime: str, content: bytes, pristine: Path, room: Path) -> None:
    folder = fresh(pristine, room)
    manifest = json.loads((folder / "manifest.json").read_text())
    name = manifest["engines"][runtime]["path"]
    (folder / name).write_bytes(content)
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    seal(folder)
    said = said_by(lambda: edgekd.runtime.load(folder, runtime), BundleError, folder)
    assert said is not None
    assert name in said


@pytest.mark.parametrize("seal_text", ["{digest}", "{digest}  other.json\n", "{digest}  manifest.json\n\n", "é"])
def test_a_seal_is_exact(seal_text: str, pristine: Path, room: Path) -> None:
    folder = fresh(pristine, room)
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    (folder / "manifest.sha256").write_bytes(seal_text.format(digest=digest).encode("latin-1"))
    assert said_by(lambda: bundle.verify(folder), UsageError, folder) is not None
    assert said_by(lambda: edgekd.runtime.load(folder), BundleError, folder) is not None


def test_a_file_nobody_vouches_for_ships_with_no_verified_bundle(pristine: Path, room: Path) -> None:
    folder = fresh(pristine, room)
    (folder / "variants/notes.txt").write_text("anything")
    said = said_by(lambda: bundle.verify(folder), UsageError, folder)
    assert said is not None
    assert "variants/notes.txt is not in the manifest" in said
    assert refused_or_working(folder, None, "a file more")  # an app never reads it


def test_a_link_inside_the_bundle_is_followed_by_load_alone(pristine: Path, room: Path) -> None:
    """Mounted volumes are made of links that stay inside; a copy that ships is made of files."""
    folder = fresh(pristine, room)
    (folder / "variants").rename(folder / "..data")
    (folder / "variants").symlink_to("..data")
    assert said_by(lambda: bundle.verify(folder), UsageError, folder) is not None
    assert refused_or_working(folder, None, "a link inside")
