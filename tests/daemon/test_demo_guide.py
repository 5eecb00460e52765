"""The demo before a webcam: the steps follow what is seen and received, and give up after the patience is spent."""

from __future__ import annotations

from taintwatch.demo.director import BENIGN, STEADY, CameraDirector, Step
from taintwatch.demo.frame_record import FrameHistory, FrameRecord
from taintwatch.demo.play import load_attack
from taintwatch.records import AlertState
from tests.daemon.test_demo_verdict import alert

ATTACK = load_attack("on-sign")
SIGN = ATTACK.placement.sign
WRONG, NOTHING = 8, 43


class Rehearsal:
    """Feeds a director frame after frame, and keeps them as the demo does."""

    def __init__(self, patience_s: float = 20.0) -> None:
        self.director = CameraDirector(ATTACK, patience_s=patience_s, fps=10.0)
        self.reel = FrameHistory()
        self.index = 0

    def see(self, label: int, times: int) -> Rehearsal:
        for _ in range(times):
            seen = FrameRecord(self.index, label, "x", 1.0, {}, 0.0, False, None, None, b"")
            self.reel.add(seen)
            self.director.see(seen)
            self.index += 1
        return self

    def hear(self, state: AlertState, raised: int) -> Rehearsal:
        self.director.hear(alert(state, self.index, raised))
        return self


def until_the_attack() -> Rehearsal:
    return Rehearsal().see(NOTHING, 5).see(SIGN, STEADY).see(SIGN, BENIGN)


def test_it_first_asks_for_the_card_until_the_sign_is_seen_steadily() -> None:
    rehearsal = Rehearsal().see(NOTHING, 5).see(SIGN, STEADY - 1).see(NOTHING, 1).see(SIGN, STEADY - 1)
    assert rehearsal.director.step is Step.FIND
    assert "hold the card 'stop'" in rehearsal.director.script(0).instruction
    assert rehearsal.see(SIGN, 1).director.step is Step.BENIGN


def test_it_asks_for_the_patch_and_says_where_it_belongs() -> None:
    director = until_the_attack().director
    assert director.step is Step.ATTACK
    said = director.script(0).instruction
    assert "a patch stuck on the sign" in said
    assert "% of the card's" in said


def test_the_patch_counts_as_there_from_the_first_wrong_label_to_the_last() -> None:
    rehearsal = until_the_attack().see(SIGN, 7)
    fooled = rehearsal.index
    rehearsal.see(WRONG, 4).hear(AlertState.RAISED, fooled + 2).see(WRONG, 10)
    assert rehearsal.director.step is Step.LEAVE
    rehearsal.see(SIGN, 1).see(WRONG, 2)  # a flicker
    left = rehearsal.index
    rehearsal.see(SIGN, 6).hear(AlertState.CLEARED, fooled + 2).see(SIGN, 1)
    assert rehearsal.director.over
    (chapter,) = rehearsal.director.chapters(rehearsal.reel)
    assert chapter.attacked == range(fooled, left)
    assert chapter.labels.count(WRONG) == 16
    assert rehearsal.index - 1 in chapter.frames


def test_an_alert_before_the_patch_was_asked_for_is_not_taken_for_the_one_that_is_waited_for() -> None:
    rehearsal = Rehearsal().see(SIGN, STEADY).hear(AlertState.RAISED, 3).see(SIGN, BENIGN + 5)
    assert rehearsal.director.step is Step.ATTACK


def test_it_gives_up_when_nothing_happens_for_too_long() -> None:
    rehearsal = Rehearsal(patience_s=2.0).see(NOTHING, 22)
    assert rehearsal.director.over
    assert rehearsal.director.chapters(rehearsal.reel) == []


def test_a_patch_that_is_never_brought_leaves_an_attack_without_frames() -> None:
    rehearsal = Rehearsal(patience_s=10.0).see(SIGN, STEADY + BENIGN).see(SIGN, 120)
    (chapter,) = rehearsal.director.chapters(rehearsal.reel)
    assert len(chapter.attacked) == 0
