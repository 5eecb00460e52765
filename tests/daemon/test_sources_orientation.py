"""What may be said of a camera's pictures: turned, mirrored, deinterlaced."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from taintwatch.sources.factory import open_source
from taintwatch.sources.source import SourceSettings, read_through
from taintwatch_models.errors import UsageError

Image = NDArray[np.uint8]
CORNERS: dict[tuple[int, str | None], str] = {
    (0, None): "ABCD",
    (90, None): "CADB",
    (180, None): "DCBA",
    (270, None): "BDAC",
    (0, "horizontal"): "BADC",
    (0, "vertical"): "CDAB",
    (90, "horizontal"): "ACBD",
    (270, "vertical"): "ACBD",
}
"""Turn clockwise, then mirror -> the corners of a picture whose corners are A B over C D, read as a page."""
GREYS = {"A": 0, "B": 80, "C": 160, "D": 240}


def corners(image: Image) -> str:
    height, width = image.shape[:2]
    spots = ((2, 2), (2, width - 3), (height - 3, 2), (height - 3, width - 3))
    return "".join(min(GREYS, key=lambda name: abs(GREYS[name] - int(image[spot].mean()))) for spot in spots)


def pictures(path: Path, settings: SourceSettings) -> list[Image]:
    return [grab.image for grab in read_through(open_source(str(path), settings))]


@pytest.mark.parametrize(("rotate", "flip"), CORNERS)
def test_pictures_are_turned_clockwise_and_then_mirrored(tmp_path: Path, rotate: int, flip: str | None) -> None:
    image = np.zeros((24, 32, 3), np.uint8)
    image[:12, 16:], image[12:, :16], image[12:, 16:] = GREYS["B"], GREYS["C"], GREYS["D"]
    assert cv2.imwrite(str(tmp_path / "a.png"), image)
    (found,) = pictures(tmp_path / "a.png", SourceSettings(rotate=rotate, flip=flip))
    assert corners(found) == CORNERS[rotate, flip]
    assert found.shape == ((32, 24, 3) if rotate in (90, 270) else (24, 32, 3))


def test_what_is_no_turn_and_no_mirror_is_refused(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UsageError, match="rotate is 45; give 0, 90, 180 or 270 degrees clockwise"):
        open_source(str(tmp_path / "a.png"), SourceSettings(rotate=45))
    with pytest.raises(UsageError, match="flip is 'both'; give one of horizontal, vertical"):
        open_source(str(tmp_path / "a.png"), SourceSettings(flip="both"))


def interlaced(path: Path, frames: int = 12) -> Path:
    """Write a bar that moves by 8 pixels from field to field: each frame has it in two places, line by line."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 320, 96, "yuv420p"
        stream.options = {"flags": "+ilme+ildct", "qmin": "1", "qmax": "2"}
        for index in range(frames):
            image = np.full((96, 320, 3), 30, np.uint8)
            for field in (0, 1):
                left = 16 * index + 8 * field
                image[field::2, left : left + 40] = 220
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def combing(image: Image) -> float:
    """Return how much each line differs from the next."""
    return float(np.abs(np.diff(image[:, :, 1].astype(int), axis=0)).mean())


@pytest.mark.parametrize("name", ["a.mpg", "clips"])
def test_interlaced_footage_is_deinterlaced_where_that_is_asked_for_and_no_picture_is_lost(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "clips").mkdir()
    interlaced(tmp_path / "a.mpg" if name == "a.mpg" else tmp_path / "clips" / "a.mpg")
    as_it_is = pictures(tmp_path / name, SourceSettings())
    smooth = pictures(tmp_path / name, SourceSettings(deinterlace=True))
    assert len(smooth) == len(as_it_is) == 12
    assert all(combing(one) > 4 * combing(other) for one, other in zip(as_it_is[1:-1], smooth[1:-1], strict=True))
