"""Enrolling, listing, training and removing, through the command line, on drawn people."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from taintwatch.cli.main import main
from taintwatch.sources.source import Grab
from taintwatch_calibration.faces.capture import STAGES, Usable, guided, look_at
from taintwatch_calibration.faces.enrol import collect
from taintwatch_models.faces.finder import HaarFaces
from tests.face_scene import drawn_person, photograph, write_embedding, write_photographs

ENROLLED = {"Ada": 1, "Bob": 14, "Cleo": 17}  # far apart for the small embedding, as is 18


@pytest.fixture(scope="module")
def find() -> HaarFaces:
    return HaarFaces(smallest=0.15)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for number in (1, 14, 17, 18):
        write_photographs(root / str(number), number)
    write_embedding(root / "embedding.onnx")
    return root


@pytest.fixture(scope="module")
def enrolled(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three people and their model; not to be changed."""
    folder = tmp_path_factory.mktemp("enrolled") / "faces"
    for name, number in ENROLLED.items():
        assert enrol(folder, name, photos / str(number), photos) == 0
    assert main(["face", "train", "--folder", str(folder), "--fpr", "0.1", "--threads", "1"]) == 0
    return folder


@pytest.fixture
def copied(enrolled: Path, tmp_path: Path) -> Path:
    """A copy of it that may be changed."""
    return Path(shutil.copytree(enrolled, tmp_path / "faces"))


def enrol(folder: Path, name: str, images: Path, photos: Path, *more: str) -> int:
    embedding = ["--embedding", str(photos / "embedding.onnx")]
    return main(["face", "enrol", name, "--images", str(images), "--folder", str(folder), *embedding, *more])


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")} if folder.exists() else set()


def test_everything_that_is_kept_is_its_owners_alone(enrolled: Path) -> None:
    kept = [enrolled, *enrolled.rglob("*")]
    assert len(kept) > 20
    for path in kept:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_people_are_listed_with_their_photographs(enrolled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["face", "list", "--folder", str(enrolled), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [person["name"] for person in listed] == sorted(ENROLLED)
    assert all(person["photographs"] >= 5 for person in listed)


def test_the_trained_model_tells_held_out_photographs_apart(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["face", "train", "--folder", str(copied), "--fpr", "0.1", "--threads", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["accuracy"] >= 0.95
    assert report["people"] == 3
    assert files(copied / "model") == {"faces.onnx", "faces.toml", "faces.mean.png", "faces.faces.json"}


def test_removing_a_person_erases_the_photographs_and_the_model_that_knows_the_face(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["face", "remove", "Bob", "--folder", str(copied)]) == 0
    assert "erased" in capsys.readouterr().out
    assert not any("Bob" in name or name.startswith("model/") for name in files(copied))
    assert sorted(path.name for path in (copied / "people").iterdir()) == ["Ada", "Cleo"]
    assert main(["face", "remove", "Bob", "--folder", str(copied)]) == 2
    assert "nobody is enrolled as 'Bob'; there are: Ada, Cleo" in capsys.readouterr().err


def test_the_same_person_under_another_name_is_refused(
    copied: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(copied)
    assert enrol(copied, "Eve", photos / "1", photos) == 2
    assert "'Eve' looks like 'Ada', who is enrolled already" in capsys.readouterr().err
    assert files(copied) == before


def test_a_name_that_is_taken_needs_replace(copied: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert enrol(copied, "Ada", photos / "1", photos) == 2
    assert "'Ada' is enrolled already; give --replace" in capsys.readouterr().err
    assert enrol(copied, "Ada", photos / "1", photos, "--replace") == 0


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    folder = tmp_path / "bad"
    folder.mkdir()
    return folder


def put(folder: Path, name: str, image: NDArray[np.uint8]) -> None:
    cv2.imwrite(str(folder / name), image)


def test_pictures_without_a_face_enrol_nobody(
    bad: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(6):
        put(bad, f"{index}.png", np.full((200, 200, 3), 40 * index, np.uint8))
    assert enrol(tmp_path / "faces", "Ada", bad, photos) == 2
    assert "'Ada' was not enrolled: 0 usable photographs (refused: 6 x no face); give at least 5" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "faces").exists()


def test_one_photograph_is_too_few_and_copies_of_it_do_not_count(
    bad: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(6):
        put(bad, f"{index}.png", photograph(drawn_person(0), 1))
    assert enrol(tmp_path / "faces", "Ada", bad, photos) == 2
    assert "1 usable photograph (refused: 5 x the same picture again)" in capsys.readouterr().err
    assert not (tmp_path / "faces").exists()


def test_an_empty_folder_or_none_is_told(
    bad: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enrol(tmp_path / "faces", "Ada", bad, photos) == 2
    assert "holds no image" in capsys.readouterr().err
    assert enrol(tmp_path / "faces", "Ada", tmp_path / "nowhere", photos) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["../Ada", "", ".hidden", "stranger", "a/b", "x" * 65])
def test_a_name_that_cannot_be_a_folder_is_refused(
    name: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enrol(tmp_path / "faces", name, photos / "1", photos) == 2
    assert "cannot be a person's name here" in capsys.readouterr().err
    assert not (tmp_path / "faces").exists()


def test_where_photographs_come_from_must_be_said_once(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["face", "enrol", "Ada", "--folder", str(tmp_path)]) == 2
    assert enrol(tmp_path, "Ada", photos / "1", photos, "--camera", "0") == 2
    assert capsys.readouterr().err.count("either --images DIR or --camera N") == 2


def test_the_embedding_is_asked_for_once_and_must_stay_the_same(
    copied: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = ["--images", str(photos / "18")]
    assert main(["face", "enrol", "Dan", *images, "--folder", str(tmp_path / "new")]) == 2
    assert "give its ONNX file with --embedding" in capsys.readouterr().err
    assert main(["face", "enrol", "Dan", *images, "--folder", str(copied)]) == 0
    other = write_embedding(tmp_path / "other.onnx", seed=1)
    assert main(["face", "enrol", "Eve", *images, "--folder", str(copied), "--embedding", str(other)]) == 2
    assert "were enrolled with the embedding" in capsys.readouterr().err


def test_nobody_or_one_person_cannot_be_trained(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["face", "train", "--folder", str(tmp_path / "none")]) == 2
    assert "nobody is enrolled here" in capsys.readouterr().err
    main(["face", "remove", "Bob", "--folder", str(copied)])
    main(["face", "remove", "Cleo", "--folder", str(copied)])
    capsys.readouterr()
    assert main(["face", "train", "--folder", str(copied)]) == 2
    assert "enrol at least two" in capsys.readouterr().err


def test_a_folder_that_others_can_read_is_refused(
    copied: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied.chmod(0o755)
    assert enrol(copied, "Dan", photos / "18", photos) == 2
    assert f"chmod 700 {copied}" in capsys.readouterr().err


def test_a_damaged_person_is_told_and_not_trained_on(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    next((copied / "people" / "Ada").glob("*.png")).unlink()
    assert main(["face", "train", "--folder", str(copied)]) == 2
    assert "damaged (a photograph is missing); remove 'Ada'" in capsys.readouterr().err


def person(seed: int = 1) -> NDArray[np.uint8]:
    return photograph(drawn_person(0), seed)


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (np.full((240, 240, 3), 120, np.uint8), "no face"),
        (np.hstack([person(1), person(2)]), "several faces"),
        (photograph(drawn_person(0), 1, size=80), "too small"),
        (cv2.GaussianBlur(person(), (0, 0), 4), "blurred"),
        (np.asarray(person() // 6, np.uint8), "too dark"),
    ],
)
def test_a_photograph_that_cannot_be_used_is_refused_for_what_is_wrong_with_it(
    find: HaarFaces, picture: NDArray[np.uint8], reason: str
) -> None:
    assert look_at(picture, find, 112) == reason


def test_a_face_whose_eyes_are_hidden_is_refused(find: HaarFaces) -> None:
    hidden = person()
    face = find(hidden)[0]
    assert isinstance(look_at(hidden, find, 112), Usable)

    def blind(image: NDArray[np.uint8]) -> tuple[object, ...]:
        return (type(face)(face.box, face.eyes, False),)

    assert look_at(hidden, blind, 112) == "eyes not found"  # type: ignore[arg-type]


class Video:
    """A camera of five pictures a second that shows a person."""

    description, live = "video", True

    def __init__(self, pictures: Iterator[NDArray[np.uint8]]) -> None:
        self._pictures, self._index = pictures, 0
        self.closed = False

    def open(self) -> None: ...

    def read(self) -> Grab | None:
        self._index += 1
        picture = next(self._pictures, None)
        return None if picture is None else Grab(picture, self._index * 0.2)

    def close(self) -> None:
        self.closed = True


def test_a_person_before_a_camera_is_guided_through_every_stage() -> None:
    said: list[str] = []
    video = Video(iter([np.full((4, 4, 3), index, np.uint8) for index in range(200)]))
    taken = [int(picture[0, 0, 0]) for picture in guided(video, lambda image: True, said.append)]
    assert said == list(STAGES)
    assert len(taken) == 32
    assert min(np.diff(taken)) >= 1
    assert video.closed


def test_a_stage_without_a_usable_picture_ends_by_itself() -> None:
    video = Video(np.zeros((4, 4, 3), np.uint8) for _ in range(5 * 130))
    said: list[str] = []
    assert list(guided(video, lambda image: False, said.append)) == []
    assert len(said) == len(STAGES)


def test_no_more_photographs_are_kept_than_help(find: HaarFaces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taintwatch_calibration.faces.enrol.MOST", 3)
    kept, refused = collect((photograph(drawn_person(1), seed) for seed in range(5)), find, 112)
    assert len(kept) == 3
    assert sum(refused.values()) == 2
