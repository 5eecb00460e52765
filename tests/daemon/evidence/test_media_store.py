"""Pictures in a store of fsspec's: put whole, listed, fetched, removed; what is not ours stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from taintwatch.evidence.folder import EvidenceFolder
from taintwatch.evidence.media_store import LocalMedia, MediaStore, RemoteMedia, media_store_of
from taintwatch_models.errors import ConfigError

pytest.importorskip("fsspec")


@pytest.fixture(params=["folder", "remote"])
def media(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MediaStore]:
    if request.param == "folder":
        it = media_store_of(str(tmp_path / "shared"))
        assert isinstance(it, LocalMedia)
    else:
        it = media_store_of(f"memory://{tmp_path.name}/evidence")
        assert isinstance(it, RemoteMedia)
    it.prepare()
    yield it
    for event_id in ("e1", "e2"):
        it.remove(event_id)


def test_what_was_put_is_listed_and_fetched(media: MediaStore, tmp_path: Path) -> None:
    folder = EvidenceFolder(tmp_path / "own", media=media)
    folder.put("e1", "frame.jpg", b"a picture")
    folder.put_made("e1", "clip.mp4", lambda path: path.write_bytes(b"a clip"))
    folder.put("e2", "frame.jpg", b"of another daemon")
    found = media.media_of("e1")
    assert found is not None
    assert [(file.name, file.stem, file.bytes) for file in found.files] == [
        ("clip.mp4", "clip", 6),
        ("frame.jpg", "frame", 9),
    ]
    assert (found.bytes, found.changed_ns > 0) == (15, True)
    assert [each.event_id for each in media.all(["e1", "never"])] == ["e1"]
    local = media.local("e1", "frame.jpg", tmp_path)
    assert local is not None
    assert local.read_bytes() == b"a picture"


def test_what_is_not_there_is_nothing_and_a_removal_spares_the_others(media: MediaStore, tmp_path: Path) -> None:
    folder = EvidenceFolder(tmp_path / "own", media=media)
    for event_id in ("e1", "e2"):
        folder.put(event_id, "frame.jpg", b"a picture")
    media.remove("e1")
    media.remove("e1")
    assert media.media_of("e1") is None
    assert media.local("e1", "frame.jpg", tmp_path) is None
    assert media.media_of("e2") is not None
    for bad in ("../e2", "", "a/b"):
        assert media.media_of(bad) is None
        with pytest.raises(ValueError, match="cannot name a folder"):
            media.remove(bad)


def test_an_unknown_kind_of_store_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r"\[evidence\] media: "):
        media_store_of("nosuch://bucket/folder")
