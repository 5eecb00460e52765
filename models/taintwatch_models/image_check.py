"""What the bytes of an image say before anything is decoded: its size, and whether they are all there."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

from taintwatch_models.errors import BadFrame

__all__ = ["MOST_BYTES", "MOST_PIXELS", "JpegReader", "check_size", "image_fault", "image_size"]

MOST_PIXELS = 64_000_000
"""Pixels of a picture at most: 8K has 33 million. A picture takes 3 bytes for each, and is copied once or twice."""
MOST_BYTES = 64 << 20
"""Bytes of one encoded picture at most."""

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""What ends a JPEG's entropy-coded data: any marker but a stuffed byte, a restart or a fill byte (T.81, B.1.1)."""
_SIZ = b"\xff\x4f\xff\x51"  # of a JPEG 2000 codestream: start and size (T.800, A.4 and A.5)
_PNM = re.compile(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})\s")
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})


def check_size(width: int, height: int, description: str) -> None:
    """Raise `BadFrame` where a picture of `width` x `height` has more than `MOST_PIXELS`."""
    if width * height > MOST_PIXELS:
        raise BadFrame(f"{description} {_too_large(width, height)}")


def _too_large(width: int, height: int) -> str:
    return f"has {width} x {height} pixels, more than the {MOST_PIXELS // 1_000_000} million that are decoded"


@dataclass(slots=True)
class JpegReader:
    """Takes JPEG pictures out of a stream of bytes by their own markers (ITU-T T.81, annex B), whatever lies between.

    `feed` it, then call `next` until it gives None. It needs no boundary, no Content-Length and no headers, and sees
    whether a picture is whole. At most `MOST_BYTES` are kept.
    """

    _bytes: bytearray = field(default_factory=bytearray)
    _at: int = 0
    """Where the walk through the picture at the front goes on; 0: no picture was found yet."""
    _in_scan: bool = False
    _excess: str | None = None
    """Why the picture at the front will not be decoded, though it is walked through to its end."""
    size: tuple[int, int] | None = None
    """Width and height of the picture given last (or at the front)."""

    def feed(self, data: bytes) -> None:
        """Take more bytes."""
        self._bytes += data

    @property
    def pending(self) -> bytes:
        """What was fed and is not given yet."""
        return bytes(self._bytes)

    def next(self) -> bytes | None:
        """Return the next whole picture; None where more bytes are needed.

        Raises `BadFrame` for a picture that is cut short, damaged or too large, and goes on behind it.
        """
        if not self._at and not self._find():
            return None
        end = self._walk()
        if end is None:
            if len(self._bytes) > MOST_BYTES:
                self._drop(len(self._bytes))
                raise BadFrame(f"has more than {MOST_BYTES >> 20} MiB, the most that one picture may have")
            return None
        picture, excess = bytes(self._bytes[:end]), self._excess
        self._drop(end)
        if excess is not None:
            raise BadFrame(excess)
        return picture

    def _find(self) -> bool:
        """Bring the next picture to the front."""
        start = self._bytes.find(b"\xff\xd8")
        if start < 0:
            del self._bytes[: max(0, len(self._bytes) - 1)]
            return False
        del self._bytes[:start]
        self._at, self._in_scan, self._excess, self.size = 2, False, None, None
        return True

    def _walk(self) -> int | None:
        """Return where the picture at the front ends; None where that has not come yet. Raises `BadFrame`."""
        data = self._bytes
        while True:
            if self._in_scan:
                found = _MARKER.search(data, self._at)
                if found is None:
                    self._at = max(self._at, len(data) - 1)
                    return None
                self._at, self._in_scan = found.start(), False
            if len(data) < self._at + 2:
                return None
            marker = data[self._at + 1]
            if data[self._at] != 0xFF or (marker < 0xC0 and marker != 0x01):
                self._damaged("is damaged: it breaks off in the middle", 2)
            if marker == _SOI:
                self._damaged("is cut short: the next one begins before its end", self._at)
            if marker == _EOI:
                return self._at + 2
            if marker == 0xFF:
                self._at += 1
            elif marker in _ALONE:
                self._at += 2
            elif not self._segment(marker):
                return None

    def _segment(self, marker: int) -> bool:
        """Pass over a segment; False where it has not come yet."""
        data, at = self._bytes, self._at
        if len(data) < at + 4:
            return False
        (length,) = struct.unpack_from(">H", data, at + 2)
        if len(data) < at + 2 + length:
            return False
        if marker in _FRAMES and length >= 8:
            height, width = struct.unpack_from(">HH", data, at + 5)
            self.size = (width, height)
            if width * height > MOST_PIXELS:
                self._excess = _too_large(width, height)
        self._at, self._in_scan = at + 2 + length, marker == _SOS
        return True

    def _damaged(self, reason: str, next_at: int) -> None:
        self._drop(next_at)
        raise BadFrame(reason)

    def _drop(self, count: int) -> None:
        del self._bytes[:count]
        self._at, self._in_scan = 0, False


def image_fault(data: bytes) -> str | None:
    """Return what is wrong with an encoded image (`is cut short ...`), or None where nothing is known to be."""
    if len(data) > MOST_BYTES:
        return f"has more than {MOST_BYTES >> 20} MiB, the most that one picture may have"
    if data.startswith(b"\xff\xd8"):
        reader = JpegReader(bytearray(data))
        try:
            return None if reader.next() is not None else "is cut short: it has no end"
        except BadFrame as error:
            return str(error)
    size = image_size(data)
    if size is None:  # OpenCV would read more kinds, of up to 2**30 pixels
        return "is not an image that can be decoded"
    if size[0] * size[1] > MOST_PIXELS:
        return _too_large(*size)
    if data.startswith(b"\x89PNG") and b"IEND" not in data[-64:]:
        return "is cut short: it has no end"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) < 8 + struct.unpack_from("<I", data, 4)[0]:
        return "is cut short: it announces more bytes than it has"
    return None


def image_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height by the header of a PNG, BMP, WebP, AVIF, JPEG 2000, TIFF or PNM; None for all else."""
    if data.startswith(b"\x89PNG") and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return width, height
    if data.startswith(b"BM") and len(data) >= 26:
        width, height = struct.unpack_from("<HH" if data[14] == 12 else "<ii", data, 18)  # 12: of OS/2
        return abs(width), abs(height)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        return _webp_size(data)
    if data[4:8] == b"ftyp":  # AVIF, HEIC: the whole and its tiles each have an `ispe` box
        return _largest(rb"ispe\0{4}(?=.{8})", data)
    if data[4:8] == b"jP  " or data.startswith(_SIZ):
        return _largest(re.escape(_SIZ) + rb".{4}(?=.{8})", data)
    if data[:2] in (b"II", b"MM") and len(data) >= 8:
        return _tiff_size(data, "<" if data[:2] == b"II" else ">")
    pnm = _PNM.match(data[:4096])
    return None if pnm is None else (int(pnm[1]), int(pnm[2]))


def _largest(pattern: bytes, data: bytes) -> tuple[int, int] | None:
    """Return the largest of the widths and heights that lie behind the matches, wherever they are in the file."""
    found = re.finditer(pattern, data, re.DOTALL)
    sizes = (struct.unpack_from(">II", data, each.end()) for each in found)
    return max(sizes, key=lambda size: int(size[0] * size[1]), default=None)


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _tiff_size(data: bytes, order: str) -> tuple[int, int] | None:
    """Return ImageWidth and ImageLength (tags 256 and 257) of the first directory."""
    try:
        (directory,) = struct.unpack_from(f"{order}I", data, 4)
        (entries,) = struct.unpack_from(f"{order}H", data, directory)
        found = {}
        for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind = struct.unpack_from(f"{order}HH", data, entry)
            if tag in (256, 257):
                (found[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, entry + 8)
        return found[256], found[257]
    except (struct.error, KeyError):
        return None
