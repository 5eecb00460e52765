"""Faces are followed from frame to frame, whatever order the detector gives them in."""

from __future__ import annotations

import pytest

from taintwatch.subjects.tracking import BoxTracker, overlap
from taintwatch_models.faces.finder import Face

SECOND = 1_000_000_000


def a_face(x: float, y: float = 50, width: float = 100) -> Face:
    return Face((x, y, width, width), ((x + 30, y + 40), (x + 67, y + 40)), True)


@pytest.mark.parametrize(
    ("other", "share"), [((0, 0, 10, 10), 1.0), ((5, 0, 10, 10), 1 / 3), ((10, 0, 10, 10), 0.0), ((50, 50, 1, 1), 0.0)]
)
def test_overlap_is_the_intersection_over_the_union(other: tuple[float, float, float, float], share: float) -> None:
    assert overlap((0, 0, 10, 10), other) == pytest.approx(share)


def test_boxes_without_an_area_do_not_overlap() -> None:
    assert overlap((0, 0, 0, 0), (0, 0, 0, 0)) == 0.0


def numbers(tracker: BoxTracker, second: float, *faces: Face, camera: str = "door") -> dict[float, int]:
    tracked = tracker(camera, round(second * SECOND), faces)
    return {face.box[0]: number for number, face in tracked.boxes}


def test_a_face_that_moves_keeps_its_number_and_another_gets_its_own() -> None:
    tracker = BoxTracker()
    first = numbers(tracker, 0.0, a_face(0), a_face(300))
    second = numbers(tracker, 0.1, a_face(320), a_face(20))
    assert second == {20: first[0], 320: first[300]}
    assert len(set(first.values())) == 2


def test_a_face_that_is_missed_for_a_moment_keeps_its_number() -> None:
    tracker = BoxTracker(patience_s=1.0)
    first = numbers(tracker, 0.0, a_face(0))
    assert numbers(tracker, 0.5) == {}
    assert numbers(tracker, 0.9, a_face(10))[10] == first[0]


def test_a_face_that_is_gone_for_long_is_given_up_and_its_number_never_used_again() -> None:
    tracker = BoxTracker(patience_s=1.0)
    first = numbers(tracker, 0.0, a_face(0))
    tracked = tracker("door", round(1.5 * SECOND), list[Face]())
    assert tracked.ended == (first[0],)
    assert numbers(tracker, 1.6, a_face(0))[0] > first[0]


def test_a_face_in_every_frame_keeps_its_number_where_frames_come_seldom() -> None:
    """A snapshot every two seconds, or a machine that judges no more: evidence must add up all the same."""
    tracker = BoxTracker(patience_s=1.0)
    first = numbers(tracker, 0.0, a_face(0))
    assert numbers(tracker, 2.0, a_face(10))[10] == first[0]
    assert numbers(tracker, 4.0, a_face(20))[20] == first[0]
    assert tracker("door", 6 * SECOND, list[Face]()).ended == (first[0],)
    assert numbers(tracker, 8.0, a_face(20))[20] > first[0]
    assert numbers(tracker, 13.0, a_face(20))[20] > first[0] + 1


def test_a_video_that_starts_again_ends_what_was_followed() -> None:
    tracker = BoxTracker()
    first = numbers(tracker, 5.0, a_face(0))
    assert tracker("door", 0, [a_face(0)]).ended == (first[0],)


def test_cameras_share_no_faces() -> None:
    tracker = BoxTracker()
    assert numbers(tracker, 0.0, a_face(0))[0] != numbers(tracker, 0.0, a_face(0), camera="yard")[0]
    assert tracker.forget("door") == (1,)
    assert tracker.forget("door") == ()


def test_only_the_largest_faces_are_looked_at() -> None:
    tracker = BoxTracker(most=2)
    seen = numbers(tracker, 0.0, a_face(0, width=50), a_face(200, width=90), a_face(400, width=70))
    assert set(seen) == {200, 400}


def test_a_car_faster_than_its_own_length_keeps_its_number_once_its_speed_is_known() -> None:
    tracker = BoxTracker()
    first = numbers(tracker, 0.0, a_face(0))
    assert numbers(tracker, 0.1, a_face(40)) == {40: first[0]}  # half of it overlaps; the speed is known now
    assert numbers(tracker, 0.2, a_face(100)) == {100: first[0]}
    assert numbers(tracker, 0.5, a_face(300)) == {300: first[0]}  # two lengths further
