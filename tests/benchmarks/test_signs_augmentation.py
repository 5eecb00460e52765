"""Augmentation and batches: shapes, ranges, determinism, and what erasing may and may not do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from benchmarks.signs.augment import augment
from benchmarks.signs.batches import BatchMaker, Mixture
from benchmarks.signs.cards import blank_shapes, card_image, sign_bank
from benchmarks.signs.dataset import LabelledImages
from benchmarks.signs.erasing import erase
from taintwatch_models.signs import render_sign

SIZE = 64


def generator(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def stop_signs(count: int) -> Tensor:
    """(count, 4, 64, 64) RGBA in [0, 1]."""
    sign = torch.from_numpy(render_sign(14, SIZE).copy()).permute(2, 0, 1).float() / 255
    return sign.expand(count, -1, -1, -1)


def crops(labels: list[int]) -> LabelledImages:
    images = np.stack([card_image(label, 0.8)[..., :3] for label in labels])
    return LabelledImages(images, np.array(labels, np.int64), np.arange(len(labels), dtype=np.int64))


@pytest.mark.parametrize("count", [1, 5, 24])
@pytest.mark.parametrize("occlude", [False, True])
def test_augmented_pictures_keep_shape_type_and_range(count: int, occlude: bool) -> None:
    images = augment(
        stop_signs(count), torch.zeros(count, 3, SIZE, SIZE), generator(), erasable=torch.full((count,), occlude)
    )
    assert images.shape == (count, 3, SIZE, SIZE)
    assert images.dtype == torch.float32
    assert images.isfinite().all()
    assert images.min() >= 0
    assert images.max() <= 1


def test_the_same_seed_gives_the_same_pictures_and_another_seed_others() -> None:
    backgrounds = torch.full((12, 3, SIZE, SIZE), 0.5)
    first, again, other = (
        augment(stop_signs(12), backgrounds, generator(s), erasable=torch.ones(12, dtype=torch.bool)) for s in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_an_augmented_stop_sign_is_still_mostly_red() -> None:
    grey = torch.full((48, 3, SIZE, SIZE), 0.5)
    images = augment(stop_signs(48), grey, generator(), erasable=torch.zeros(48, dtype=torch.bool))
    middle = images[:, :, 16:48, 16:48].mean(dim=(2, 3))  # (48, 3)
    assert (middle[:, 0] > 1.15 * middle[:, 1:].amax(dim=1)).float().mean() > 0.95


def test_a_transparent_picture_shows_its_background() -> None:
    backgrounds = torch.zeros(18, 3, SIZE, SIZE)
    backgrounds[:, 2] = 0.8
    images = augment(
        torch.zeros(18, 4, SIZE, SIZE), backgrounds, generator(), erasable=torch.zeros(18, dtype=torch.bool)
    )
    assert (images.mean(dim=(2, 3)).argmax(dim=1) == 2).all()


def test_erasing_touches_only_the_chosen_pictures() -> None:
    images = torch.rand(20, 3, SIZE, SIZE, generator=generator(1))
    chosen = torch.arange(20) % 2 == 0
    erased = erase(images, chosen, generator())
    changed = (erased != images).flatten(1).any(dim=1)
    assert torch.equal(changed, chosen)


def test_erasing_is_strong_but_never_takes_everything() -> None:
    images = torch.rand(400, 3, SIZE, SIZE, generator=generator(1))
    erased = erase(images, torch.ones(400, dtype=torch.bool), generator())
    share = (erased != images).any(dim=1).float().mean(dim=(1, 2))
    assert 0.08 < share.mean() < 0.25
    assert share.max() <= 0.5  # two regions of at most half the side each way
    assert share.min() > 0.005


def test_training_erases_three_pictures_in_four_each_at_one_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    stages: list[Tensor] = []

    def recording(images: Tensor, chosen: Tensor, generator: Generator) -> Tensor:
        stages.append(chosen)
        return erase(images, chosen, generator)

    monkeypatch.setattr("benchmarks.signs.augment.erase", recording)
    all_of_them = torch.ones(2000, dtype=torch.bool)
    augment(torch.zeros(2000, 4, 16, 16), torch.full((2000, 3, 16, 16), 0.5), generator(), erasable=all_of_them)
    before_the_camera, after_it = stages
    assert not (before_the_camera & after_it).any()
    assert 0.71 < (before_the_camera | after_it).float().mean() < 0.79


def test_every_sign_is_drawn_bare_and_on_cards() -> None:
    images, labels = sign_bank()
    assert images.shape == (129, SIZE, SIZE, 4)
    assert np.bincount(labels).tolist() == [3] * 43
    assert (images[1::3, ..., 3] == 255).all()
    assert (images[0::3, 0, 0, 3] == 0).mean() > 0.9


def test_blank_shapes_are_plain() -> None:
    for shape in blank_shapes(40, np.random.default_rng(0)):
        inside = shape[shape[..., 3] == 255][:, :3]
        assert len(inside) > 100
        assert len(np.unique(inside, axis=0)) == 1


def test_a_batch_mixes_real_drawn_and_empty_pictures_in_their_shares() -> None:
    photographs = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
    mixture = Mixture(batch=300, drawn_share=0.3, background_share=0.2)
    batches = BatchMaker(crops([14] * 6 + [12]), photographs, (12, 14), mixture, generator())
    images, labels = batches()
    assert images.shape == (300, 3, SIZE, SIZE)
    counts = np.bincount(labels.numpy(), minlength=3)
    assert 30 <= counts[2] <= 90  # background comes last
    assert counts[0] + counts[1] == 300 - counts[2]
    assert counts[0] > 30  # rarer among the real ones, but drawn ones are as frequent as those of the other class


def test_spared_pictures_are_not_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    erased = torch.zeros(50, dtype=torch.bool)

    def recording(images: Tensor, chosen: Tensor, generator: Generator) -> Tensor:
        erased.logical_or_(chosen)
        return images

    monkeypatch.setattr("benchmarks.signs.augment.erase", recording)
    empty = np.zeros((0, SIZE, SIZE, 3), np.uint8)
    batches = BatchMaker(crops([1, 14]), empty, (1, 14), Mixture(batch=50), generator())
    spared = torch.arange(50) < 20
    batches(spared)
    assert not (erased & spared).any()
    assert (erased & ~spared).sum() > 10


def test_batches_repeat_under_a_seed() -> None:
    def first_two(seed: int) -> list[Tensor]:
        empty = np.zeros((0, SIZE, SIZE, 3), np.uint8)
        batches = BatchMaker(crops([1, 14, 1]), empty, (1, 14), Mixture(batch=16), generator(seed))
        return [part for _ in range(2) for part in batches()]

    assert all(torch.equal(a, b) for a, b in zip(first_two(5), first_two(5), strict=True))
    assert not torch.equal(first_two(5)[0], first_two(6)[0])


def test_an_epoch_gives_as_many_real_crops_as_there_are() -> None:
    empty = np.zeros((0, SIZE, SIZE, 3), np.uint8)
    mixture = Mixture(batch=10, drawn_share=0.2, background_share=0.2)
    assert BatchMaker(crops([1] * 60), empty, (1, 14), mixture, generator()).steps_per_epoch == 10
