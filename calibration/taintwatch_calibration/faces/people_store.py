"""The folder of enrolled people: aligned photographs and their embeddings, readable by their owner alone.

    faces/                    0700
      settings.json           0600  the embedding that all were enrolled with
      people/NAME/            0700
        001.png ...           0600  aligned faces, nothing around them
        embeddings.npy        0600
      model/                  0700  what `taintwatch face train` makes of them

A person's folder appears whole or not at all, and goes whole.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import BadFrame, UsageError
from taintwatch_models.image_file import read_image
from taintwatch_models.storage import write_atomically

__all__ = ["EnrolledPerson", "PeopleStore"]

_NAME = re.compile(r"\w[\w .'-]{0,63}")
_EMBEDDINGS = "embeddings.npy"


@dataclass(frozen=True, slots=True, eq=False)
class EnrolledPerson:
    """One enrolled person."""

    name: str
    faces: NDArray[np.uint8]
    """(N, size, size, 3) blue-green-red."""
    embeddings: NDArray[np.float32]
    """(N, dimensions)."""


class PeopleStore:
    """Reads and writes the folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.model = root / "model"
        self._people = root / "people"
        self._settings = root / "settings.json"

    def prepare(self) -> None:
        """Make the folder where it is not there. Raises `UsageError` where it cannot be used, or others may read it."""
        try:
            for folder in (self.root, self._people, self.model):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.root}: cannot be used for photographs ({error.strerror})") from None
        self._check_private()

    def check(self, sha256: str, path: Path) -> None:
        """Raises `UsageError` where others may read the folder, or its people were enrolled with another embedding."""
        self._check_private()
        known = self.settings()
        if known is not None and known["sha256"] != sha256:
            raise UsageError(
                f"{self.root}: its people were enrolled with the embedding {known['embedding']}, not with {path}; give "
                "that one, or another --folder"
            )

    def _check_private(self) -> None:
        if self.root.exists() and stat.S_IMODE(self.root.stat().st_mode) & 0o077:
            raise UsageError(f"{self.root}: other users can read it, and it holds photographs; chmod 700 {self.root}")

    def bind(self, sha256: str, path: Path, preprocessing: str | None) -> None:
        """Remember the embedding."""
        told = {
            "embedding": str(path.resolve()),
            "sha256": sha256,
            "preprocessing": preprocessing and str(Path(preprocessing).resolve()),
        }
        write_atomically(self._settings, (json.dumps(told, indent=2) + "\n").encode(), mode=0o600)

    def settings(self) -> dict[str, str] | None:
        """Return what `bind` remembered; None before. Raises `UsageError` where it is damaged."""
        try:
            known = json.loads(self._settings.read_text(encoding="utf-8"))
            return {key: known[key] for key in ("embedding", "sha256", "preprocessing")}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{self._settings}: damaged ({error}); remove it and enrol with --embedding") from None

    def names(self) -> tuple[str, ...]:
        """Return the enrolled, in alphabetical order: the order of the model's labels."""
        if not self._people.is_dir():
            return ()
        return tuple(sorted(folder.name for folder in self._people.iterdir() if not folder.name.startswith(".")))

    def folder(self, name: str) -> Path:
        """Return where a person's data lies. Raises `UsageError` for a name that cannot be one."""
        if not _NAME.fullmatch(name) or name in ("stranger", "nobody"):
            raise UsageError(
                f"{name!r} cannot be a person's name here: give letters, digits, spaces, dots, dashes, at most 64, "
                "and neither 'stranger' nor 'nobody'"
            )
        return self._people / name

    def read(self, name: str) -> EnrolledPerson:
        """Read one person. Raises `UsageError` where there is no such person, or the data is damaged."""
        folder = self.folder(name)
        if not folder.is_dir():
            raise UsageError(f"nobody is enrolled as {name!r}; there are: {', '.join(self.names()) or 'none yet'}")
        try:
            photos = [read_image(path) for path in sorted(folder.glob("*.png"))]
            embeddings = np.load(folder / _EMBEDDINGS, allow_pickle=False)
        except (OSError, ValueError, BadFrame) as error:
            raise UsageError(f"{folder}: damaged ({error}); remove {name!r} and enrol again") from None
        if not photos or len(photos) != len(embeddings):
            raise UsageError(f"{folder}: damaged (a photograph is missing); remove {name!r} and enrol again")
        return EnrolledPerson(name, np.stack(photos), embeddings)

    def write(self, person: EnrolledPerson) -> None:
        """Write a person's folder, in place of an earlier one. Raises `UsageError` where it cannot be written."""
        target = self.folder(person.name)
        part = Path(tempfile.mkdtemp(prefix=".", dir=self._people))  # 0700
        try:
            for number, face in enumerate(person.faces, start=1):
                write_atomically(part / f"{number:03d}.png", cv2.imencode(".png", face)[1].tobytes(), mode=0o600)
            buffer = io.BytesIO()
            np.save(buffer, person.embeddings)
            write_atomically(part / _EMBEDDINGS, buffer.getvalue(), mode=0o600)
            if target.exists():
                self._erase(target)
            part.rename(target)
        except OSError as error:
            raise UsageError(f"{target}: cannot be written ({error.strerror})") from None
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def remove(self, name: str) -> bool:
        """Erase a person, and every model that was trained on that face. Say whether there was a model.

        Raises `UsageError` for an unknown person, or where the files cannot be erased.
        """
        folder = self.folder(name)
        if not folder.is_dir():
            raise UsageError(f"nobody is enrolled as {name!r}; there are: {', '.join(self.names()) or 'none yet'}")
        try:
            trained = self.model.is_dir() and any(self.model.iterdir())
            if self.model.is_dir():
                shutil.rmtree(self.model)
            self._erase(folder)
        except OSError as error:
            raise UsageError(f"{folder}: cannot be erased ({error.strerror})") from None
        return trained

    def _erase(self, folder: Path) -> None:
        """Take a folder out of the list at once, then erase it: half a person is never read."""
        gone = Path(tempfile.mkdtemp(prefix=".", dir=self._people))
        folder.rename(gone / "gone")
        shutil.rmtree(gone)
