"""Reading an image: what would take all the memory, and what is no kind that is read, is refused by its first bytes."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from taintwatch_models.errors import BadFrame
from taintwatch_models.image_check import image_size
from taintwatch_models.image_file import decode_image, read_image
from tests.heic import HEIC

BOMBS = {
    "JPEG": b"\xff\xd8\xff\xc0\x00\x11\x08" + struct.pack(">HH", 16_000, 16_000) + b"\x03" + bytes(9) + b"\xff\xd9",
    "PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 16_000, 16_000) + b"\x08\x02\0\0\0",
    "BMP": b"BM" + bytes(12) + struct.pack("<Iii", 40, 16_000, -16_000),
    "BMP of OS/2": b"BM" + bytes(12) + struct.pack("<IHH", 12, 16_000, 16_000) + bytes(8),
    "PPM": b"P6 # a comment of 1 2 3\n16000\n#\n16000 255\n",
    "bitmap": b"P4\n16000 16000\n",
    "WebP": b"RIFF\xff\xff\xff\x7fWEBPVP8X" + bytes(8) + (15_999).to_bytes(3, "little") * 2,
    "AVIF": b"\0\0\0\x20ftypavif" + b"ispe\0\0\0\0" + struct.pack(">II", 16_000, 16_000),
    "JPEG 2000": b"\0\0\0\x0cjP  ihdr" + struct.pack(">II", 1, 1) + b"\xff\x4f\xff\x51\0\x2f\0\0"
    + struct.pack(">II", 16_000, 16_000),
    "JPEG 2000 codestream": b"\xff\x4f\xff\x51\0\x2f\0\0" + struct.pack(">II", 16_000, 16_000),
    "TIFF": b"II*\0\x08\0\0\0\x02\0" + struct.pack("<HHIIHHII", 256, 4, 1, 16_000, 257, 4, 1, 16_000),
}  # fmt: skip
OTHER_KINDS = {
    "Radiance": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 30000 +X 30000\n",
    "Sun raster": struct.pack(">8I", 0x59A66A95, 30_000, 30_000, 24, 0, 1, 0, 0),
    "PAM": b"P7\nWIDTH 30000\nHEIGHT 30000\nDEPTH 3\nMAXVAL 255\nENDHDR\n",
    "GIF": b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + bytes(20),
    "TIFF without a size": b"II*\0\x08\0\0\0\0\0",
    "nothing": b"",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_picture_that_claims_to_be_enormous_is_not_decoded(kind: str) -> None:
    with pytest.raises(BadFrame, match="it has 16000 x 16000 pixels, more than the 64 million that are decoded"):
        decode_image(BOMBS[kind], "it")


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_a_kind_whose_size_cannot_be_told_is_not_decoded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *given: pytest.fail("it was decoded"))
    with pytest.raises(BadFrame, match="it is not an image that can be decoded"):
        decode_image(OTHER_KINDS[kind], "it")


@pytest.mark.parametrize(
    "suffix", [".avif", ".bmp", ".jp2", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tiff", ".webp"]
)
def test_what_opencv_writes_is_read_and_its_size_known_before(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    grey = suffix in (".pbm", ".pgm")
    assert cv2.imwrite(str(path), np.full((96, 128) if grey else (96, 128, 3), 255, np.uint8))
    assert read_image(path).shape == (96, 128, 3)
    assert suffix == ".jpg" or image_size(path.read_bytes()) == (128, 96)


def test_a_file_that_is_missing_empty_or_beyond_all_measure_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(BadFrame, match=r"a\.png cannot be read: No such file"):
        read_image(path)
    path.touch()
    with pytest.raises(BadFrame, match=r"a\.png is empty"):
        read_image(path)
    with path.open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(BadFrame, match=r"a\.png has more than 64 MiB"):
        read_image(path)


def test_a_heic_file_is_read_as_blue_green_red(tmp_path: Path) -> None:
    path = tmp_path / "a.HEIC"
    path.write_bytes(HEIC)
    image = read_image(path)
    assert image.shape == (48, 64, 3)
    assert [int(value) // 128 for value in (*image[12, 16], *image[36, 48], *image[12, 48])] == [
        0,
        0,
        1,
        1,
        0,
        0,
        0,
        0,
        0,
    ]


@pytest.mark.parametrize("data", [HEIC[:300], HEIC[:450], HEIC[:24] + bytes(200), HEIC[:8] + HEIC[24:]])
def test_a_damaged_heic_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.heic").write_bytes(data)
    with pytest.raises(BadFrame, match=r"a\.heic is not an image that can be decoded"):
        read_image(tmp_path / "a.heic")


def test_a_heic_file_that_claims_to_be_enormous_is_not_decoded(tmp_path: Path) -> None:
    at = HEIC.index(b"ispe") + 8
    (tmp_path / "a.heic").write_bytes(HEIC[:at] + struct.pack(">II", 16_000, 16_000) + HEIC[at + 8 :])
    with pytest.raises(BadFrame, match=r"a\.heic has 16000 x 16000 pixels"):
        read_image(tmp_path / "a.heic")


def test_without_libheif_a_heic_file_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.heic").write_bytes(HEIC)
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(BadFrame, match=r"needs `pip install taintwatch\[heif\]`; or convert it to JPEG, PNG or AVIF"):
        read_image(tmp_path / "a.heic")
