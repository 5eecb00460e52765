"""The voter: cameras and detectors apart, time from the frames, gaps, hold and cool-down."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from taintwatch.records import Vote
from taintwatch.vote.policies import KofN, SequentialProbabilityRatio
from taintwatch.vote.voter import OVERALL, Hold, Voter
from taintwatch_models.errors import ConfigError
from taintwatch_models.records import Frame
from tests.fakes import a_frame, a_prediction, a_verdict

AT_ONCE = Hold(minimum_hold_s=0, cool_down_s=0)


def frame_at(seconds: float, index: int = 0, camera: str = "door") -> Frame:
    """A frame of a live camera: no media time."""
    return replace(a_frame(index, camera), captured_ns=round(seconds * 1e9), media_s=None)


def vote_on(voter: Voter, frame: Frame, **suspicious: bool) -> dict[str, Vote]:
    prediction = a_prediction(frame)
    votes = voter(frame, [a_verdict(prediction, said, name) for name, said in suspicious.items()])
    assert all((vote.camera, vote.frame_index) == (frame.camera, frame.index) for vote in votes)
    return {vote.detector: vote for vote in votes}


def walk(voter: Voter, frames: str, times: Iterable[float] | None = None) -> str:
    """x: suspicious, . : clean. Returns R or - for the combined vote after each frame, at 10 frames/s or at `times`."""
    at = list(times) if times is not None else [index / 10 for index in range(len(frames))]
    votes = [
        vote_on(voter, frame_at(at[index], index), tight=frame == "x")[OVERALL] for index, frame in enumerate(frames)
    ]
    return "".join("R" if vote.raised else "-" for vote in votes)


def test_by_default_three_of_five_raise() -> None:
    assert walk(Voter(hold=AT_ONCE), "x.x.x.....x") == "----RRRRR--"


def test_cameras_are_counted_apart() -> None:
    voter = Voter(KofN(2, 2), hold=AT_ONCE)
    assert not vote_on(voter, a_frame(0, "door"), tight=True)[OVERALL].raised
    assert not vote_on(voter, a_frame(0, "gate"), tight=True)[OVERALL].raised
    assert vote_on(voter, a_frame(1, "door"), tight=True)[OVERALL].raised
    assert not vote_on(voter, a_frame(1, "gate"), tight=False)[OVERALL].raised


def test_any_needs_one_detector_and_all_needs_every_one() -> None:
    for combine, expected in (("any", True), ("all", False)):
        voter = Voter(KofN(1, 1), combine=combine, hold=AT_ONCE)  # type: ignore[arg-type]
        votes = vote_on(voter, a_frame(), tight=True, paper=False)
        assert votes["tight"].raised
        assert not votes["paper"].raised
        assert votes[OVERALL].raised is expected
        assert votes[OVERALL].level == (1.0 if expected else 0.0)


def test_detectors_may_have_policies_of_their_own() -> None:
    voter = Voter({"tight": KofN(1, 1), "paper": SequentialProbabilityRatio()}, combine="all", hold=AT_ONCE)
    raised = [vote_on(voter, a_frame(index), tight=True, paper=True)[OVERALL].raised for index in range(4)]
    assert raised == [False, False, True, True]


def test_only_named_detectors_count() -> None:
    voter = Voter(KofN(1, 1), detectors=["paper"], hold=AT_ONCE)
    votes = vote_on(voter, a_frame(), tight=True, paper=False)
    assert set(votes) == {"paper", OVERALL}
    assert not votes[OVERALL].raised


def test_all_waits_for_a_named_detector_that_has_not_spoken() -> None:
    voter = Voter(KofN(1, 1), combine="all", detectors=["tight", "paper"], hold=AT_ONCE)
    assert not vote_on(voter, a_frame(0), tight=True)[OVERALL].raised
    assert vote_on(voter, a_frame(1), tight=True, paper=True)[OVERALL].raised


def test_a_detector_that_is_silent_for_a_frame_keeps_its_standing() -> None:
    voter = Voter(KofN(2, 3), combine="all", hold=AT_ONCE)
    vote_on(voter, a_frame(0), tight=True, paper=True)
    vote_on(voter, a_frame(1), tight=True, paper=True)
    assert vote_on(voter, a_frame(2), tight=True)[OVERALL].raised


def test_a_raised_vote_is_held_and_a_cleared_one_cools_down() -> None:
    voter = Voter(KofN(1, 1), hold=Hold(minimum_hold_s=0.3, cool_down_s=0.2))
    #                    0.0 raised, held to 0.3; cleared 0.3, nothing before 0.5
    assert walk(voter, "x...xxxx") == "RRR--RRR"


def test_an_attack_that_outlasts_the_cool_down_raises_at_its_end() -> None:
    voter = Voter(KofN(1, 1), hold=Hold(minimum_hold_s=0, cool_down_s=1.0))
    assert walk(voter, "x." + "x" * 15) == "R-" + "-" * 9 + "R" * 6


def test_media_time_decides_and_not_the_speed_of_processing() -> None:
    def walk_file(seconds_per_frame: float) -> list[bool]:
        voter = Voter(KofN(1, 1), hold=Hold(minimum_hold_s=0.5, cool_down_s=0.5))
        raised = []
        for index, suspicious in enumerate([True, *[False] * 14, *[True] * 30, *[False] * 20]):
            at_ns = round(index * seconds_per_frame * 1e9)
            frame = replace(a_frame(index), captured_ns=at_ns, media_s=index / 25)
            raised.append(vote_on(voter, frame, tight=suspicious)[OVERALL].raised)
        return raised

    assert walk_file(0.001) == walk_file(0.04) == walk_file(10.0)
    # Frames 0 to 12 (held for 0.5 s), then 26 to 44: the second attack starts at 15, in the cool-down.
    assert [index for index, raised in enumerate(walk_file(0.04)) if raised] == [*range(13), *range(26, 45)]


def test_frames_before_and_after_a_gap_do_not_add_up() -> None:
    assert walk(Voter(KofN(3, 5), hold=AT_ONCE), "xxxx", [0.0, 0.1, 5.0, 5.1]) == "----"
    assert walk(Voter(KofN(3, 5), hold=AT_ONCE), "xxxx", [0.0, 0.1, 2.0, 2.1]) == "--RR"


def test_an_attack_that_outlasts_a_gap_stays_raised_and_clears_by_the_usual_rule() -> None:
    times = [0.0, 0.1, 0.2, 60.0, 60.1, 60.2, 60.3, 60.4, 60.5]
    assert walk(Voter(KofN(3, 5), hold=AT_ONCE), "xxx......", times) == "--RRRRR--"


def test_a_slow_camera_is_not_all_gaps() -> None:
    assert walk(Voter(KofN(3, 5), hold=AT_ONCE, gap_s=3), "xxxx", [0, 10, 20, 30]) == "---R"


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([0, 35, 36, 80], "--RR"),  # the camera gave ten frames a second, and most could not be judged in time
        ([0, 1, 2, 3], "----"),  # it gave nothing meanwhile
    ],
)
def test_a_machine_too_busy_to_judge_every_frame_still_gathers_evidence(numbers: list[int], expected: str) -> None:
    voter, said = Voter(KofN(3, 5), hold=AT_ONCE, gap_s=3), ""
    for number, seconds in zip(numbers, [0.0, 3.5, 3.6, 8.0], strict=True):
        said += "-R"[vote_on(voter, frame_at(seconds, number), tight=True)[OVERALL].raised]
    assert said == expected


def test_a_rewound_file_is_a_gap_and_time_goes_on() -> None:
    voter = Voter(KofN(3, 5), hold=Hold(minimum_hold_s=0.05, cool_down_s=0))
    raised = []
    for index, media_s in enumerate([8.0, 8.04, 0.0, 0.04, 0.08, 0.12]):
        frame = replace(a_frame(index), media_s=media_s)
        raised.append(vote_on(voter, frame, tight=True)[OVERALL].raised)
    assert raised == [False, False, False, False, True, True]


def test_a_reported_gap_drops_the_evidence() -> None:
    voter = Voter(KofN(2, 2), hold=AT_ONCE)
    vote_on(voter, a_frame(0), tight=True)
    voter.gap("door")
    assert not vote_on(voter, a_frame(1), tight=True)[OVERALL].raised
    assert vote_on(voter, a_frame(2), tight=True)[OVERALL].raised
    voter.gap("never seen")


def test_a_forgotten_camera_starts_anew() -> None:
    voter = Voter(KofN(1, 3), hold=AT_ONCE)
    assert vote_on(voter, a_frame(0), tight=True)[OVERALL].raised
    voter.forget("door")
    voter.forget("door")
    assert not vote_on(voter, a_frame(1), tight=False)[OVERALL].raised


def test_a_frame_without_verdicts_votes_for_nothing() -> None:
    (vote,) = Voter()(a_frame(), [])
    assert (vote.detector, vote.raised, vote.level) == (OVERALL, False, 0.0)


def test_memory_does_not_grow_with_the_frames() -> None:
    voter = Voter(KofN(3, 5) | SequentialProbabilityRatio())
    for index in range(200):
        vote_on(voter, a_frame(index), tight=index % 3 == 0)
    (subject,) = voter._subjects.values()
    assert len(subject.standings["tight"].benign.left.window) == 5  # type: ignore[attr-defined]
    assert len(subject.standings) == 1


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Voter(combine="most"), "'combine' has value 'most'"),  # type: ignore[arg-type]
        (lambda: Voter(detectors=[]), "'detectors' has value []"),
        (lambda: Voter({"tight": KofN()}, detectors=["paper"]), "'paper' has no vote policy"),
        (lambda: Voter(gap_s=0), "'gap_s' has value 0"),
        (lambda: Hold(minimum_hold_s=-1), "'minimum_hold_s' has value -1"),
        (lambda: Hold(cool_down_s=float("inf")), "'cool_down_s' has value inf"),
    ],
)
def test_a_voter_with_nonsense_limits_is_refused(build: type, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build()
    assert says in str(caught.value)


def test_a_detector_named_combined_votes_like_any_other_and_is_not_the_overall_vote() -> None:
    voter = Voter(KofN(2, 3), detectors=("combined",), hold=Hold(0, 0))
    frame = a_frame(0)
    one, overall = voter(frame, [a_verdict(a_prediction(frame), True, "combined")])
    assert (one.detector, overall.detector) == ("combined", OVERALL)
    assert not overall.raised
