"""A face camera as it is set up: enrolled people in, `taintwatch run` on pictures of them, names or none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from taintwatch.assembly import make_detection
from taintwatch.cli.main import main
from taintwatch.config.load import parse_config
from taintwatch.deadlines import Deadlines
from taintwatch.pipeline import Step, watch
from taintwatch_models.errors import ConfigError
from taintwatch_models.records import Frame, Prediction, read_only
from tests.face_scene import drawn_person, photograph, write_embedding, write_photographs
from tests.fakes import FakeSupply

ENROLLED = {"Ada": 1, "Bob": 14, "Cleo": 17}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face model of three drawn people."""
    root = tmp_path_factory.mktemp("door")
    embedding, folder = write_embedding(root / "embedding.onnx"), root / "faces"
    for name, number in ENROLLED.items():
        images = write_photographs(root / name, number)
        given = ["--images", str(images), "--folder", str(folder), "--embedding", str(embedding)]
        assert main(["face", "enrol", name, *given]) == 0
    assert main(["face", "train", "--folder", str(folder), "--fpr", "0.1", "--threads", "1"]) == 0
    return folder / "model" / "faces.onnx"


def configuration(model: Path, more: str = "") -> str:
    return f"""
        [model]
        path = "{model}"
        threads = 1
        [detect]
        detectors = ["face"]
        [publish]
        enabled = false
        {more}
        """


def seen_in(text: str, numbers: Sequence[int | None]) -> list[Step]:
    """Watch one picture of each person (None: nobody)."""
    config = parse_config(text, "door.toml")
    _, detection = make_detection(config, Deadlines())
    frames = []
    for index, number in enumerate(numbers):
        empty = np.full((240, 320, 3), 120, np.uint8)
        picture = empty if number is None else photograph(drawn_person(number), 20, onto=empty)
        frames.append(Frame("door", index, read_only(picture), index * 10**9, index * 10**9, float(index)))
    try:
        batches = watch(
            FakeSupply([[frame] for frame in frames]), detection.classifier, detection.detectors, detection.voter,
            detection.tracker, detection.expander, max_batch=2, wait_s=0, stopping=lambda: False,
        )  # fmt: skip
        return [step for batch in batches for step in batch]
    finally:
        detection.release()


def test_people_are_named_and_judged_by_the_detector_face(model: Path) -> None:
    steps = seen_in(configuration(model), [1, 14, 17, None])
    names = [step.outcome.label_name for step in steps if isinstance(step.outcome, Prediction)]
    assert names == ["Ada", "Bob", "Cleo"]
    assert steps[3].outcome is None
    assert [[verdict.detector for verdict in step.verdicts] for step in steps] == [["face"]] * 3 + [[]]
    statistics = steps[0].verdicts[0].statistics
    assert {"margin", "swing", "band_margin", "band_swing"} <= set(statistics)


def test_without_names_nobody_is_named(model: Path) -> None:
    steps = seen_in(configuration(model, "[faces]\nnames = false"), [1, 17])
    assert [getattr(step.outcome, "label_name", None) for step in steps] == ["person 1", "person 3"]


@pytest.mark.parametrize("pictures", ['[web]\nbind = "127.0.0.1:8080"', '[evidence]\nfolder = "kept"'])
def test_without_names_no_picture_may_be_kept_or_shown(model: Path, pictures: str) -> None:
    with pytest.raises(ConfigError, match=r"to false, and no web\.bind"):
        parse_config(configuration(model, f"[faces]\nnames = false\n{pictures}"), "door.toml")


def test_the_other_detectors_of_taintradar_may_judge_faces_too(model: Path) -> None:
    text = configuration(model).replace('["face"]', '["face", "paper", "tight"]')
    (step,) = seen_in(text, [14])
    assert [verdict.detector for verdict in step.verdicts] == ["face", "paper", "tight"]
    with pytest.raises(ConfigError, match="only tight and paper can judge faces"):
        parse_config(configuration(model).replace('["face"]', '["face", "cmag"]'), "door.toml")


def test_a_run_over_pictures_ends_well(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in ENROLLED.values():
        cv2.imwrite(str(images / f"{number}.png"), photograph(drawn_person(number), 21))
    path = tmp_path / "door.toml"
    path.write_text(configuration(model) + f'\n[[camera]]\nname = "door"\nsource = "{images}"\n')
    capsys.readouterr()
    assert main(["run", "--config", str(path), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert (summary["frames"], summary["rejected"], summary["model"]) == (3, 0, "faces")


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("faces.faces.json", "made by `taintwatch face train`"),
        ("faces.mean.png", "No such file or directory; run `taintwatch face train` again"),
    ],
)
def test_a_model_without_what_belongs_to_it_is_refused(
    model: Path, tmp_path: Path, missing: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in model.parent.iterdir():
        if path.name != missing:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "1.png"), photograph(drawn_person(1), 21))
    config = tmp_path / "door.toml"
    config.write_text(configuration(tmp_path / "faces.onnx") + '\n[[camera]]\nname = "door"\nsource = "images"\n')
    assert main(["run", "--config", str(config)]) == 78
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "sentence"),
    [('fill = "noise"', "fills with the mean face"), ("[gate]\nenabled = true", "every face checked")],
)
def test_what_has_no_meaning_for_faces_is_refused(model: Path, table: str, sentence: str) -> None:
    text = configuration(model).replace("[publish]", f"{table}\n[publish]")
    with pytest.raises(ConfigError, match=sentence):
        seen_in(text, [1])


def test_a_face_camera_without_a_model_is_told_how_to_make_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--detector", "face", "--source", "sim:"]) == 78
    assert "model.path: the faces.onnx that `taintwatch face train` wrote" in capsys.readouterr().err
