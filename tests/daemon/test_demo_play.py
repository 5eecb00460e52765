"""The bundled scene: its acts, its truth, and what `sim:` alone understands."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from taintwatch.demo.play import ATTACK_NAMES, load_attack, parse_play, read_attack
from taintwatch.sources.factory import open_source
from taintwatch.sources.sim import SimSource
from taintwatch_models.bundled import bundled_path, bundled_radar
from taintwatch_models.errors import ModelError, SourceError


def test_each_attack_has_an_act_with_the_patch_in_its_middle() -> None:
    play = parse_play("sim:?duration=20").play
    assert [act.attack.name for act in play.acts] == list(ATTACK_NAMES)
    assert [act.attacked for act in play.acts] == [range(45, 105), range(195, 255)]
    assert (play.frame_count, play.fps) == (300, 15.0)


def test_the_truth_of_a_frame_is_where_the_patch_was_drawn() -> None:
    armed = parse_play("sim:?camera=plain&width=320&height=240").play
    benign = parse_play("sim:?camera=plain&width=320&height=240&attack=none").play
    for act in armed.acts:
        index = act.attacked.start + 5
        changed = (armed.render(index).astype(int) != benign.render(index)).any(axis=2)
        rows, columns = np.nonzero(changed.any(axis=1))[0], np.nonzero(changed.any(axis=0))[0]
        box = armed.ground_truth(index).box
        assert box is not None
        x, y, width, height = box
        assert abs(x - columns[0]) <= 1
        assert abs(x + width - 1 - columns[-1]) <= 1
        assert abs(y - rows[0]) <= 1
        assert abs(y + height - 1 - rows[-1]) <= 1
        before = act.attacked.start - 1
        assert np.array_equal(armed.render(before), benign.render(before))
        assert not armed.ground_truth(before).attacked


def test_media_time_goes_on_from_act_to_act() -> None:
    play = parse_play("sim:").play
    assert play.ground_truth(150).media_s == pytest.approx(10.0)


def test_a_loop_comes_back_to_the_first_act_and_time_still_grows() -> None:
    play = parse_play("sim:?loop=1&camera=plain&width=160&height=120&duration=10").play
    assert play.frame_count is None
    assert np.array_equal(play.render(3), play.render(153))
    assert play.ground_truth(153).media_s == pytest.approx(153 / 15)


def test_one_attack_can_be_asked_for() -> None:
    assert [act.attack.name for act in parse_play("sim:?attack=beside").play.acts] == ["beside"]


def test_without_an_attack_no_frame_is_attacked() -> None:
    assert all(len(act.attacked) == 0 for act in parse_play("sim:?attack=none&duration=10").play.acts)


def test_sim_alone_is_a_live_source_of_480_lines() -> None:
    source = open_source("sim:")
    assert isinstance(source, SimSource)
    assert source.live
    source.open()
    grab = source.read()
    assert grab is not None
    assert grab.image.shape == (480, 640, 3)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("sim:?duration=4", "duration=4 is too short; give 10 or more"),
        ("sim:?patch=x.png", "patch= is for a scene of yours"),
        ("sim:?attack=hat", "attack='hat' must be on-sign, beside, both or none"),
        ("sim:?fps=0", "fps=0 must be between"),
    ],
)
def test_what_the_bundled_scene_cannot_do_is_said_in_one_sentence(spec: str, words: str) -> None:
    with pytest.raises(SourceError, match=words.replace("?", "\\?")):
        open_source(spec)


@pytest.mark.parametrize("name", ATTACK_NAMES)
def test_a_shipped_attack_is_one_against_the_shipped_model_that_works(name: str) -> None:
    attack = load_attack(name)
    assert attack.model_hash == bundled_radar().info.source_sha256
    assert attack.success >= 0.8
    assert attack.target != attack.placement.sign
    assert attack.placement.patch_side <= 0.45
    assert attack.picture.shape == (256, 256, 3)


def test_a_picture_that_was_exchanged_is_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "on-sign.toml"
    recipe.write_text(bundled_path("attacks/on-sign.toml").read_text())
    cv2.imwrite(str(tmp_path / "on-sign.png"), np.zeros((256, 256, 3), np.uint8))
    with pytest.raises(ModelError, match=r"on-sign\.png is not the picture that was measured"):
        read_attack(recipe)


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "KeyError: 'attack'"), ("[attack", "TOMLDecodeError"), ("[attack]\npicture = 'gone.png'", "FileNotFound")],
)
def test_an_incomplete_recipe_is_refused_and_named(tmp_path: Path, text: str, words: str) -> None:
    recipe = tmp_path / "x.toml"
    recipe.write_text(text)
    with pytest.raises(ModelError, match=words) as told:
        read_attack(recipe)
    assert str(recipe) in str(told.value)


def test_a_picture_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "on-sign.png").write_bytes(b"no picture")
    text = bundled_path("attacks/on-sign.toml").read_text()
    start = text.index('sha256 = "') + len('sha256 = "')
    digest = hashlib.sha256(b"no picture").hexdigest()
    recipe = tmp_path / "on-sign.toml"
    recipe.write_text(text[:start] + digest + text[start + 64 :])
    with pytest.raises(ModelError, match="the picture beside it is not an image that can be decoded; install again"):
        read_attack(recipe)
