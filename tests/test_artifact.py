from __future__ import annotations

from pathlib import Path

import pytest

from edgekd.artifact import Artifact, ArtifactSet, digest_of_path
from edgekd.errors import EdgekdError


def make(network: str, scheme: str = "fp32", digest: str = "0") -> Artifact:
    return Artifact(network=network, scheme=scheme, format="torch", path=network, digest=digest, made_by="test")


def test_newest_is_the_last_one_that_matches() -> None:
    artifacts = ArtifactSet().add(make("teacher"), make("pruned")).add(make("pruned", "u8w7"))
    assert artifacts.newest(written_as="torch").key == "pruned/u8w7/torch"
    assert artifacts.newest(scheme="fp32").key == "pruned/fp32/torch"
    assert [a.key for a in artifacts.all(network="pruned")] == ["pruned/fp32/torch", "pruned/u8w7/torch"]
    with pytest.raises(EdgekdError, match="there are: teacher/fp32/torch"):
        artifacts.newest(network="distilled")


def test_adding_the_same_key_replaces() -> None:
    artifacts = ArtifactSet().add(make("teacher", digest="a"), make("pruned")).add(make("teacher", digest="b"))
    assert [(a.network, a.digest) for a in artifacts.artifacts] == [("pruned", "0"), ("teacher", "b")]


def test_digest_sees_content_and_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    before = digest_of_path(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    renamed = digest_of_path(tmp_path)
    (tmp_path / "b").write_text("y")
    assert len({before, renamed, digest_of_path(tmp_path)}) == 3
