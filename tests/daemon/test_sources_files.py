"""Video files and image folders, real ones made on the spot."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from taintwatch.sources.factory import open_source
from taintwatch.sources.source import Source, SourceSettings
from taintwatch_models.errors import BadFrame, SourceError


def make_video(path: Path, frames: int = 20, codec: str = "mpeg4", options: dict[str, str] | None = None) -> Path:
    """Write `frames` pictures of noise at 10 a second; picture i is about as bright as 40 + 5 i."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for index in range(frames):
            image = (40 + 5 * index + rng.integers(-20, 20, (48, 64, 3))).clip(0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def cut(path: Path, share: float) -> Path:
    """Keep the first `share` of a file's bytes."""
    data = path.read_bytes()
    shorter = path.with_name(f"cut_{path.name}")
    shorter.write_bytes(data[: int(len(data) * share)])
    return shorter


def write_image(path: Path, grey: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((24, 32, 3), grey, np.uint8))
    return path


class Run:
    """Everything that a source gave until its end (or `most` pictures)."""

    def __init__(self, source: Source, most: int = 1000) -> None:
        self.times: list[float | None] = []
        self.means: list[float] = []
        self.bad: list[str] = []
        self.errors: list[str] = []
        source.open()
        while len(self.times) < most:
            try:
                grab = source.read()
            except BadFrame as error:
                self.bad.append(str(error))
                continue
            except SourceError as error:
                self.errors.append(str(error))
                continue
            if grab is None:
                break
            assert grab.image.dtype == np.uint8
            assert grab.image.ndim == 3
            self.times.append(grab.media_s)
            self.means.append(float(grab.image.mean()))
        source.close()


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "mpeg4"), ("a.mkv", "libx264"), ("a.avi", "mjpeg")])
def test_a_video_gives_every_picture_in_order_with_its_time(tmp_path: Path, name: str, codec: str) -> None:
    run = Run(open_source(str(make_video(tmp_path / name, codec=codec))))
    assert run.times == pytest.approx([index / 10 for index in range(20)], abs=0.002)
    assert run.means == sorted(run.means)
    assert not run.bad
    assert not run.errors


@pytest.mark.parametrize(
    ("degrees", "as_recorded"),
    [(90, cv2.ROTATE_90_CLOCKWISE), (180, cv2.ROTATE_180), (-90, cv2.ROTATE_90_COUNTERCLOCKWISE)],
)
def test_a_video_that_was_recorded_sideways_is_turned_upright(tmp_path: Path, degrees: int, as_recorded: int) -> None:
    upright = np.zeros((48, 64, 3), np.uint8)
    upright[:24, :32] = 255
    recorded = np.ascontiguousarray(cv2.rotate(upright, as_recorded))
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = recorded.shape[:2]
        stream.pix_fmt = "yuv420p"
        turn = getattr(stream, "set_display_rotation", None)
        if turn is None:
            pytest.skip("this PyAV cannot write a rotation")
        turn(degrees)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(recorded, format="bgr24")))
        container.mux(stream.encode(None))
    source = open_source(str(path))
    source.open()
    grab = source.read()
    source.close()
    assert grab is not None
    assert grab.image.shape == upright.shape
    assert np.abs(grab.image.astype(int) - upright).mean() < 10


def test_a_video_can_be_opened_again_after_it_was_closed(tmp_path: Path) -> None:
    source = open_source(str(make_video(tmp_path / "a.mp4")))
    assert Run(source).times == Run(source).times


def test_a_truncated_video_gives_what_decodes_then_one_error_then_ends(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "a.mp4", options={"movflags": "faststart"})
    run = Run(open_source(str(cut(whole, 0.9))))
    assert 0 < len(run.times) < 20
    assert len(run.errors) == 1
    assert "cut short" in run.errors[0]
    assert "cut_a.mp4" in run.errors[0]


def test_a_truncated_video_without_an_index_cannot_be_opened(tmp_path: Path) -> None:
    source = open_source(str(cut(make_video(tmp_path / "a.mp4"), 0.5)))
    with pytest.raises(SourceError, match=r"cut_a\.mp4 cannot be opened: invalid data"):
        source.open()


def test_a_video_of_zero_length_is_named_as_empty(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(SourceError, match=r"a\.mp4 is empty \(0 bytes\)"):
        open_source(str(tmp_path / "a.mp4")).open()


def test_a_file_without_pictures_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout=stream.layout.name)
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(SourceError, match="holds no video, or in a container that is not read"):
        open_source(str(path)).open()


def test_a_looped_video_never_ends_and_its_time_goes_on(tmp_path: Path) -> None:
    run = Run(open_source(str(make_video(tmp_path / "a.mp4")), SourceSettings(loop=True)), most=50)
    assert run.times == pytest.approx([index / 10 for index in range(50)], abs=0.002)
    assert run.means[0] == run.means[20] == run.means[40]


def test_a_folder_of_videos_plays_them_one_after_the_other_and_passes_over_a_broken_one(tmp_path: Path) -> None:
    make_video(tmp_path / "a.mp4")
    (tmp_path / "b.mp4").write_bytes(b"this is no video")
    make_video(tmp_path / "c.mkv")
    (tmp_path / "notes.txt").write_text("no video either")
    run = Run(open_source(str(tmp_path)))
    assert run.times == pytest.approx([index / 10 for index in range(40)], abs=0.01)
    assert len(run.bad) == 1
    assert "b.mp4" in run.bad[0]


def test_a_folder_of_nothing_but_broken_videos_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "b.mp4").write_bytes(b"this is no video")
    source = open_source(str(tmp_path), SourceSettings(loop=True))
    source.open()
    with pytest.raises(BadFrame):
        source.read()
    with pytest.raises(SourceError, match="none of its 1 videos"):
        source.read()


def test_a_folder_of_images_is_read_in_order_and_a_broken_jpeg_is_passed_over(tmp_path: Path) -> None:
    write_image(tmp_path / "b" / "1.png", grey=30)
    write_image(tmp_path / "a" / "2.jpg", grey=10)
    broken = write_image(tmp_path / "a" / "3.jpg", grey=20)
    broken.write_bytes(broken.read_bytes()[:200])
    write_image(tmp_path / ".thumbnails" / "4.jpg", grey=90)
    run = Run(open_source(str(tmp_path)))
    assert [round(mean) for mean in run.means] == [10, 30]
    assert len(run.bad) == 1
    assert "3.jpg" in run.bad[0]


def test_a_folder_of_nothing_but_broken_images_is_an_error_even_in_a_loop(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    source = open_source(str(tmp_path), SourceSettings(loop=True))
    source.open()
    with pytest.raises(BadFrame, match="empty"):
        source.read()
    with pytest.raises(SourceError, match="none of its 1 images"):
        source.read()


def test_a_single_image_is_a_source_of_one_picture(tmp_path: Path) -> None:
    assert len(Run(open_source(str(write_image(tmp_path / "a.png")))).times) == 1


def test_what_can_never_work_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for spec, words in {
        str(tmp_path / "gone.mp4"): "gone.mp4 does not exist",
        str(tmp_path / "empty"): "holds no image and no video",
        "ftp://host/video.mp4": "scheme 'ftp'",
        "  ": "the source is empty",
    }.items():
        with pytest.raises(SourceError, match=words) as caught:
            open_source(spec)
        assert "\n" not in str(caught.value)


def test_a_refused_scheme_does_not_show_the_password() -> None:
    with pytest.raises(SourceError) as caught:
        open_source("ftp://admin:hunter2@host/video.mp4")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "description", "live"),
    [
        (0, "/dev/video0", True),
        ("2", "/dev/video2", True),
        ("/dev/video-front", "/dev/video-front", True),
        ("rtsp://admin:pw@gate.lan/live", "rtsp://gate.lan/live", True),
        ("HTTPS://gate.lan/live", "https://gate.lan/live", True),
    ],
)
def test_the_kind_of_source_follows_from_what_was_written(spec: str | int, description: str, live: bool) -> None:
    source = open_source(spec)
    assert source.description == description
    assert source.live is live


@pytest.mark.shared
def test_real_footage_gives_as_many_pictures_as_libav_decodes(shared_data: Path) -> None:
    path = shared_data / "videos" / "one-by-one-person-detection.mp4"
    with av.open(str(path)) as container:
        wanted = sum(1 for _ in container.decode(video=0))
    source = open_source(str(path))
    source.open()
    given = 0
    while source.read() is not None:
        given += 1
    source.close()
    assert given == wanted > 1000


def test_a_file_may_not_choose_a_container_that_opens_what_it_names(tmp_path: Path) -> None:
    make_video(tmp_path / "other.mp4")
    (tmp_path / "a.mp4").write_text("ffconcat version 1.0\nfile other.mp4\n")
    with pytest.raises(SourceError, match=r"a\.mp4 cannot be opened"):
        open_source(str(tmp_path / "a.mp4")).open()


def test_a_file_may_not_choose_a_codec_that_no_camera_writes(tmp_path: Path) -> None:
    make_video(tmp_path / "a.avi", codec="asv1")
    with pytest.raises(SourceError, match=r"a\.avi holds asv1 video, which is not decoded here"):
        open_source(str(tmp_path / "a.avi")).open()


def test_a_stream_may_not_be_forced_into_a_format_that_is_not_read() -> None:
    source = open_source("udp://127.0.0.1:9", SourceSettings(input_format="lavfi"))
    with pytest.raises(SourceError, match=r"input_format 'lavfi' is none of those that are read: asf, avi, "):
        source.open()
