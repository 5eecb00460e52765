"""Guided recording at its seam: a camera that is walked about, and `sim:` sources."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from taintwatch.sources.sim import SimSource
from taintwatch.sources.source import Grab
from taintwatch.sources.video import VideoSource
from taintwatch_calibration.camera_model.pinhole_camera import CameraPose
from taintwatch_calibration.camera_model.raster import Raster, page_raster
from taintwatch_calibration.camera_model.sheet_scene import Shot
from taintwatch_calibration.cli_trial import trial_group
from taintwatch_calibration.printing.sheet_metadata import read_sheet
from taintwatch_calibration.trial.clips import ClipMetadata, read_clip
from taintwatch_calibration.trial.matrix import Cell, Matrix
from taintwatch_calibration.trial.record import Progress, RecordingLimits, advice, record_matrix
from taintwatch_models.errors import BadFrame, SourceError, TaintwatchError, UsageError
from tests.sheets import needs_pdftoppm
from tests.trial_scene import LENS, markers_of, print_sheet, scene_at

pytestmark = needs_pdftoppm
PATIENCE = RecordingLimits(clip_s=0.4, settle_s=0.2, no_markers_s=2.0)
FPS = 10.0


@pytest.fixture(scope="module")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return print_sheet(tmp_path_factory.mktemp("sheet") / "sign.pdf", "board", "--sign", 14)


@pytest.fixture(scope="module")
def raster(sheet: Path) -> Raster:
    return page_raster(sheet, read_sheet(sheet))


@pytest.fixture(scope="module")
def clip(sheet: Path) -> ClipMetadata:
    return ClipMetadata("attack", LENS.fov_deg, truth=14, light="office", markers_mm=markers_of(sheet))


class Walk:
    """A live camera that is carried from place to place, ten pictures at each; it may lose a picture on the way."""

    description, live = "a walk", True

    def __init__(self, raster: Raster, places: Sequence[tuple[float, float] | None], *, pictures: int = 10) -> None:
        still: dict[tuple[float, float] | None, NDArray[np.uint8]] = {None: np.full((480, 640, 3), 90, np.uint8)}
        for place in places:
            if place is not None and place not in still:
                still[place] = scene_at(raster, Shot(*place, shake=0.0)).render(0)
        self._images = [still[place] for place in places for _ in range(pictures)]
        self._next = 0
        self.closed = False

    def open(self) -> None:
        self._next = 0

    def read(self) -> Grab | None:
        self._next += 1
        if self._next == 3:
            raise BadFrame("torn")
        return Grab(self._images[self._next - 1]) if self._next <= len(self._images) else None

    def close(self) -> None:
        self.closed = True


class Clock:
    """A tenth of a second passes from picture to picture."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        self.now_s += 1 / FPS
        return self.now_s


def test_a_walk_through_the_matrix_is_recorded_place_by_place(
    raster: Raster, clip: ClipMetadata, tmp_path: Path
) -> None:
    cells = Matrix((0.3, 0.45), (0.0,)).cells
    walk, told = Walk(raster, [(0.6, 30.0), (0.3, 0.0), (0.3, 0.0), (0.45, 0.0)]), list[Progress]()
    recording = record_matrix(walk, cells, clip, tmp_path, PATIENCE, tell=told.append, clock=Clock())
    assert [video.name for video in recording.videos] == ["attack-office-30cm-0deg.mp4", "attack-office-45cm-0deg.mp4"]
    assert recording.missing == ()
    assert walk.closed
    assert [progress.recorded_s is not None for progress in told[:9]] == [False] * 9
    for video, cell in zip(recording.videos, cells, strict=True):
        info = read_clip(video)
        assert info is not None
        assert (info.cell, info.source) == (cell, "recorded with a walk")
        source = VideoSource(video)
        source.open()
        grabs = list(iter(source.read, None))
        source.close()
        assert [grab.media_s for grab in grabs] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=1e-3)


def test_what_was_recorded_is_passed_over_and_what_the_source_did_not_show_is_missing(
    raster: Raster, clip: ClipMetadata, tmp_path: Path
) -> None:
    cells = Matrix((0.3, 0.45), (0.0,)).cells
    first = record_matrix(Walk(raster, [(0.3, 0.0)]), cells, clip, tmp_path, PATIENCE, clock=Clock())
    assert (len(first.videos), first.missing) == (1, (cells[1],))
    cut_short = record_matrix(
        Walk(raster, [(0.45, 0.0)], pictures=5), cells, clip, tmp_path, PATIENCE, clock=Clock()
    )  # fmt: skip
    assert (cut_short.kept, cut_short.videos) == (1, ())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "attack-office-30cm-0deg.json", "attack-office-30cm-0deg.mp4"
    ]  # fmt: skip
    second = record_matrix(Walk(raster, [(0.45, 0.0)]), cells, clip, tmp_path, PATIENCE, clock=Clock())
    assert (second.kept, len(second.videos), second.missing) == (1, 1, ())


def test_a_simulated_hand_that_shakes_is_still_enough(raster: Raster, clip: ClipMetadata, tmp_path: Path) -> None:
    scene = scene_at(raster, Shot(0.3, 20.0, fps=FPS, duration_s=2.0))
    source = SimSource(scene, pace=0.0)
    recording = record_matrix(source, [Cell("office", 0.3, 20.0)], clip, tmp_path, PATIENCE)
    assert len(recording.videos) == 1


def test_without_a_marker_it_is_given_up_in_one_sentence(raster: Raster, clip: ClipMetadata, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no marker was seen for 2 s: is it the sheet of --sheet"):
        record_matrix(Walk(raster, [None] * 5), Matrix((0.3,), (0.0,)).cells, clip, tmp_path, PATIENCE, clock=Clock())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("pose", "words"),
    [
        (None, "show the markers"),
        (CameraPose(0.5, 0.0), "back 50 cm off, move 30 degrees to the right"),
        (CameraPose(1.5, 30.0), "come 50 cm closer"),
        (CameraPose(1.0, 45.0), "move 15 degrees to the left"),
        (CameraPose(1.05, 27.0), "hold still"),
    ],
)
def test_the_advice_says_where_to_go(pose: CameraPose | None, words: str) -> None:
    assert advice(Cell("office", 1.0, 30.0), pose).startswith(words)


def run(*arguments: object) -> str:
    words = ["record", *(str(argument) for argument in arguments)]
    return CliRunner().invoke(trial_group, words, catch_exceptions=False, standalone_mode=False).output


@pytest.fixture
def pictures(raster: Raster, tmp_path: Path) -> Path:
    """First from too far away, then from the right place."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, shot in (("1.png", Shot(0.5, 0.0, shake=0.0)), ("2.png", Shot(0.3, 0.0, shake=0.0))):
        cv2.imwrite(str(folder / name), scene_at(raster, shot).render(0))
    return folder


def test_the_command_records_a_sim_source_and_says_how_to_go_on(sheet: Path, pictures: Path, tmp_path: Path) -> None:
    source = f"sim:{pictures}?camera=office&motion=0&each=1.5&fps=10&pace=0"
    where = ("--sheet", sheet, "--condition", "clean", "--distances", "0.3", "--angles", "0", "--fov", LENS.fov_deg)
    told = run("--source", source, *where, "--seconds", "0.5", "--out", tmp_path / "clips")
    assert "1 clips recorded, 0 were there; score them with `taintwatch trial score`" in told
    info = read_clip(tmp_path / "clips" / "clean-office-30cm-0deg.mp4")
    assert info is not None
    assert (info.condition, info.truth, info.light) == ("clean", 14, "office")


def test_the_command_says_what_it_cannot_record(sheet: Path, pictures: Path, tmp_path: Path) -> None:
    out = ("--condition", "clean", "--out", tmp_path / "clips")
    sim = f"sim:{pictures}?motion=0&each=0.5&fps=10&pace=0"
    with pytest.raises(SourceError, match="ended after 0 of 1 places; the next one is 3 m, 0 degrees"):
        run("--source", sim, "--sheet", sheet, "--distances", "3", "--angles", "0", *out)
    chart = print_sheet(tmp_path / "chart.pdf", "chart")
    with pytest.raises(UsageError, match="there are no markers on this sheet"):
        run("--source", sim, "--sheet", chart, *out)
    with pytest.raises(TaintwatchError, match="does not exist"):
        run("--source", tmp_path / "gone.mp4", "--sheet", sheet, *out)
