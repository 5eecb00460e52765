"""Colour profiles: what a printer and a camera make of a colour, for the simulator, crafting and the chart."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taintwatch_models.errors import UsageError
from taintwatch_models.storage import write_atomically

__all__ = [
    "GENERIC_PROFILE",
    "ColourProfile",
    "chart_colours",
    "encoded",
    "linear",
    "printed_picture",
    "profile_named",
    "read_profile",
    "write_profile",
]

FORMAT = "taintwatch-colour/1"

Triple = tuple[float, float, float]


def linear(srgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the light of sRGB values in [0, 1] (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((np.maximum(srgb, 0.0) + 0.055) / 1.055) ** 2.4)


def encoded(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sRGB values in [0, 1] of light in [0, 1]; what lies outside is clipped."""
    light = np.clip(light, 0.0, 1.0)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


@dataclass(frozen=True, slots=True)
class ColourProfile:
    """From what is sent to the printer to what the camera sees: a curve for each channel, then a 3 x 3 matrix.

    `seen = encoded(matrix @ (curve_r(r), curve_g(g), curve_b(b)))`, all in [0, 1], red-green-blue. Curves give light.
    """

    name: str
    curves: tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]
    """Light at evenly spaced sRGB values from 0 to 1, linear between them; never falling; at least two values."""
    matrix: tuple[Triple, Triple, Triple]
    """Mixes the three lights into the camera's."""
    palette: tuple[Triple, ...]
    """sRGB triples in [0, 1] that print and photograph well: what a non-printability score measures against."""
    residual: float | None = None
    """Mean CIEDE2000 between the chart as photographed and as the profile tells it; None where none was measured."""
    residual_worst: float | None = None
    chart: str = ""
    """The photo that it was fitted to."""

    def seen(self, srgb: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what the camera sees of printed sRGB values (..., 3) in [0, 1]."""
        knots = [np.linspace(0.0, 1.0, len(curve)) for curve in self.curves]
        light = [np.interp(srgb[..., c], knots[c], self.curves[c]) for c in range(3)]
        return encoded(np.stack(light, axis=-1) @ np.array(self.matrix).T)


def chart_colours(levels: int = 5) -> tuple[Triple, ...]:
    """Return the colours of the chart, in its order: a cube of `levels` steps a side, then 19 greys."""
    steps = [index / (levels - 1) for index in range(levels)]
    cube = [(r, g, b) for r in steps for g in steps for b in steps]
    return (*cube, *((grey / 18, grey / 18, grey / 18) for grey in range(19)))


def printed_picture(image: NDArray[np.uint8], profile: ColourProfile) -> NDArray[np.uint8]:
    """Return a blue-green-red(-alpha) uint8 picture as it looks once printed and photographed."""
    tables = [_light_table(curve) for curve in profile.curves]
    light = np.stack([tables[c][image[..., 2 - c]] for c in range(3)], axis=-1)  # (H, W, 3), red first
    mixed = light @ np.array(profile.matrix, np.float32).T
    steps = np.clip(mixed * (_STEPS - 1) + 0.5, 0, _STEPS - 1).astype(np.int32)
    out = image.copy()
    out[..., :3] = _ENCODED[steps][..., ::-1]
    return out


_STEPS = 1 << 15  # of light; at its darkest a step is a tenth of a grey level
_ENCODED = np.rint(encoded(np.linspace(0.0, 1.0, _STEPS)) * 255.0).astype(np.uint8)


def _light_table(curve: tuple[float, ...]) -> NDArray[np.float32]:
    """Return the light of each of the 256 values of a channel."""
    return np.interp(np.linspace(0.0, 1.0, 256), np.linspace(0.0, 1.0, len(curve)), curve).astype(np.float32)


def _generic() -> ColourProfile:
    """A common inkjet on plain paper before a webcam: no deep black, no pure white, paler colours."""
    values = np.linspace(0.0, 1.0, 17)
    curve = linear(0.10 + 0.84 * values)
    grey, own = 0.06, 0.82
    matrix = np.full((3, 3), grey) + np.eye(3) * own
    profile = ColourProfile(
        "generic",
        (tuple(curve.tolist()),) * 3,
        tuple(tuple(row) for row in (matrix / matrix.sum(axis=1, keepdims=True)).tolist()),  # type: ignore[arg-type]
        (),
    )
    seen = profile.seen(np.array(chart_colours(3)))
    return ColourProfile(
        profile.name, profile.curves, profile.matrix, tuple((r, g, b) for r, g, b in seen.round(4).tolist())
    )


GENERIC_PROFILE = _generic()
"""A guess for those who measured none. `taintwatch calibrate colour` fits one to a printer and a camera."""


def write_profile(profile: ColourProfile, path: Path) -> None:
    """Write a profile as JSON, whole or not at all. Raises `UsageError`."""
    try:
        write_atomically(path, (json.dumps({"format": FORMAT, **asdict(profile)}, indent=1) + "\n").encode())
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror or error}): choose another --out.") from error


def profile_named(name: str | None) -> ColourProfile | None:
    """Return `generic`, the profile in a file, or None for `none` and None. Raises `UsageError`."""
    if name is None or name == "none":
        return None
    return GENERIC_PROFILE if name == "generic" else read_profile(Path(name))


def read_profile(path: Path) -> ColourProfile:
    """Read a profile. Raises `UsageError` where it is missing, unreadable or incomplete."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"{path}: not a readable colour profile ({reason}); make one with `taintwatch calibrate colour`"
        ) from None
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
        raise UsageError(f"{path}: not a colour profile ('{FORMAT}'); make one with `taintwatch calibrate colour`")
    try:
        return _built(document)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: a damaged colour profile ({error}); make it anew") from None


def _built(document: dict[str, object]) -> ColourProfile:
    document = dict(document)
    curves = [[float(v) for v in curve] for curve in document.pop("curves")]  # type: ignore[attr-defined]
    matrix = np.array(document.pop("matrix"), np.float64)
    palette = np.array(document.pop("palette"), np.float64).reshape(-1, 3)
    if len(curves) != 3 or min(map(len, curves)) < 2 or matrix.shape != (3, 3):
        raise ValueError("it needs three curves of two values or more and a 3 x 3 matrix")
    if any(b < a for curve in curves for a, b in itertools.pairwise(curve)):
        raise ValueError("a curve falls")
    return ColourProfile(
        curves=tuple(map(tuple, curves)),  # type: ignore[arg-type]
        matrix=tuple(map(tuple, matrix.tolist())),  # type: ignore[arg-type]
        palette=tuple((r, g, b) for r, g, b in palette.tolist()),
        **document,  # type: ignore[arg-type]
    )
