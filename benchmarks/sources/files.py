"""Files and folders: containers, codecs, timestamps, damage, names, image formats."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np

from benchmarks.sources.input_case import InputCase, file_case
from taintwatch.demo.play import parse_play
from taintwatch_models.image_file import read_image
from tests.clips import attack_clip
from tests.heic import HEIC

__all__ = ["encoded", "file_cases", "material"]

_H264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "18")
_FAST = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "18")
_B_FRAMES = ("-bf", "4", "-b_strategy", "0", "-x264-params", "b-pyramid=normal:keyint=30")
_INTERLACED = ("-vf", "interlace", *_H264, "-flags", "+ilme+ildct")
_FRAMES = 60
_CLIP = range(20, 80)  # of the scene: in 40 of them the attack


@lru_cache(maxsize=1)
def material() -> Path:
    """Return a folder with the scene, `attack.mkv` and `benign.mkv`: six seconds, 640 x 480."""
    folder = Path(tempfile.mkdtemp(prefix="taintwatch-sources-"))
    attack_clip(folder / "attack.mkv", frames=_CLIP)
    attack_clip(folder / "benign.mkv", attack="none", frames=_CLIP)
    return folder


@lru_cache(maxsize=16)
def encoded(*options: str) -> Path:
    """Return the attack as a Matroska file encoded with these options, which is done once."""
    path = material() / f"encoded-{hashlib.sha256(repr(options).encode()).hexdigest()[:8]}.mkv"
    _ffmpeg("-i", material() / "attack.mkv", *options, path)
    return path


def _ffmpeg(*words: object) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, words)], check=True, stdin=subprocess.DEVNULL)


def _converted(name: str, *options: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        _ffmpeg("-i", material() / "attack.mkv", *options, f"file:{path}")
        return path

    return make


def _remuxed(name: str, *options: str, codec: tuple[str, ...] = _H264) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        _ffmpeg("-i", encoded(*codec), "-c", "copy", *options, f"file:{path}")
        return path

    return make


def _containers() -> list[InputCase]:
    rows: list[tuple[str, tuple[str, ...]]] = [
        ("a.mp4", _H264), ("a.mov", _H264), ("a.mkv", _H264), ("a.ts", _H264), ("a.m2ts", _H264), ("a.flv", _H264),
        ("a.avi", ("-c:v", "mpeg4", "-q:v", "3")), ("a.mjpeg.avi", ("-c:v", "mjpeg", "-q:v", "3")),
        ("a.webm", ("-c:v", "libvpx", "-s", "320x240", "-b:v", "2M", "-deadline", "realtime", "-cpu-used", "8")),
        ("a.vp9.webm", ("-c:v", "libvpx-vp9", "-b:v", "2M", "-deadline", "realtime", "-cpu-used", "8")),
        ("a.wmv", ("-c:v", "wmv2", "-b:v", "4M")), ("a.asf", ("-c:v", "wmv2", "-b:v", "4M")),
        ("a.3gp", ("-c:v", "mpeg4", "-b:v", "3M")), ("a.ogv", ("-c:v", "libtheora", "-q:v", "8")),
        ("a.vob", ("-c:v", "mpeg2video", "-r", "25", "-b:v", "6M", "-f", "vob")),
        ("a.mpg", ("-c:v", "mpeg2video", "-r", "25", "-b:v", "6M")),
        ("a.m2v", ("-c:v", "mpeg2video", "-r", "25", "-b:v", "6M")),
        ("a.h264", _H264), ("a.hevc", ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none")),
        ("a.hevc.mp4", ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none")),
        ("a.av1.mp4", ("-c:v", "libsvtav1", "-preset", "12", "-crf", "30")),
        ("a.mjpeg", ("-c:v", "mjpeg", "-q:v", "3")), ("a.y4m", ("-pix_fmt", "yuv420p")),
        ("a.nut", ("-c:v", "ffv1")), ("a.gif", ("-vf", "scale=320:-1")),
        ("a.prores.mov", ("-c:v", "prores_ks", "-profile:v", "0")),
        ("a.10bit.mkv", ("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le", "-x265-params",
                         "log-level=none")),
        ("a.444.mp4", (*_H264, "-pix_fmt", "yuv444p")), ("a.422.mp4", (*_H264, "-pix_fmt", "yuv422p")),
        ("a.odd.mkv", ("-vf", "scale=641:481", "-c:v", "ffv1")),
        ("a.fragmented.mp4", (*_H264, "-movflags", "frag_keyframe+empty_moov")),
    ]  # fmt: skip
    cases = []
    for name, options in rows:
        frames = _FRAMES * 25 // 10 if "-r" in options else _FRAMES
        slow = any(word in options for word in ("libtheora", "libsvtav1", "prores_ks", "libvpx-vp9"))
        remuxed = options[: len(_H264)] == _H264 and "-pix_fmt" not in options
        make = _remuxed(name, *options[len(_H264) :]) if remuxed else _converted(name, *options)
        cases.append(file_case(name, "container", make, frames, 1, colour=True, slow=slow))
    return cases


def _colours() -> list[InputCase]:
    hd = "scale=1280:720:out_color_matrix=bt709:out_range=tv"
    tagged = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")
    full = ("-vf", "scale=out_range=pc", "-color_range", "pc")
    return [
        file_case("BT.709, HD", "colour", _converted("hd.mp4", "-vf", hd, *_FAST, *tagged), _FRAMES, 1, colour=True),
        file_case("full range", "colour", _converted("pc.mp4", *full, *_H264), _FRAMES, 1, colour=True),
        file_case(
            "pixels 2:1 wide", "shape", _converted("sar.mp4", "-vf", "scale=320:480,setsar=2", *_H264), _FRAMES, 1,
            colour=True, reference=("scale=iw*sar:ih",),
        ),
        file_case("turned by 90 degrees", "shape", _turned, _FRAMES, 1, colour=True),
        file_case("mirrored", "shape", _mirrored, _FRAMES, 1),
        file_case("interlaced", "shape", _converted("i.mp4", *_INTERLACED), _FRAMES // 2, 1),
    ]  # fmt: skip


def _turned(folder: Path) -> Path:
    _ffmpeg("-i", material() / "attack.mkv", "-vf", "transpose=2", *_H264, folder / "side.mp4")
    _ffmpeg("-i", folder / "side.mp4", "-c", "copy", "-metadata:s:v:0", "rotate=270", folder / "turned.mp4")
    return folder / "turned.mp4"


def _mirrored(folder: Path) -> Path:
    """Write a file whose display matrix mirrors: the first coefficient of the track's matrix is turned round."""
    _ffmpeg("-i", material() / "attack.mkv", "-vf", "hflip", *_H264, folder / "m.mp4")
    data = bytearray((folder / "m.mp4").read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40  # ISO/IEC 14496-12, 8.3.2: version 0
    data[matrix : matrix + 4] = b"\xff\xff\x00\x00"
    (folder / "m.mp4").write_bytes(data)
    return folder / "m.mp4"


def _timestamps() -> list[InputCase]:
    def joined(folder: Path) -> Path:
        parts = []
        for name in ("benign", "attack"):
            _ffmpeg("-i", material() / f"{name}.mkv", "-c", "copy", folder / f"{name}.ts")
            parts.append((folder / f"{name}.ts").read_bytes())
        (folder / "joined.ts").write_bytes(b"".join(parts))
        return folder / "joined.ts"

    def pieces(folder: Path) -> Path:
        cut = ("-f", "segment", "-segment_time", "0.5", "-reset_timestamps", "1")
        _ffmpeg("-i", encoded(*_H264, "-g", "5", "-sc_threshold", "0"), "-c", "copy", *cut, folder / "p%03d.ts")
        whole = b"".join(path.read_bytes() for path in sorted(folder.glob("p*.ts")))
        (folder / "joined.ts").write_bytes(whole)
        return folder / "joined.ts"

    def lying(folder: Path) -> Path:
        _ffmpeg("-i", encoded(*_H264, *_B_FRAMES), "-c", "copy", folder / "b.mp4")
        _ffmpeg("-fflags", "+genpts", "-i", folder / "b.mp4", "-c", "copy", folder / "lying.avi")
        return folder / "lying.avi"

    def decode_times(folder: Path) -> Path:
        _ffmpeg("-i", encoded(*_H264, *_B_FRAMES), "-c", "copy", folder / "b.mp4")
        _ffmpeg("-i", folder / "b.mp4", "-c", "copy", "-bsf:v", "setts=ts=DTS-STARTDTS", folder / "dts.mp4")
        return folder / "dts.mp4"

    late = ("-output_ts_offset", "93784")
    uneven = ("-vf", "setpts=PTS+0.03*random(1)/TB", "-vsync", "vfr")
    strict = ("--vote-k", "4", "--vote-n", "6")
    return [
        file_case("joined recordings", "time", joined, 2 * _FRAMES, 1),
        file_case("joined recordings, 5 a second", "time", joined, 2 * _FRAMES, 1, options=("--fps", "5")),
        file_case("pieces of half a second", "time", pieces, _FRAMES, 1),
        file_case("pieces of half a second, 5 a second", "time", pieces, _FRAMES, 1, options=("--fps", "5")),
        file_case("B-frames in AVI", "time", lying, _FRAMES, 1, options=strict),
        file_case("decode times as display times", "time", decode_times, _FRAMES, 1, options=strict),
        file_case("begins at 26 hours", "time", _remuxed("late.ts", *late), _FRAMES, 1),
        file_case("uneven frame times", "time", _converted("vfr.mkv", *uneven, *_H264), _FRAMES, 1),
        file_case(
            "no times at all", "time", _remuxed("raw.h264", codec=(*_H264, *_B_FRAMES)), _FRAMES, 1, options=strict
        ),
    ]


def _damage() -> list[InputCase]:
    def cut(folder: Path) -> Path:
        _ffmpeg("-i", encoded(*_H264), "-c", "copy", "-movflags", "faststart", folder / "a.mp4")
        data = (folder / "a.mp4").read_bytes()
        (folder / "cut.mp4").write_bytes(data[: int(0.75 * len(data))])
        return folder / "cut.mp4"

    def headless(folder: Path) -> Path:
        _ffmpeg("-i", encoded(*_H264), "-c", "copy", folder / "a.mp4")
        data = (folder / "a.mp4").read_bytes()
        (folder / "cut.mp4").write_bytes(data[: len(data) // 2])
        return folder / "cut.mp4"

    def flipped(folder: Path) -> Path:
        _ffmpeg("-i", material() / "attack.mkv", *_H264, "-g", "10", folder / "a.mp4")
        data = bytearray((folder / "a.mp4").read_bytes())
        rng = np.random.default_rng(1)
        for place in rng.integers(int(0.75 * len(data)), int(0.9 * len(data)), 20):
            data[place] ^= 0xFF
        (folder / "damaged.mp4").write_bytes(data)
        return folder / "damaged.mp4"

    def text(folder: Path) -> Path:
        (folder / "a.mp4").write_text("this is no video")
        return folder / "a.mp4"

    def empty(folder: Path) -> Path:
        (folder / "a.mp4").touch()
        return folder / "a.mp4"

    return [
        file_case("MP4 cut at three quarters", "damage", cut, None, 1, says="cut short", slow=True),
        file_case("MP4 without its index", "damage", headless, 0, 0, exit=2, says="cannot be opened: invalid data"),
        file_case("damaged H.264", "damage", flipped, _FRAMES, 1, bad=None, says="arrived damaged|cannot be decoded"),
        file_case("text named .mp4", "damage", text, 0, 0, exit=2, says="cannot be opened: invalid data"),
        file_case("0 bytes", "damage", empty, 0, 0, exit=2, says=r"is empty \(0 bytes\)"),
    ]


def _names() -> list[InputCase]:
    names = ("10:05:00.mp4", "http:camera.mp4", "tcp:1.mp4", "100%25 d%03d.mp4", "Tür # 3?.mp4", "concat:a|b.mp4")
    return [file_case(name, "name", _remuxed(name), _FRAMES, 1) for name in names]


def _images(folder: Path, suffix: str, change: Callable[[Path], None] | None = None, *more: int) -> Path:
    """Write thirty pictures of the scene; the attack comes with the sixth."""
    play = parse_play("sim:?attack=on-sign&duration=10&pace=0&fps=10").play
    for index in range(25, 55):
        cv2.imwrite(str(folder / f"{index:03d}{suffix}"), play.render(index), more)
    if change is not None:
        for path in sorted(folder.iterdir()):
            change(path)
    return folder


def _image_formats() -> list[InputCase]:
    def grey(path: Path) -> None:
        cv2.imwrite(str(path), cv2.cvtColor(read_image(path), cv2.COLOR_BGR2BGRA))

    def sixteen_bits(path: Path) -> None:
        cv2.imwrite(str(path), read_image(path).astype(np.uint16) * 257)

    def progressive(path: Path) -> None:
        cv2.imwrite(str(path), read_image(path), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])

    cases = [
        file_case(suffix, "image", partial(_images, suffix=suffix), 30, 1)
        for suffix in (".jpg", ".png", ".bmp", ".tiff", ".webp", ".jp2", ".ppm")
    ]
    cases.append(file_case(".avif", "image", partial(_images, suffix=".avif"), 30, 1, slow=True))
    cases.append(
        file_case("AVIF of four tiles", "image", partial(_images, suffix=".png", change=_tiled), 30, 1, slow=True)
    )
    for name, suffix, change in (
        ("PNG with alpha", ".png", grey),
        ("PNG of 16 bits", ".png", sixteen_bits),
        ("progressive JPEG", ".jpg", progressive),
    ):
        cases.append(file_case(name, "image", partial(_images, suffix=suffix, change=change), 30, 1))
    return cases


def _tiled(path: Path) -> None:
    """Make a picture an AVIF of two by two tiles."""
    image, tiles = read_image(path), []
    height, width = image.shape[0] // 2, image.shape[1] // 2
    for number, (top, left) in enumerate(((0, 0), (0, width), (height, 0), (height, width))):
        tiles.append(path.with_suffix(f".tile{number}.png"))
        cv2.imwrite(str(tiles[-1]), image[top : top + height, left : left + width])
    words = ["avifenc", "--grid", "2x2", "--speed", "10", *map(str, tiles), str(path.with_suffix(".avif"))]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    for each in (path, *tiles):
        each.unlink()


def _bad_images() -> list[InputCase]:
    def every_third(folder: Path, suffix: str) -> Path:
        _images(folder, suffix)
        for path in sorted(folder.iterdir())[::3]:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
        return folder

    def huge(folder: Path) -> Path:
        _images(folder, ".jpg")
        cv2.imwrite(str(folder / "900.jpg"), np.full((16_000, 16_000, 3), 90, np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 20])
        return folder

    def undecodable(folder: Path) -> Path:
        (folder / "a.jpg").write_text("hello")
        return folder

    def heic(folder: Path) -> Path:
        (folder / "a.heic").write_bytes(HEIC)
        return folder

    def damaged_heic(folder: Path) -> Path:
        (folder / "a.heic").write_bytes(HEIC[:450])
        return folder

    return [
        file_case(
            "every third JPEG cut to a third", "damage", partial(every_third, suffix=".jpg"), 30, 1, bad=10,
            says="is cut short",
        ),
        file_case(
            "every third PNG cut to a third", "damage", partial(every_third, suffix=".png"), 30, 1, bad=10,
            says="is cut short",
        ),
        file_case(
            "one JPEG of 16,000 x 16,000", "damage", huge, 31, 1, bad=1,
            says="has 16000 x 16000 pixels, more than the 64 million", slow=True,
        ),
        file_case("text named .jpg", "damage", undecodable, 1, 0, bad=1, exit=2, says="none of its 1 images"),
        file_case("HEIC", "image", heic, 1, 0),
        file_case("HEIC cut short", "damage", damaged_heic, 1, 0, bad=1, exit=2, says="can be decoded"),
    ]  # fmt: skip


def _folders() -> list[InputCase]:
    def thumbnail(folder: Path) -> Path:
        _ffmpeg("-i", encoded(*_H264), "-c", "copy", folder / "10-00.mp4")
        _ffmpeg("-i", folder / "10-00.mp4", "-frames:v", "1", folder / "10-00.jpg")
        return folder

    def others(folder: Path) -> Path:
        shutil.copy(material() / "attack.mkv", folder / "a.mkv")
        (folder / "notes.txt").write_text("x")
        (folder / "a.xml").write_text("x")
        (folder / "gone.mkv").symlink_to(folder / "nowhere.mkv")
        return folder

    def many(folder: Path) -> Path:
        for name, suffix in (("benign", "mkv"), ("attack", "flv"), ("benign", "m2ts")):
            copy = ("-c", "copy")
            _ffmpeg("-i", material() / f"{name}.mkv", *copy, folder / f"{suffix}-{name}.{suffix}")
        return folder

    def nothing(folder: Path) -> Path:
        return folder

    return [
        file_case("recording with a thumbnail", "folder", thumbnail, _FRAMES, 1, says=r"1 image \(.jpg; 10-00.jpg"),
        file_case("videos among other files", "folder", others, _FRAMES, 1, says=r"3 files \(.*left out"),
        file_case("several kinds of videos", "folder", many, 3 * _FRAMES, 1, slow=True),
        file_case("an empty folder", "folder", nothing, 0, 0, exit=2, says="holds no image and no video"),
    ]


def file_cases() -> list[InputCase]:
    """Return every case of a file or folder."""
    return [
        *_containers(), *_colours(), *_timestamps(), *_damage(), *_names(), *_image_formats(), *_bad_images(),
        *_folders(),
    ]  # fmt: skip
