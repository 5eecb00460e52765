"""What a subscriber missed, told from sequences, heartbeats and restarts alone."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from taintwatch.alerts.bodies import Heartbeat
from taintwatch.alerts.gaps import GapTracker, Missed, Notice, Restarted
from taintwatch.alerts.messages import Message
from taintwatch.alerts.outbox import MessageWriter
from tests.alert_fakes import an_alert, an_identity

ALERTS = "taintwatch/v1/lab/door/alert/"


def message(sequence: int, instance: str = "first", replayed: bool = False) -> Message:
    written = MessageWriter(an_identity(instance)).write("door", an_alert()).message
    return replace(written, envelope=replace(written.envelope, sequence=sequence, replayed=replayed))


def heartbeat(last: int, instance: str = "first") -> Message:
    body = Heartbeat(1.0, 1.0, {ALERTS: last} if last else {}, 0, ())
    return MessageWriter(an_identity(instance)).write("door", body).message


def see_all(tracker: GapTracker, messages: list[Message]) -> list[tuple[list[Notice], bool]]:
    return [tracker.see(message) for message in messages]


def test_messages_in_order_are_new_and_nothing_is_missed() -> None:
    assert see_all(GapTracker(("",)), [message(n) for n in (4, 5, 6)]) == [([], True)] * 3


def test_a_jump_in_the_sequence_is_missed_messages() -> None:
    tracker = GapTracker(("",))
    tracker.see(message(4))
    assert tracker.see(message(8)) == ([Missed(ALERTS, 3)], True)
    assert tracker.see(message(9)) == ([], True)


def test_a_heartbeat_reveals_what_was_missed_last_and_says_it_once() -> None:
    tracker = GapTracker(("",))
    tracker.see(message(4))
    assert tracker.see(heartbeat(6)) == ([Missed(ALERTS, 2)], True)
    assert tracker.see(heartbeat(6)) == ([], True)
    assert tracker.see(message(7)) == ([], True)


def test_the_first_heartbeat_is_where_a_late_subscriber_counts_from() -> None:
    tracker = GapTracker(("",))
    assert tracker.see(heartbeat(6)) == ([], True)
    assert tracker.see(message(8)) == ([Missed(ALERTS, 1)], True)


def test_topics_that_were_not_asked_for_are_not_missed() -> None:
    tracker = GapTracker(("taintwatch/v1/lab/door/status/",))
    tracker.see(heartbeat(3))
    assert tracker.see(heartbeat(9)) == ([], False)


def test_a_replay_is_new_to_who_joins_late_and_old_to_everyone_else() -> None:
    late = GapTracker(("",))
    assert see_all(late, [message(5, replayed=True), message(10)]) == [([], True), ([], True)]
    present = GapTracker(("",))
    assert see_all(present, [message(5), message(5, replayed=True), message(6)]) == [
        ([], True),
        ([], False),
        ([], True),
    ]


def test_what_is_told_to_who_joins_late_is_new_once_though_a_heartbeat_or_a_message_came_before_it() -> None:
    for first in (heartbeat(6), message(6)):
        tracker = GapTracker(("",))
        tracker.see(first)
        told = [message(3, replayed=True), message(5, replayed=True), message(3, replayed=True)]
        assert see_all(tracker, told) == [([], True), ([], True), ([], False)]
        assert tracker.see(message(6, replayed=True)) == ([], first.envelope.kind == "heartbeat")
        assert see_all(tracker, [message(7), message(7, replayed=True)]) == [([], True), ([], False)]
        assert tracker.see(message(5, replayed=True)) == ([], False)


def test_what_was_told_before_the_first_heartbeat_is_not_new_again() -> None:
    tracker = GapTracker(("",))
    told = [message(3, replayed=True), heartbeat(6), message(3, replayed=True), message(4, replayed=True)]
    assert [new for _, new in see_all(tracker, told)] == [True, True, False, True]


def test_a_replay_before_its_own_message_makes_that_one_old() -> None:
    tracker = GapTracker(("",))
    assert see_all(tracker, [message(5, replayed=True), message(5), message(6)]) == [
        ([], True),
        ([], False),
        ([], True),
    ]


def test_a_replay_after_a_break_is_not_counted_as_missed() -> None:
    tracker = GapTracker(("",))
    tracker.see(message(3))
    assert tracker.see(message(5, replayed=True)) == ([], True)
    assert tracker.see(heartbeat(7)) == ([Missed(ALERTS, 3)], True)  # 4, 6 and 7


def test_a_restart_is_told_and_sequences_count_from_its_start() -> None:
    tracker = GapTracker(("",))
    tracker.see(message(40))
    assert tracker.see(message(3, "second")) == ([Restarted("lab", "second", "first"), Missed(ALERTS, 2)], True)
    assert tracker.see(message(4, "second")) == ([], True)


@given(st.sets(st.integers(2, 60)), st.integers(61, 80))
def test_every_message_is_either_received_or_reported_missed(lost: set[int], last: int) -> None:
    tracker = GapTracker(("",))
    received, missed = 0, 0
    for sequence in range(1, last + 1):
        if sequence in lost:
            continue
        notices, new = tracker.see(message(sequence))
        received += new
        missed += sum(notice.count for notice in notices if isinstance(notice, Missed))
        if sequence % 7 == 0:
            notices, _ = tracker.see(heartbeat(sequence))
            missed += sum(notice.count for notice in notices if isinstance(notice, Missed))
    assert (received, missed) == (last - len(lost), len(lost))
