"""Signed manifests: the hash of each file of a model, signed by whoever approved it; what was exchanged is refused.

A manifest is JSON beside the model, NAME.manifest.json: names, SHA-256 of contents, when, and an Ed25519 signature.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from taintwatch_models.errors import ConfigError, ModelError, UsageError
from taintwatch_models.faces.face_file import settings_path
from taintwatch_models.model_files import ModelSettings, calibration_path, cmag_path, is_torch, reference_path
from taintwatch_models.model_source import external_files
from taintwatch_models.signatures import check_signature
from taintwatch_models.storage import STORED, parse_json, read_bounded, read_json, validated, write_atomically

__all__ = ["Manifest", "manifest_path", "model_parts", "require_signed", "unsigned_parts", "write_manifest"]

_FORMAT = "taintwatch-manifest/1"
_LARGEST = 1_000_000  # bytes


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was approved."""

    __pydantic_config__ = STORED

    files: Mapping[str, str]
    """File name -> SHA-256 (hex) of its content."""
    created: str
    """UTC, ISO 8601."""
    signature: str = ""

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{_FORMAT}|{self.created}|" + json.dumps(self.files, sort_keys=True)


def manifest_path(settings: ModelSettings) -> Path:
    """Return where the manifest is, or should be: beside the model; of the bundled one beside its own calibration.

    Raises `ConfigError` where nothing names a folder.
    """
    named = settings.path or settings.calibration or settings.reference or settings.cmag
    if named is None:
        raise ConfigError("there is nothing to sign: the bundled model's files are part of the installation")
    path = Path(named)
    stem = path.name.removesuffix(".onnx").removesuffix(".radar").removesuffix(".json").removesuffix(".npz")
    return path.with_name(f"{stem}.manifest.json")


def model_parts(settings: ModelSettings) -> tuple[Path, ...]:
    """Return every file that loading this model reads, without the installation's own. Raises `ModelError`.

    Raises `ConfigError` for a model that is no file.
    """
    found = [Path(named) for named in (settings.calibration, settings.reference, settings.cmag) if named is not None]
    found += [Path(named) for named in (settings.labels, settings.preprocessing) if named is not None]
    if settings.path is not None:
        found += _of_model(settings, settings.path)
    for path in [path for path in found if path.is_file()]:
        if path.suffix == ".toml":
            found += _labels_of(path)
        elif path.name.endswith(".calibration.json") or path == calibration_path(settings):
            found += _fills_of(path)
    there = dict.fromkeys(path for path in found if path.is_file())
    names = [path.name for path in there]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"two of the model's files are called {twice}; give each a name of its own to sign them")
    return tuple(there)


def _of_model(settings: ModelSettings, named: str) -> list[Path]:
    if named.startswith("torchvision:"):
        raise ConfigError(f"{named} is no file, so it cannot be signed; prepare it with `taintwatch model prepare`")
    path = Path(named)
    stem = path.name.removesuffix(".onnx").removesuffix(".radar")
    beside = [path.with_name(f"{stem}{suffix}") for suffix in (".onnx", ".radar.onnx", ".objects.npz")]
    parts = [path, *beside, calibration_path(settings), reference_path(settings), cmag_path(settings)]
    parts += [path.with_suffix(".toml"), *_of_faces(settings_path(path))]
    if path.suffix == ".onnx" and path.is_file() and not is_torch(named):
        parts += [path.parent / name for name in external_files(path)]
    return parts


def _of_faces(path: Path) -> list[Path]:
    """Return a face model's settings and the mean face that they name, where there are any."""
    if not path.is_file():
        return []
    try:
        fill = read_json(path, _LARGEST).get("fill")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{path}: not readable ({error})") from None
    return [path, path.parent / fill] if isinstance(fill, str) else [path]


def _labels_of(description: Path) -> list[Path]:
    try:
        labels = tomllib.loads(read_bounded(description, _LARGEST).decode()).get("labels")
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{description}: not a readable TOML file ({error})") from None
    return [description.parent / labels] if isinstance(labels, str) else []


def _fills_of(calibration: Path) -> list[Path]:
    """Return the pictures that a calibration fills regions with, where it names any."""
    try:
        document = read_json(calibration, _LARGEST)
        fills = [document[section]["fill"] for section in ("tight", "paper") if section in document]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{calibration}: not a readable calibration ({error})") from None
    return [Path(fill) for fill in fills if isinstance(fill, str)]


def write_manifest(path: Path, parts: tuple[Path, ...], created: str, sign: Callable[[str], str]) -> Manifest:
    """Sign these files and write their manifest whole or not at all. Raises `UsageError`."""
    try:
        files = {part.name: _hash(part) for part in parts}
        bare = Manifest(files, created)
        manifest = Manifest(files, created, sign(bare.text))
        document = {"format": _FORMAT, **asdict(manifest)}
        write_atomically(path, json.dumps(document, indent=2).encode() + b"\n")
    except OSError as error:
        raise UsageError(f"{error.filename or path} cannot be read or written: {error.strerror}.") from error
    return manifest


def unsigned_parts(path: Path, parts: tuple[Path, ...], public: str) -> tuple[str, ...]:
    """Return what is wrong with these files by the manifest at `path`, one sentence each; empty where all is well.

    `public`: the key (base64) that must have signed it. Raises `ConfigError` where there is no manifest of that key.
    """
    manifest = _read(path)
    if not check_signature(public, manifest.text, manifest.signature):
        raise ConfigError(f"{path}: was not signed with this key, or was changed since; sign the files again")
    wrong = []
    for part in parts:
        expected = manifest.files.get(part.name)
        if expected is None:
            wrong.append(f"{part} is not in the manifest {path.name}")
        elif _hash(part) != expected:
            wrong.append(f"{part} is not the file that was signed")
    return tuple(wrong)


def require_signed(settings: ModelSettings, public: str) -> None:
    """Raise `ConfigError` where a file that loading this model reads was not signed with this key (base64)."""
    parts = model_parts(settings)
    if not parts:
        return
    wrong = unsigned_parts(manifest_path(settings), parts, public)
    if wrong:
        rest = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise ConfigError(
            f"{wrong[0]}{rest}, and model.signed_by takes only signed ones; `taintwatch calibrate verify` lists them, "
            "`taintwatch calibrate sign` signs them"
        )


def _read(path: Path) -> Manifest:
    try:
        document = parse_json(read_bounded(path, _LARGEST))
        if not isinstance(document, dict) or document.pop("format", None) != _FORMAT:
            raise ValueError(f"its format is not '{_FORMAT}'")
        return validated(Manifest, document)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no manifest; sign the model's files with `taintwatch calibrate sign`"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a readable manifest ({error}); sign the files again") from None


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
