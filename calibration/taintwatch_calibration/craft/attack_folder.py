"""The folder of a crafted attack: pictures, masks, the recipe with all hashes, and what was measured."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from taintwatch_calibration.printing.sheet_metadata import CraftedAttack
from taintwatch_models.errors import UsageError
from taintwatch_models.image_file import read_image
from taintwatch_models.storage import write_atomically

__all__ = ["Folder", "as_picture", "crafted_attack", "read_recipe", "toml_of", "whole"]

_SHOWN, _COLUMNS = 8, 4  # pictures of a preview


def whole(values: Tensor) -> Tensor:
    """Return values in [0, 1] rounded to 255ths: what a PNG keeps of them."""
    return (values.clamp(0, 1) * 255).round() / 255


def as_picture(values: Tensor) -> NDArray[np.uint8]:
    """Return (3, h, w) RGB in [0, 1], or (1, h, w), as OpenCV's (h, w, 3) or (h, w) uint8."""
    picture = (values.detach().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return np.ascontiguousarray(picture[:, :, ::-1] if picture.shape[2] == 3 else picture[:, :, 0])


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of one attack. Every file is written whole or not at all."""

    path: Path

    @classmethod
    def at(cls, path: Path) -> Folder:
        """Make the folder. Raises `UsageError` where that is impossible."""
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{path}: cannot be made a folder ({error.strerror or error}); choose another --out"
            ) from None
        return cls(path)

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    def picture(self, name: str, picture: NDArray[np.uint8]) -> dict[str, str]:
        """Write a PNG; return its name and hash for the recipe. Raises `UsageError`."""
        _, png = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])
        content = png.tobytes()
        try:
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path / name, content)
        except OSError as error:
            raise UsageError(f"{self.path / name}: cannot be written ({error.strerror or error})") from None
        return {"file": name, "sha256": hashlib.sha256(content).hexdigest()}

    def recipe(self, tables: Mapping[str, Mapping[str, Any]]) -> Path:
        """Write recipe.toml from tables of plain values and dataclasses; None is left out."""
        text = "# Made by `taintwatch craft`; see docs/crafting.md.\n" + toml_of(tables)
        path = self.path / "recipe.toml"
        write_atomically(path, text.encode())
        return path

    def finish(self) -> None:
        """Take away what only an interrupted run needs."""
        self.checkpoint.unlink(missing_ok=True)

    def contact(self, pixels: Tensor) -> None:
        """Rewrite preview.png with the first pictures (B, 3, H, W) of a batch."""
        shown = [as_picture(picture) for picture in pixels[:_SHOWN]]
        blank = np.zeros_like(shown[0])
        shown += [blank] * (-len(shown) % _COLUMNS) if len(shown) > _COLUMNS else []
        width = min(_COLUMNS, len(shown))
        rows = [np.concatenate(shown[start : start + width], 1) for start in range(0, len(shown), width)]
        self.picture("preview.png", np.concatenate(rows, 0))


def read_recipe(folder: Path) -> dict[str, Any]:
    """Read a folder's recipe, checking that its pictures are the ones that were written.

    Raises `UsageError` where the recipe or a picture is missing, or a picture was changed.
    """
    path = folder / "recipe.toml"
    try:
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: not a readable recipe ({error}); make one with `taintwatch craft`") from None
    for entry in recipe.get("files", {}).get("pictures", []):
        picture = folder / entry["file"]
        content = picture.read_bytes() if picture.is_file() else None
        if content is None or hashlib.sha256(content).hexdigest() != entry["sha256"]:
            what = "is missing" if content is None else "is not the one that was crafted (its hash differs)"
            raise UsageError(f"{picture} {what}; craft again")
    return recipe


def crafted_attack(folder: Path, index: int = 0) -> tuple[Path, CraftedAttack]:
    """Return the picture of a folder's pattern number `index` and what its recipe says of it, to print it.

    Raises `UsageError` as `read_recipe` does, and where the attack is none to print.
    """
    recipe = read_recipe(folder)
    names = [entry["file"] for entry in recipe.get("files", {}).get("pictures", [])]
    patterns = [name for name in names if Path(name).name.startswith("pattern")]
    if not patterns or "pattern" not in recipe:
        kind = recipe["attack"]["kind"]
        raise UsageError(f"{folder}: a {kind} attack changes each picture by itself; there is no pattern to print")
    if not 0 <= index < len(patterns):
        raise UsageError(
            f"{folder} holds {len(patterns)} pattern{'s' * (len(patterns) > 1)}; there is no number {index + 1}"
        )
    picture = folder / patterns[index]
    content = (folder / "recipe.toml").read_bytes()
    return picture, CraftedAttack(
        kind=str(recipe["attack"]["kind"]),
        target=recipe["target"].get("name"),
        size=_share(recipe["pattern"]["placement"], picture),
        recipe_sha256=hashlib.sha256(content).hexdigest(),
        model_sha256=str(recipe["model"]["sha256"]),
    )


def _share(placement: Mapping[str, Any], picture: Path) -> float:
    """Return the width of what shows as a share of the picture's; of an overlay: of what is not transparent."""
    if not placement["overlay"]:
        return round(float(np.mean(placement["sizes"])), 4)
    pixels = read_image(picture, cv2.IMREAD_UNCHANGED)
    columns = np.flatnonzero(pixels[..., 3].any(axis=0))
    return round(float((columns[-1] - columns[0] + 1) / pixels.shape[1]), 4)


def toml_of(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Return tables of plain values and dataclasses as TOML; None is left out."""
    text = ""
    for name, table in tables.items():
        lines = (f"{key} = {_toml(value)}\n" for key, value in table.items() if value is not None)
        text += f"\n[{name}]\n{''.join(lines)}"
    return text


def _toml(value: Any) -> str:
    """Return a value as TOML: JSON's strings, numbers and lists are; tables go inline, without what is None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        inner = ", ".join(f"{json.dumps(str(k))} = {_toml(v)}" for k, v in value.items() if v is not None)
        return f"{{ {inner} }}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(_toml('any' if item is None else item) for item in value)}]"
    if isinstance(value, Path):
        value = str(value)
    return json.dumps(value)
