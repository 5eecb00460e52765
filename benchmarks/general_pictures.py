"""Render general pictures: what the default detector learns beside a site's own frames, in place of photographs.

`python -m benchmarks.general_pictures --out general.npz` makes the file that comes with the package: dead
leaves (Lee, Mumford and Huang, IJCV 2001) whose sizes follow a power law, textures with 1/f spectra, shaded shapes,
shadows, horizons, blur, letters; each then seen with its own exposure, sharpness, noise and compression.
"""

from __future__ import annotations

from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from taintwatch_models.detection.general import pack

__all__ = ["main", "render_picture"]

Image = NDArray[np.float32]
"""(size, size, 3), RGB, about 0 to 1."""
Mask = NDArray[np.float32]
"""(size, size), 0 to 1."""

_REFERENCE = 224
"""Sizes below are pixels of a picture of this side."""


def render_picture(seed: int, index: int, size: int = _REFERENCE) -> NDArray[np.uint8]:
    """Return one (size, size, 3) RGB picture; it depends on the seed and its index only."""
    rng = np.random.default_rng([seed, index])
    image = _texture(rng, size) * _shading(rng, size)
    if rng.random() < 0.5:
        image = _with_floor(rng, image, size)
    if rng.random() < 0.35:  # what lies behind is out of focus
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(1, 5) * size / _REFERENCE)
    image = _with_leaves(rng, image, size)
    if rng.random() < 0.2:
        _write_letters(rng, image, size)
    return _seen(rng, image, size)


def _spectrum_noise(rng: np.random.Generator, size: int, slope: float) -> Mask:
    """Noise with a 1/f^slope spectrum, mean 0, deviation 1."""
    rows, columns = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    frequency = np.sqrt(rows**2 + (columns * rng.uniform(0.6, 1.6)) ** 2)
    frequency[0, 0] = 1
    spectrum = (rng.normal(size=frequency.shape) + 1j * rng.normal(size=frequency.shape)) / frequency**slope
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, (size, size))
    return np.asarray(noise / (noise.std() + 1e-9), np.float32)


def _colour(rng: np.random.Generator) -> Image:
    """Any luminance, mostly little saturation, hues of soil, plants and sky more often than others: (3,)."""
    luminance = np.clip(rng.beta(1.4, 1.6), 0.02, 0.98)
    saturation = rng.uniform(0.5, 1) if rng.random() < 0.12 else rng.beta(1.2, 4.0)
    low, high = [(10, 50), (60, 140), (180, 250), (0, 360)][rng.choice(4, p=[0.4, 0.2, 0.2, 0.2])]
    hue = rng.uniform(low, high)
    rgb = cv2.cvtColor(np.array([[[hue, saturation, 1.0]]], np.float32), cv2.COLOR_HSV2RGB)[0, 0]
    rgb = rgb / max(float(rgb @ np.array([0.3, 0.59, 0.11])), 1e-3) * luminance
    return np.asarray(np.clip(rgb, 0, 1), np.float32)


def _texture(rng: np.random.Generator, size: int) -> Image:
    kind = rng.random()
    if kind < 0.25:
        return np.ones((size, size, 3), np.float32) * _colour(rng)
    if kind < 0.7:
        return _cloudy(rng, size)
    if kind < 0.82:
        return _striped(rng, size)
    return _grainy(rng, size) if kind < 0.92 else _hairy(rng, size)


def _cloudy(rng: np.random.Generator, size: int) -> Image:
    noise = _spectrum_noise(rng, size, rng.uniform(0.6, 1.6))
    share = np.clip(0.5 + 0.5 * noise * rng.uniform(0.4, 1.2), 0, 1)[..., None] * rng.uniform(0, 0.7)
    mixed = _colour(rng) * (1 - share) + _colour(rng) * share
    return np.asarray(mixed * np.exp(rng.uniform(0.03, 0.35) * noise)[..., None], np.float32)


def _striped(rng: np.random.Generator, size: int) -> Image:
    """Stripes or checks, with soft or hard edges."""
    period, angle = rng.uniform(4, 40) * size / _REFERENCE, rng.uniform(0, np.pi)
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    wave = np.sin(2 * np.pi * (columns * np.cos(angle) + rows * np.sin(angle)) / period)
    if rng.random() < 0.5:
        across = (rows * np.cos(angle) - columns * np.sin(angle)) / (period * rng.uniform(0.5, 2))
        wave = np.minimum(wave, np.sin(2 * np.pi * across))
    share = np.clip(wave * rng.uniform(0.5, 4) + 0.5, 0, 1)[..., None] * rng.uniform(0.2, 1)
    return np.asarray(_colour(rng) * (1 - share) + _colour(rng) * share, np.float32)


def _grainy(rng: np.random.Generator, size: int) -> Image:
    """Pebbles, leaves, crumbs: hundreds of small ellipses."""
    base, other, radius = _colour(rng), _colour(rng), rng.uniform(1.5, 7) * size / _REFERENCE
    image = np.ones((size, size, 3), np.float32) * base
    for _ in range(int(rng.integers(100, 500))):
        shade = np.clip((base * rng.uniform(0, 1) + other) * rng.uniform(0.4, 1.3), 0, 1)
        centre = (int(rng.integers(0, size)), int(rng.integers(0, size)))
        axes = (max(1, int(radius * rng.uniform(0.5, 2))), max(1, int(radius * rng.uniform(0.3, 1))))
        cv2.ellipse(image, centre, axes, rng.uniform(0, 180), 0, 360, shade.tolist(), -1, cv2.LINE_AA)
    return image


def _hairy(rng: np.random.Generator, size: int) -> Image:
    """Hair, grass, straw: hundreds of lines about one direction."""
    image, shade = np.ones((size, size, 3), np.float32) * _colour(rng), _colour(rng)
    main, length = rng.uniform(0, np.pi), rng.uniform(8, 50) * size / _REFERENCE
    for _ in range(int(rng.integers(150, 600))):
        angle, x, y = main + rng.normal(0, 0.35), rng.uniform(0, size), rng.uniform(0, size)
        end = (int(x + length * np.cos(angle)), int(y + length * np.sin(angle)))
        colour = np.clip(shade * rng.uniform(0.3, 1.5), 0, 1).tolist()
        cv2.line(image, (int(x), int(y)), end, colour, 1 if rng.random() < 0.7 else 2, cv2.LINE_AA)
    return image


def _shading(rng: np.random.Generator, size: int) -> Image:
    """Light from one side: (size, size, 1)."""
    rows, columns = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    slope = columns * np.cos(angle) + rows * np.sin(angle)
    return np.asarray(np.exp(slope * rng.normal(0, 0.7))[..., None], np.float32)


def _with_floor(rng: np.random.Generator, image: Image, size: int) -> Image:
    """Ground and sky, wall and floor: another texture below a nearly level line."""
    level = rng.uniform(0.2, 0.8) * size
    corners = [(0, level + rng.normal(0, 10)), (size, level + rng.normal(0, 10)), (size, size), (0, size)]
    cover = np.zeros((size, size), np.float32)
    cv2.fillPoly(cover, [np.array(corners).astype(np.int32)], 1.0, cv2.LINE_AA)
    floor = _texture(rng, size) * _shading(rng, size)
    return np.asarray(image * (1 - cover[..., None]) + floor * cover[..., None], np.float32)


def _with_leaves(rng: np.random.Generator, image: Image, size: int) -> Image:
    """A few large things, or many whose radii follow a power law, the large ones behind."""
    count = int(rng.choice([2, 5, 12, 30, 80], p=[0.2, 0.25, 0.25, 0.2, 0.1]))
    largest, least = rng.uniform(0.12, 0.5) * size, 0.02 * size
    shares = rng.random(count)
    radii = (least**-1.5 + shares * (largest**-1.5 - least**-1.5)) ** (-1 / 1.5) if count > 5 else None
    radii = (0.3 + 0.7 * shares) * largest if radii is None else radii
    textures = [_texture(rng, size) for _ in range(min(count, 6))]
    for radius in np.sort(radii)[::-1]:
        image = _with_leaf(rng, image, textures[rng.integers(len(textures))], float(radius), size)
    return image


def _with_leaf(rng: np.random.Generator, image: Image, texture: Image, radius: float, size: int) -> Image:
    cover, centre = _shape(rng, radius, size)
    if rng.random() < 0.5:
        texture = np.roll(texture, tuple(rng.integers(0, size, 2)), (0, 1))
    if rng.random() < 0.6:
        texture = texture * np.clip(_colour(rng) * 1.2 + 0.3, 0, 1.5)
    kind = rng.random()
    if kind < 0.4:
        texture = _rounded(rng, texture, centre, radius, size)
    elif kind < 0.7:
        texture = texture * _shading(rng, size)
    if rng.random() < 0.4:
        image = image * (1 - _shadow(rng, cover, radius, size)[..., None])
    if rng.random() < 0.25:
        cover = cv2.GaussianBlur(cover, (0, 0), rng.uniform(0.5, 2.5) * size / _REFERENCE)
    return np.asarray(image * (1 - cover[..., None]) + texture * cover[..., None], np.float32)


def _rounded(rng: np.random.Generator, texture: Image, centre: tuple[float, float], radius: float, size: int) -> Image:
    """Shade as a round body is, some with a highlight."""
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    x, y = columns - centre[0], rows - centre[1]
    light = rng.normal(0, 1, 2)
    shaded = texture * np.clip(0.75 + 0.35 * (x * light[0] + y * light[1]) / radius, 0.15, 1.6)[..., None]
    if rng.random() < 0.4:
        apart = (x - light[0] * radius * 0.3) ** 2 + (y - light[1] * radius * 0.3) ** 2
        spot = np.exp(-apart / (0.02 + 0.1 * rng.random()) / radius**2)
        shaded = shaded + spot[..., None] * rng.uniform(0.2, 0.8)
    return np.asarray(shaded, np.float32)


def _shadow(rng: np.random.Generator, cover: Mask, radius: float, size: int) -> Mask:
    right, down = rng.normal(0, 0.12 * radius, 2) + 2
    moved = cv2.warpAffine(cover, np.array([[1, 0, right], [0, 1, down]], np.float32), (size, size))
    soft = cv2.GaussianBlur(moved, (0, 0), max(0.8, radius * 0.08))
    return np.asarray(0.5 * soft * rng.uniform(0.3, 1), np.float32)


def _shape(rng: np.random.Generator, radius: float, size: int) -> tuple[Mask, tuple[float, float]]:
    """An ellipse, rectangle, smooth blob, polygon or pole: its cover, and its centre (x, y)."""
    cover = np.zeros((size, size), np.uint8)
    x, y = (float(rng.uniform(-0.1, 1.1) * size) for _ in range(2))
    kind, turn = rng.random(), rng.uniform(0, 360)
    if kind < 0.3:
        axes = (int(radius) + 1, int(radius * rng.uniform(0.25, 1)) + 1)
        cv2.ellipse(cover, (int(x), int(y)), axes, turn, 0, 360, 255, -1, cv2.LINE_AA)
    elif kind < 0.6:
        angle = turn if rng.random() < 0.5 else rng.normal(0, 4)
        box = cv2.boxPoints(((x, y), (2 * radius, 2 * radius * rng.uniform(0.15, 1)), float(angle)))
        cv2.fillPoly(cover, [box.astype(np.int32)], 255, cv2.LINE_AA)
    elif kind < 0.92:
        cv2.fillPoly(cover, [_outline(rng, kind < 0.8, x, y, radius)], 255, cv2.LINE_AA)
    else:  # a pole, wire or branch
        way = np.pi / 2 + rng.normal(0, 0.1) if rng.random() < 0.5 else rng.uniform(0, np.pi)
        along = 4 * radius * np.array([np.cos(way), np.sin(way)])
        first, last = ((int(x + sign * along[0]), int(y + sign * along[1])) for sign in (-1, 1))
        cv2.line(cover, first, last, 255, max(1, int(radius * rng.uniform(0.04, 0.3))), cv2.LINE_AA)
    return np.asarray(cover / 255, np.float32), (x, y)


def _outline(rng: np.random.Generator, smooth: bool, x: float, y: float, radius: float) -> NDArray[np.int32]:
    if smooth:
        angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        waves = [rng.normal(0, 0.35 / k) * np.cos(k * angles + rng.uniform(0, 6.28)) for k in range(2, 6)]
        reach = radius * (1 + np.sum(waves, axis=0))
    else:
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 9))))
        reach = radius * rng.uniform(0.5, 1.2, len(angles))
    squash = rng.uniform(0.4, 1)
    return np.stack([x + reach * np.cos(angles), y + reach * np.sin(angles) * squash], axis=1).astype(np.int32)


def _write_letters(rng: np.random.Generator, image: Image, size: int) -> None:
    for _ in range(int(rng.integers(1, 6))):
        text = "".join(chr(rng.integers(33, 123)) for _ in range(int(rng.integers(2, 9))))
        place = (int(rng.uniform(-0.1, 0.8) * size), int(rng.uniform(0.1, 1) * size))
        scale, weight = rng.uniform(0.3, 2.5) * size / _REFERENCE, int(rng.integers(1, 5))
        font, colour = int(rng.integers(0, 8)), _colour(rng).tolist()
        cv2.putText(image, text, place, font, scale, colour, weight, cv2.LINE_AA)


def _seen(rng: np.random.Generator, image: Image, size: int) -> NDArray[np.uint8]:
    """Exposure, white balance, tone, sharpness, noise, compression."""
    image = image * rng.lognormal(0, 0.25) * np.clip(1 + rng.normal(0, 0.08, 3), 0.7, 1.3)
    image = np.clip(image, 0, 1) ** rng.uniform(0.7, 1.4)
    blur = rng.choice([0, 0.5, 0.8, 1.2, 2], p=[0.35, 0.25, 0.2, 0.15, 0.05]) * size / _REFERENCE
    if blur:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    elif rng.random() < 0.5:
        image = image + 0.5 * (image - cv2.GaussianBlur(image, (0, 0), 1.2))
    noise = rng.choice([0, 0.01, 0.02, 0.04], p=[0.3, 0.4, 0.2, 0.1])
    pixels = (np.clip(image + rng.normal(0, noise, image.shape), 0, 1) * 255).round().astype(np.uint8)
    if rng.random() < 0.5:
        coded = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 96))])[1]
        pixels = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)[:, :, ::-1]
    return pixels


@click.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The .npz file to write.")
@click.option("--count", default=320, show_default=True, help="Number of pictures.")
@click.option("--size", default=_REFERENCE, show_default=True, help="Their side in pixels.")
@click.option("--seed", default=1, show_default=True, help="Each picture depends on it and its index.")
def main(out: Path, count: int, size: int, seed: int) -> None:
    """Render general pictures into one file."""
    made = [render_picture(seed, index, size) for index in track(range(count), description="rendering")]
    np.savez(out, **pack(np.stack(made), 86))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
