"""The street: where its signs and its patch are, what moves, and what `sim:?scene=street` understands."""

from __future__ import annotations

import numpy as np
import pytest

from taintwatch.demo.passers_by import Car, draw_passers_by
from taintwatch.demo.street_play import STREET, parse_street, sticker_of_attack
from taintwatch.demo.street_scene import StreetPlan, StreetScene, StreetSign
from taintwatch.sources.factory import open_source
from taintwatch.sources.scene import SceneSettings
from taintwatch.sources.sim import SimSource
from taintwatch_models.errors import SourceError

STILL = SceneSettings(width=320, height=240, motion=0.0, duration=2.0)


def changed(first: np.ndarray, second: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero((first.astype(int) != second.astype(int)).any(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def test_a_signs_box_is_where_the_sign_is_drawn() -> None:
    one = StreetPlan((StreetSign(17, 0.3, 0.4, 0.3),))
    other = StreetPlan((StreetSign(1, 0.3, 0.4, 0.3),))
    left, top, right, bottom = changed(
        StreetScene(one, None, STILL).render(0), StreetScene(other, None, STILL).render(0)
    )
    (box,) = StreetScene(one, None, STILL).sign_boxes(0)
    assert box == (60, 60, 72, 72)
    assert box[0] - 1 <= left < right <= box[0] + box[2] + 1
    assert box[1] - 1 <= top < bottom <= box[1] + box[3] + 1


def test_the_patch_lies_on_its_sign_only_while_it_is_there() -> None:
    armed, benign = (parse_street(f"sim:?scene=street&camera=plain&attack={how}").scene for how in ("on-sign", "none"))
    attacked = [index for index in range(armed.frame_count or 0) if armed.ground_truth(index).attacked]
    assert (attacked[0], attacked[-1], armed.frame_count) == (54, 125, 180)
    left, top, right, bottom = changed(armed.render(90), benign.render(90))
    sign = armed.sign_boxes(90)[STREET.patched]
    box = armed.ground_truth(90).box
    assert sign is not None
    assert box is not None
    assert abs(left - box[0]) <= 1
    assert abs(bottom - box[1] - box[3]) <= 1
    assert sign[0] < left < right < sign[0] + sign[2]
    assert sign[1] < top < bottom < sign[1] + sign[3]
    assert np.array_equal(armed.render(20), benign.render(20))


def test_its_sticker_is_that_of_the_bundled_attack() -> None:
    sticker = sticker_of_attack()
    assert (round(sticker.side, 3), round(sticker.y, 3)) == (0.384, 0.169)


def test_cars_move_and_come_back_on_the_other_side() -> None:
    def middle(seconds: float) -> float:
        picture = np.zeros((120, 160, 3), np.uint8)
        draw_passers_by(picture, (Car(0.2, 0.8, 0.3, 0.25, (255, 0, 0)),), seconds)
        return float(np.nonzero(picture.any(axis=(0, 2)))[0].mean())

    assert middle(1.0) - middle(0.0) == pytest.approx(40, abs=2)
    assert middle(6.4) == pytest.approx(middle(0.0), abs=2)  # 1.6 widths


def test_sim_plays_it() -> None:
    source = open_source("sim:?scene=street&duration=5&pace=0")
    assert isinstance(source, SimSource)
    assert isinstance(source.scene, StreetScene)
    assert not source.live


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("scene=lane", "card or street"),
        ("scene=street&attack=beside", "not of the street"),
        ("scene=street&duration=1", "too short"),
        ("scene=street&size=0.2", "scene of yours"),
    ],
)
def test_a_wrong_spec_is_refused_in_one_sentence(query: str, says: str) -> None:
    with pytest.raises(SourceError, match=says):
        open_source(f"sim:?{query}")


def test_a_street_without_signs_is_refused() -> None:
    with pytest.raises(SourceError, match="at least one sign"):
        StreetScene(StreetPlan(()))
