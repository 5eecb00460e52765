"""The attack bench counts, splits and scores as it says, on a small model and few pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.sign_attacks.attack import cached_attack, craftable, make_attack, scaled_beside, sources_of
from benchmarks.sign_attacks.pictures import SignPictures, cached_pictures
from benchmarks.sign_attacks.plans import EMPTY, AttackSpec, attack_specs, recipe_of, tuning_specs
from benchmarks.sign_attacks.scores import rates, score
from benchmarks.signs.benign_scenes import BACKGROUND, BenignPictures, joined
from benchmarks.signs.bundle import TIGHT
from taintwatch_calibration.bench.cache import Cache
from taintwatch_calibration.craft.materials import classify
from taintwatch_calibration.rates import roc
from taintwatch_models.bundled import bundled_radar
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.signs import render_sign


@pytest.fixture(scope="module")
def pictures() -> BenignPictures:
    """Six drawn signs of two classes on grey, and two empty pictures."""
    images = np.full((8, 64, 64, 3), 140, np.uint8)
    labels = np.array([1, 1, 1, 14, 14, 14, BACKGROUND, BACKGROUND], np.int64)
    for image, label, light in zip(images[:6], labels, (1.0, 0.9, 0.8) * 2, strict=False):
        sign = render_sign(int(label), 60)
        alpha = sign[..., 3:] / 255
        image[2:-2, 2:-2] = alpha * sign[..., :3] * light + (1 - alpha) * image[2:-2, 2:-2]
    return BenignPictures(images, labels, np.arange(8, dtype=np.int64))


def test_the_specs_cover_what_must_be_seen() -> None:
    strong = [spec for spec in attack_specs() if spec.strong]
    assert {spec.place for spec in strong} == {"on", "beside", "anywhere"}
    assert {spec.size for spec in strong} >= {0.25, 0.35, 0.45}
    assert any(spec.source is None and spec.camera_model for spec in strong)
    assert any(spec.target is None for spec in attack_specs())
    keys = [spec.key("hash") for spec in (*attack_specs(), *tuning_specs())]
    assert len(set(keys)) == len(keys)  # tuning looks at no patch that is reported on


def test_each_attack_is_shown_on_its_sources_only(pictures: BenignPictures) -> None:
    spec = AttackSpec("x", "on", 0.4, 1, 14)
    assert set(sources_of(pictures, spec).labels) == {1}
    assert set(sources_of(pictures, replace(spec, source=None)).labels) == {1}  # not those that are the target
    assert set(sources_of(pictures, replace(spec, source=EMPTY)).labels) == {BACKGROUND}


def test_beside_the_sign_there_is_room_for_the_patch(pictures: BenignPictures) -> None:
    scenes = np.zeros((1, 64, 64, 3), np.uint8)
    moved = scaled_beside(pictures.pixels[:3], scenes, seed=0)
    assert moved[:, :, :35].any(axis=(1, 2, 3)).all()
    assert not moved[:, :, 35:].any()


@pytest.mark.parametrize("camera_model", [False, True])
def test_a_crafted_attack_succeeds_where_it_says_so(
    pictures: BenignPictures, tmp_path: Path, camera_model: bool
) -> None:
    torch.set_num_threads(1)
    radar = bundled_radar()
    judge = OnnxRadar(radar, ())
    spec = AttackSpec("x", "on", 0.6, 1, 14, camera_model=camera_model, iterations=40)
    attack = make_attack(spec, craftable(radar), judge, pictures, pictures, attempts=6)
    assert attack.pixels.shape == (6, 64, 64, 3)
    assert attack.patch.min() >= 0
    assert attack.patch.max() <= 1
    assert list(attack.success) == list(classify(judge, attack.pixels) == 14)
    cache = Cache(tmp_path)
    assert cached_attack(cache, spec, "hash", lambda: attack) is not attack
    kept = cached_attack(cache, spec, "hash", lambda: pytest.fail("it was kept"))
    assert (kept.pixels == attack.pixels).all()
    assert (kept.success == attack.success).all()


def test_the_torch_and_the_onnx_model_agree(pictures: BenignPictures) -> None:
    radar = bundled_radar()
    inputs = torch.from_numpy(radar.info.preprocessing.normalise(pictures.pixels))
    with torch.no_grad():
        model = craftable(radar)
        logits = model.head(model.maps(inputs))
    assert (
        list(logits.argmax(1).numpy()) == list(classify(OnnxRadar(radar, ()), pictures.pixels)) == list(pictures.labels)
    )


def test_parts_are_kept_and_read_back_the_same(pictures: BenignPictures, tmp_path: Path) -> None:
    some = pictures.subset(pictures.labels == 1)
    parts = cached_pictures(Cache(tmp_path), lambda: SignPictures(pictures, some, pictures, pictures))
    again = cached_pictures(Cache(tmp_path), lambda: pytest.fail("they were kept"))
    assert (again.tuning.pixels == parts.tuning.pixels).all()
    assert (again.crafting.labels == parts.crafting.labels).all()


def test_groups_of_joined_parts_stay_apart(pictures: BenignPictures) -> None:
    both = joined([pictures, pictures])
    assert len(set(both.groups.tolist())) == 16


def test_the_benchs_score_is_the_products_own(pictures: BenignPictures) -> None:
    scores = score(bundled_radar(), pictures.pixels, TIGHT, None)
    margin, swing, concentration = scores["tight: margin"], scores["tight: swing"], scores["saliency_concentration"]
    weight = TIGHT.swing_weight
    assert scores["tight"] == pytest.approx(
        (1 - weight) * margin + weight * swing + TIGHT.concentration_weight * np.log(concentration), abs=1e-6
    )


def test_rates_come_from_a_threshold_of_the_choosing_half() -> None:
    choosing, held, attacked = ({"tight": np.array(v, float)} for v in (range(100), [97.5, 99.5, 0, 0], [98, 99, 200]))
    found = rates((choosing, held), attacked, 0.02)["tight"]
    assert found["threshold"] == 97.5
    assert found["fpr"] == 0.25
    assert found["tpr"] == 1.0


def test_the_curve_goes_from_nothing_to_everything() -> None:
    false, true = roc(np.array([0.0, 1.0, 2.0]), np.array([1.5, 3.0]))
    assert (false[0], true[0]) == (0.0, 0.0)
    assert (false[-1], true[-1]) == (1.0, 1.0)
    assert (np.diff(false) >= 0).all()
    assert true[false == 0].max() == 0.5  # 3.0 lies above every benign score


def test_a_printed_patch_is_crafted_under_changing_light() -> None:
    spec = AttackSpec("x", "anywhere", 0.4, None, 3, camera_model=True)
    assert recipe_of(spec)[0].placement.light > 0
    assert recipe_of(replace(spec, camera_model=False))[0].placement.light == 0
    assert recipe_of(spec)[0].placement.positions[0] is None
