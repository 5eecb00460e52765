"""The scene simulator: what it renders, what it says is true, and how it plays."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from taintwatch.sources.camera_model import SimulatedCamera
from taintwatch.sources.factory import open_source
from taintwatch.sources.scene import Scene, SceneSettings
from taintwatch.sources.sim import SIM_KEYS, SimSource, parse_sim
from taintwatch.sources.source import SourceSettings
from taintwatch_models.errors import SourceError

RED = (0, 0, 255)


def grey_picture(width: int = 320, height: int = 240) -> NDArray[np.uint8]:
    """A grey ramp: any motion changes it, and nothing in it is red."""
    ramp = np.linspace(40, 200, width, dtype=np.uint8)
    return np.repeat(np.repeat(ramp[None, :, None], height, axis=0), 3, axis=2)


def red_patch(width: int = 60, height: int = 40) -> NDArray[np.uint8]:
    return np.full((height, width, 3), RED, np.uint8)


def a_scene(patch: NDArray[np.uint8] | None = None, **changes: object) -> Scene:
    settings = SceneSettings(**{"width": 160, "height": 120, "start": 2.0, "end": 6.0, **changes})  # type: ignore[arg-type]
    return Scene([grey_picture()], red_patch() if patch is None else patch, settings)


def red_box(image: NDArray[np.uint8]) -> tuple[int, int, int, int] | None:
    """(x, y, width, height) of what is clearly red."""
    rows, columns = np.nonzero(image[:, :, 2].astype(int) - image[:, :, 1] > 128)
    if rows.size == 0:
        return None
    x, y = int(columns.min()), int(rows.min())
    return x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y


@given(
    index=st.integers(0, 149),
    seed=st.integers(0, 1000),
    size=st.floats(0.1, 1.2),
    motion=st.floats(0.0, 0.4),
    position=st.one_of(st.just("random"), st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0))),
)
def test_the_patch_is_where_and_when_the_truth_says(
    index: int, seed: int, size: float, motion: float, position: object
) -> None:
    scene = a_scene(seed=seed, size=size, motion=motion, position=position)
    truth, seen = scene.ground_truth(index), red_box(scene.render(index))
    assert truth.media_s == index / 15
    assert truth.attacked == (truth.box is not None)
    assert 30 <= index < 90 or not truth.attacked
    if position == "random" and motion <= 0.1:  # strong motion may carry the patch out of view
        assert truth.attacked == (30 <= index < 90)
    if truth.box is None:
        assert seen is None
    elif seen is not None:  # a sliver at the border may be too thin to be clearly red
        for told, found in zip(corners(truth.box), corners(seen), strict=True):
            assert abs(told - found) <= 2


def corners(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    x, y, width, height = box
    return x, y, x + width, y + height


def test_a_frame_is_the_same_whenever_and_however_often_it_is_rendered() -> None:
    first, second = a_scene(seed=4), a_scene(seed=4)
    in_order = [first.render(index) for index in range(40)]
    for index in (39, 0, 31, 31):
        assert np.array_equal(second.render(index), in_order[index])
    assert not np.array_equal(a_scene(seed=5).render(31), in_order[31])


def test_the_scene_moves_smoothly_and_never_shows_its_border() -> None:
    scene = a_scene(start=9.9, end=10.0)
    steps = [np.abs(scene.render(i).astype(int) - scene.render(i + 1)).max() for i in range(0, 140, 9)]
    assert 0 < max(steps) <= 4


def test_the_view_never_reaches_beyond_the_picture() -> None:
    across = np.repeat(np.linspace(20, 220, 160, dtype=np.uint8)[None, :, None], 3, axis=2)
    picture = np.repeat(across, 160, axis=0)
    for image_of_axis in (picture, picture.transpose(1, 0, 2)):
        scene = Scene([image_of_axis], None, SceneSettings(width=160, height=160, motion=0.4, seed=1))
        for index in range(0, 600, 7):
            # Beyond the border the last row of pixels would be repeated: no longer a ramp.
            ramp = scene.render(index).max(axis=0 if image_of_axis is picture else 1)[:, 0].astype(int)
            assert ramp[8] > ramp[0]
            assert ramp[-1] > ramp[-9]


def test_a_scene_without_motion_stands_still() -> None:
    scene = a_scene(motion=0.0)
    assert np.array_equal(scene.render(0), scene.render(29))
    assert scene.ground_truth(30).box == scene.ground_truth(89).box


def test_the_patch_has_the_size_and_place_that_were_asked_for() -> None:
    box = a_scene(motion=0.0, size=0.5, position=(0.25, 0.5)).ground_truth(30).box
    assert box == (10, 40, 60, 40)  # half of 120 pixels wide, 3 : 2, its middle at (40, 60)


def test_a_random_place_keeps_the_whole_patch_in_view() -> None:
    for seed in range(20):
        scene = a_scene(seed=seed, size=0.3)
        sizes = [box for index in range(30, 90) if (box := scene.ground_truth(index).box)]
        assert all(abs(width / height - 1.5) < 0.15 for _, _, width, height in sizes)


def test_transparent_parts_of_the_patch_show_the_scene_and_are_not_in_the_box() -> None:
    patch = np.zeros((80, 80, 4), np.uint8)
    patch[20:60, 20:60] = (*RED, 255)
    patch[35:45, 35:45, 3] = 0
    scene = a_scene(patch, motion=0.0, size=0.5, position=(0.5, 0.5))
    box = scene.ground_truth(30).box
    assert box == (50, 30, 60, 60)
    image = scene.render(30)
    assert red_box(image) == box
    assert np.array_equal(image[60, 80], scene.render(0)[60, 80])


@pytest.mark.parametrize("angle", [-60.0, 25.0, 60.0])
def test_a_turned_patch_is_narrower_in_perspective_and_where_the_truth_says(angle: float) -> None:
    flat, turned = (a_scene(red_patch(60, 60), size=0.6, position=(0.5, 0.5), motion=0.0, angle=a) for a in (0, angle))
    box, seen = turned.ground_truth(45).box, red_box(turned.render(45))
    plain = flat.ground_truth(45).box
    assert box is not None
    assert seen is not None
    assert plain is not None
    assert seen == pytest.approx(box, abs=2)
    assert box[2] < plain[2]
    red = turned.render(45)[:, :, 2].astype(int) - turned.render(45)[:, :, 1] > 128
    heights = red.sum(axis=0)[red.any(axis=0)]
    assert (heights[-2] > heights[1]) == (angle > 0)  # the side towards the camera is the higher one


def test_in_a_loop_the_attack_comes_back_every_round_and_never_ends() -> None:
    scene = a_scene(loop=True)
    assert scene.frame_count is None
    attacked = [scene.ground_truth(index).attacked for index in range(450)]
    assert attacked == [30 <= index % 150 < 90 for index in range(450)]


def test_pictures_follow_one_another() -> None:
    dark, light = np.full((40, 60, 3), 10, np.uint8), np.full((40, 60, 3), 240, np.uint8)
    scene = Scene([dark, light], None, SceneSettings(width=64, height=48, fps=10.0, each=0.5))
    assert [round(float(scene.render(index).mean())) for index in (0, 4, 5, 9, 10)] == [10, 10, 240, 240, 10]


def test_the_office_camera_is_noisy_and_repeatable_and_keeps_the_picture() -> None:
    image, office = grey_picture(), SimulatedCamera(seed=3)
    seen = office(image, 7)
    assert np.array_equal(seen, SimulatedCamera(seed=3)(image, 7))
    assert not np.array_equal(seen, office(image, 8))
    assert np.abs(seen.astype(float) - image).mean() < 25
    assert seen.shape == image.shape


def test_any_function_of_picture_and_index_can_be_the_camera_model() -> None:
    def negative(image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        return np.asarray(255 - image if index % 2 else image, dtype=np.uint8)

    settings = SceneSettings(width=64, height=48, motion=0.0)
    scene = Scene([grey_picture()], None, settings, negative)
    assert np.array_equal(255 - scene.render(1), scene.render(0))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    assert cv2.imwrite(str(tmp_path / "scene.png"), grey_picture())
    assert cv2.imwrite(str(tmp_path / "patch.png"), red_patch())
    return tmp_path


def test_a_spec_as_fast_as_it_goes_gives_every_frame_with_its_truth(files: Path) -> None:
    spec = (
        f"sim:{files}/scene.png?patch={files}/patch.png&start=0.5&end=1.5&fps=10&duration=2&pace=0&width=160&height=120"
    )
    source = open_source(spec)
    assert isinstance(source, SimSource)
    assert not source.live
    source.open()
    given = 0
    while (grab := source.read()) is not None:
        assert grab.media_s == given / 10
        assert source.ground_truth(given).attacked == (red_box(grab.image) is not None) == (5 <= given < 15)
        given += 1
    assert given == 20


def test_a_paced_scene_is_live_and_each_frame_comes_at_its_time(files: Path) -> None:
    now = [100.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    scene = parse_sim(f"sim:{files}/scene.png?fps=10&duration=0.5").scene()
    source = SimSource(scene, clock=lambda: now[0], sleep=sleep)
    assert source.live
    source.open()
    while source.read() is not None:
        pass
    assert slept == pytest.approx([0.1] * 4)


def test_a_folder_of_pictures_lasts_until_each_was_shown(files: Path) -> None:
    assert parse_sim(f"sim:{files}?each=0.5").settings.duration == 1.0
    assert parse_sim(f"sim:{files}?each=0.5&duration=7").settings.duration == 7.0


def test_the_loop_option_repeats_the_scene(files: Path) -> None:
    source = open_source(f"sim:{files}/scene.png?pace=0", SourceSettings(loop=True))
    assert isinstance(source, SimSource)
    assert source.scene.frame_count is None


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("colour=red", "'colour' is no key"),
        ("fps=fast", "fps='fast' must be a number"),
        ("fps=0", "fps=0 must be between"),
        ("fps=nan", "fps=nan must be between"),
        ("width=1.5", "width='1.5' must be a whole number"),
        ("size=3", "size=3 must be between"),
        ("angle=85", "angle=85 must be between -80 and 80"),
        ("motion=0.9", "motion=0.9 must be between"),
        ("position=left", "position='left' must be random, or two"),
        ("position=0.5,2", "position=2 must be between"),
        ("start=5&end=4", "end=4 must be later than start=5"),
        ("start=20&duration=10", "start=20 must be earlier than duration=10"),
        ("camera=noir", "camera='noir' must be corridor or dim or office"),
        ("loop=yes", "loop='yes' must be 0 or 1"),
        ("pace=-1", "pace='-1' must be"),
        ("patch={files}/patch.png&profile=/gone.json", "profile=/gone.json: not a readable"),
        ("patch=/gone.png", "patch=/gone.png cannot be read"),
    ],
)
def test_a_bad_value_is_named_with_its_key(files: Path, query: str, words: str) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(f"sim:{files}/scene.png?{query.format(files=files)}")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_scene_without_a_usable_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("no picture")
    for spec, words in {
        "sim:?size=0.5": "the bundled ones have attack, camera, duration",
        f"sim:{tmp_path}?attack=both": "for the bundled scene",
        f"sim:{tmp_path}/gone.png": "does not exist",
        f"sim:{tmp_path}/empty": "holds no image",
        f"sim:{tmp_path}/text.png": "not an image",
    }.items():
        with pytest.raises(SourceError, match=words):
            open_source(spec)


def test_a_patch_that_is_transparent_everywhere_is_refused() -> None:
    with pytest.raises(SourceError, match="transparent everywhere"):
        a_scene(np.zeros((8, 8, 4), np.uint8))


def test_every_key_is_documented(repository: Path) -> None:
    text = (repository / "docs" / "sources.md").read_text()
    assert [key for key in SIM_KEYS if f"`{key}`" not in text] == []
