"""Clips of printed sheets, simulated over a matrix: the whole trial without printer and camera."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taintwatch.demo.sign_scene import draw_street
from taintwatch.footage.processes import Task
from taintwatch.footage.task_map import TaskResult, map_resumably
from taintwatch.sources.camera_model import CAMERA_MODELS
from taintwatch.sources.colour_profile import profile_named
from taintwatch_calibration.camera_model.pinhole_camera import PinholeCamera
from taintwatch_calibration.camera_model.raster import Cutout, Raster, cut_out, page_raster, paste_cutout
from taintwatch_calibration.camera_model.sheet_scene import SheetScene, Shot
from taintwatch_calibration.camera_model.video_recorder import recording
from taintwatch_calibration.printing.sheet_metadata import CraftedAttack, SheetMetadata, read_sheet
from taintwatch_calibration.trial.clips import (
    COLUMNS,
    CONDITIONS,
    ClipMetadata,
    Condition,
    read_clip,
    write_clip_metadata,
)
from taintwatch_calibration.trial.matrix import Cell, Matrix
from taintwatch_models.errors import BadFrame, UsageError
from taintwatch_models.image_file import read_image
from taintwatch_models.storage import write_atomically

__all__ = ["SimulationSettings", "make_scene", "misfit", "sheet_condition", "simulate_matrix"]

_SHEETS_OF_ATTACKS = ("patch", "picture", "stickers", "glasses")


@dataclass(frozen=True, slots=True)
class SimulationSettings:
    """What is simulated and how. Can be sent to another process."""

    sheet: str
    """PDF of the object, with a board of markers."""
    attack: str | None = None
    """PDF whose printable is cut out and stuck on the object; None: the sheet alone."""
    control: str | None = None
    at: tuple[float, float] = (0.5, 0.5)
    """Where its middle goes, in the object's width and height."""
    aim: tuple[float, float] = (0.5, 0.5)
    """Where the object's middle is in the picture, as shares of its width and height."""
    profile: str = "generic"
    background: str | None = None
    width: int = 640
    height: int = 480
    fov_deg: float = 55.0
    fps: float = 15.0
    seconds: float = 2.0
    lead_s: float = 1.0
    """Seconds of an attack's clip before the attack comes."""
    truth: str | int | None = None
    target: str | int | None = None
    """None: what the attack's sheet says."""
    seed: int = 0

    @property
    def camera(self) -> PinholeCamera:
        """The camera. Raises `UsageError`."""
        return PinholeCamera(self.width, self.height, self.fov_deg)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What is to be seen in each cell."""
        if self.attack is None and self.control is None:
            return (sheet_condition(read_sheet(Path(self.sheet))),)
        given = {"attack": self.attack is not None, "control": self.control is not None, "clean": True}
        return tuple(condition for condition in CONDITIONS if given[condition])


def sheet_condition(info: SheetMetadata) -> Condition:
    """Return what a sheet alone is: an attack, a control or a clean object."""
    if info.kind in _SHEETS_OF_ATTACKS:
        return "attack"
    return "control" if info.kind == "control" else "clean"


def simulate_matrix(
    setting: SimulationSettings, matrix: Matrix, out: Path, *, workers: int = 0,
    progress: Callable[[TaskResult], None] = lambda finished: None,
) -> list[Path]:  # fmt: skip
    """Simulate every cell in every condition into `out`; clips that are there already are kept. Returns the videos.

    Each has a JSON that a real clip would have too, and the true poses as NAME.truth.csv. Raises `UsageError`.
    """
    _check(setting)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out}: clips cannot be kept there ({error.strerror or error})") from None
    videos, tasks = [], []
    for cell in matrix.cells:
        for condition in setting.conditions:
            video = out / f"{condition}-{cell.slug}.mp4"
            videos.append(video)
            made_of = _made_of(setting, cell)
            if not _is_there(video, made_of):
                tasks.append(Task(video.name, (asdict(setting), asdict(cell), condition, str(video), made_of)))
    map_resumably(_simulate_clip, tasks, workers=workers, progress=progress)
    return videos


def make_scene(setting: SimulationSettings, cell: Cell, condition: Condition) -> tuple[SheetScene, ClipMetadata]:
    """Return a clip's scene and what its JSON says. Raises `UsageError`."""
    info, plain, attacked = _rasters(setting.sheet, setting.attack, setting.control, setting.at, setting.profile)
    whole = setting.attack is None and setting.control is None
    lead = setting.lead_s if condition == "attack" and not whole else 0.0
    shot = Shot(
        cell.distance_m,
        cell.angle_deg,
        fps=setting.fps,
        duration_s=setting.seconds + lead,
        start_s=lead,
        seed=setting.seed + CONDITIONS.index(condition),
        aim=setting.aim,
    )
    seed = setting.seed + _cell_seed(cell) + CONDITIONS.index(condition)
    camera = CAMERA_MODELS[cell.light](seed)
    background = _background(setting.background, setting.width, setting.height, setting.seed)
    stuck = plain if whole else attacked.get(condition)
    scene = SheetScene(plain, stuck, background, setting.camera, shot, camera)
    clip = ClipMetadata(
        condition,
        setting.fov_deg,
        truth=info.label if setting.truth is None else setting.truth,
        target=_target(setting) if condition == "attack" else None,
        attack=_crafted(setting) if condition != "clean" else None,
        light=cell.light,
        cell=cell,
        attack_from_s=lead,
        markers_mm={str(i): [[x, y] for x, y in c] for i, c in info.board_corners_from_centre().items()} or None,
        source=f"simulated: {cell.light} light, {setting.profile} print, seed {setting.seed}",
    )
    return scene, clip


def _crafted(setting: SimulationSettings) -> CraftedAttack | None:
    """Return the attack that the sheets show, where they know it."""
    return read_sheet(Path(setting.attack or setting.sheet)).attack


def _target(setting: SimulationSettings) -> str | int | None:
    attack = _crafted(setting)
    return setting.target if setting.target is not None or attack is None else attack.target


def _made_of(setting: SimulationSettings, cell: Cell) -> str:
    """Return a digest of the settings, the sheets, the profile and the cell."""
    digest = hashlib.sha256(repr((setting, cell)).encode())
    files = [Path(name) for name in (setting.sheet, setting.attack, setting.control) if name is not None]
    files += [path.with_suffix(".json") for path in files]
    files += [Path(name) for name in (setting.profile, setting.background) if name is not None]
    for path in files:
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()[:32]


def _is_there(video: Path, made_of: str) -> bool:
    if not video.is_file():
        return False
    clip = read_clip(video)
    return clip is not None and clip.made_of == made_of


def _simulate_clip(argument: tuple[dict[str, Any], dict[str, Any], Condition, str, str]) -> int:
    """Simulate one clip in a worker; return its number of frames."""
    values, place, condition, name, made_of = argument
    setting, cell, video = (
        SimulationSettings(**{**values, "at": tuple(values["at"]), "aim": tuple(values["aim"])}),
        Cell(**place),
        Path(name),
    )
    scene, clip = make_scene(setting, cell, condition)
    with recording(video) as recorder:
        for index in range(scene.frame_count):
            recorder.add(scene.render(index), index / scene.fps)
    _write_truth(video.with_suffix(".truth.csv"), scene)
    write_clip_metadata(video, replace(clip, made_of=made_of))  # last: with it the clip is there
    return scene.frame_count


def _write_truth(path: Path, scene: SheetScene) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for index in range(scene.frame_count):
        pose = scene.pose(index)
        times = index / scene.fps, (index + 1) / scene.fps
        writer.writerow([f"{value:.5f}" for value in (*times, pose.distance_m, pose.angle_deg)])
    write_atomically(path, text.getvalue().encode())


@lru_cache(maxsize=1)
def _rasters(
    sheet: str, attack: str | None, control: str | None, at: tuple[float, float], profile: str
) -> tuple[SheetMetadata, Raster, dict[Condition, Raster]]:
    """Return the sheet's description, its raster, and what it looks like with each piece stuck on."""
    printed, pdf = profile_named(profile), Path(sheet)
    info = read_sheet(pdf)
    plain = page_raster(pdf, info, printed)
    found: dict[Condition, Raster] = {}
    pieces: tuple[tuple[Condition, str | None], ...] = (("attack", attack), ("control", control))
    for condition, piece in pieces:
        if piece is not None:
            path = Path(piece)
            found[condition] = paste_cutout(plain, info, Cutout(cut_out(path, read_sheet(path), printed), *at))
    return info, plain, found


@lru_cache(maxsize=1)
def _background(name: str | None, width: int, height: int, seed: int) -> NDArray[np.uint8]:
    if name is None:
        return draw_street(width, height, seed)
    try:
        return read_image(Path(name))
    except BadFrame as error:
        raise UsageError(f"{error}; give a picture as background") from None


def _check(setting: SimulationSettings) -> None:
    """Say at once what would fail in every worker. Raises `UsageError`."""
    _ = setting.camera
    if not 0 < setting.fps <= 240 or not 0 < setting.seconds <= 3600 or not 0 <= setting.lead_s <= 3600:
        raise UsageError("clips have up to 240 frames a second and last up to an hour")
    if not all(math.isfinite(value) and -5 <= value <= 6 for value in setting.at):
        raise UsageError("the piece's place is given in the object's width and height: 0.5,0.5 is its middle")
    if not all(0 <= share <= 1 for share in setting.aim):
        raise UsageError("--aim is given in shares of the picture: 0.5,0.5 is its middle")
    profile_named(setting.profile)
    if setting.background is not None:
        _background(setting.background, setting.width, setting.height, setting.seed)
    _rasters(setting.sheet, setting.attack, setting.control, setting.at, setting.profile)


def misfit(setting: SimulationSettings, matrix: Matrix) -> str | None:
    """Return one sentence where the sheet does not fit into the picture at some distance; None where it always does."""
    info = read_sheet(Path(setting.sheet))
    if info.board is None:
        return None
    board, camera = info.board.board, setting.camera
    least = max(board.width_mm / camera.width, board.height_mm / camera.height) * camera.focal_px / 1000
    cut = [f"{distance:g}" for distance in matrix.distances_m if distance < least]
    if not cut:
        return None
    return (
        f"at {', '.join(cut)} m the board of markers ({board.width_mm:.0f} x {board.height_mm:.0f} mm) does not fit "
        f"into the picture: it does from {math.ceil(least * 100) / 100:g} m on; where no marker is seen, `trial "
        "score` takes the true poses beside the clips"
    )


def _cell_seed(cell: Cell) -> int:
    return int.from_bytes(hashlib.sha256(cell.slug.encode()).digest()[:3], "big")
