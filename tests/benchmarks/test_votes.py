"""Score sequences through the daemon's vote: what is counted, what is chosen, and the command from end to end."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.votes.__main__ import votes
from benchmarks.votes.choice import Measured, choose
from benchmarks.votes.independence import FRAMES_A_DAY, expected_a_day
from benchmarks.votes.outcome import (
    AttackOutcome,
    BenignOutcome,
    attack_outcome,
    benign_outcome,
    fewer_a_day,
    poisson_interval,
)
from benchmarks.votes.pictures import Patch, read_patches
from benchmarks.votes.policies import Candidate, candidates, default_candidate
from benchmarks.votes.replay import raised, rises
from benchmarks.votes.scenes import LIGHTS, attack_scenes, benign_stream, light_of
from benchmarks.votes.streams import Stream, halves
from taintwatch.vote.policies import KofN
from taintwatch.vote.voter import Voter
from taintwatch_models.errors import UsageError
from taintwatch_models.records import Frame, Verdict
from tests.tiny_model import footage, write_video

HOLD, COOL_DOWN = 15, 30  # the daemon's defaults of 1 and 2 seconds, in frames


def flags(text: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.array([letter == "x" for letter in text])


def alarms_by_hand(suspicious: Sequence[bool], k: int, n: int) -> list[int]:
    """Count k-of-n alarms directly from the definition, with the hold and the cool-down in frames."""
    wanted = standing = False
    changed, found = -(10**6), []
    for index in range(len(suspicious)):
        window = suspicious[max(0, index - n + 1) : index + 1]
        wanted = (sum(window) > 0 or len(window) < n) if wanted else sum(window) >= k
        if wanted != standing and index - changed >= (HOLD if standing else COOL_DOWN):
            standing, changed = wanted, index
            found += [index] if standing else []
    return found


@given(
    runs=st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=12),
    window=st.integers(1, 15).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n))),
)
def test_alarms_of_k_of_n_are_those_of_a_direct_count(runs: list[tuple[bool, int]], window: tuple[int, int]) -> None:
    suspicious = [value for value, count in runs for _ in range(count)]
    standing = raised(np.array(suspicious, np.bool_), KofN(*window))
    assert rises(standing).tolist() == alarms_by_hand(suspicious, *window)


def test_two_bursts_are_two_alarms_and_one_that_flickers_is_one() -> None:
    assert rises(raised(flags("..xxx" + "." * 60 + "xxx.."), KofN(3, 5))).tolist() == [4, 67]
    assert rises(raised(flags("xx.xx.xx..xx.xx.xx" + "." * 30), KofN(3, 5))).tolist() == [3]
    assert rises(raised(flags("xx..xx..xx..."), KofN(3, 4))).tolist() == []


@given(
    runs=st.lists(st.tuples(st.booleans(), st.integers(1, 60)), max_size=12), candidate=st.sampled_from(candidates())
)
def test_a_replay_says_what_the_daemons_voter_says(runs: list[tuple[bool, int]], candidate: Candidate) -> None:
    suspicious = [value for value, count in runs for _ in range(count)]
    voter, picture = Voter(candidate.policy, agree=False), np.zeros((1, 1, 3), np.uint8)
    said = []
    for index, one in enumerate(suspicious):
        verdict = Verdict("c", 0, "tight", one, 0.0, 1.0, 0, "", None, None, None, {})
        said.append(voter(Frame("c", index, picture, 0, 0, index / 15), (verdict,))[-1].raised)
    assert raised(np.array(suspicious, np.bool_), candidate.policy).tolist() == said


def test_the_grid_holds_every_window_up_to_a_second_and_the_daemons_default() -> None:
    grid = candidates()
    windows = {(c.settings["k"], c.settings["n"]) for c in grid if c.kind == "k-of-n"}
    assert windows == {(k, n) for n in range(1, 16) for k in range(1, n + 1)}
    assert len({candidate.name for candidate in grid}) == len(grid)
    assert default_candidate() in grid


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(0, 0.0, 3.68888), (1, 0.025318, 5.571643), (10, 4.795389, 18.390356), (100, 81.363991, 121.626794)],
)
def test_the_poisson_interval_is_garwoods(count: int, low: float, high: float) -> None:
    assert poisson_interval(count) == pytest.approx((low, high), abs=1e-4)


def test_the_formula_for_independent_frames_agrees_with_independent_frames() -> None:
    share, policy = 0.01, KofN(2, 3)
    drawn = np.random.default_rng(1).random(2_000_000) < share
    seen = len(rises(raised(drawn, policy))) / len(drawn) * FRAMES_A_DAY
    assert expected_a_day(policy, share) == pytest.approx(seen, rel=0.15)


def stream(number: int, text: str) -> Stream:
    return Stream("benign", f"{number:04}", tuple(float(letter == "x") for letter in text), light_of(number))


def test_false_alarms_become_a_rate_a_day_with_both_intervals() -> None:
    hour = 15 * 3600
    noisy = "xxx" + "." * 97
    outcome = benign_outcome(KofN(3, 5), [stream(0, noisy * 5 + "." * (hour - 500)), stream(1, "." * hour)], 0.5)
    assert (outcome.hours, outcome.alarms, outcome.streams_with_alarms) == (2.0, 5, 1)
    assert outcome.a_day == 60.0
    assert outcome.poisson == pytest.approx((1.623486 * 12, 11.668332 * 12), rel=1e-5)
    assert outcome.by_stream == pytest.approx((0.0, 120.0))  # all five are of one stream: none, or twice as many
    assert outcome.upper == outcome.poisson[1]


def test_two_policies_are_compared_on_the_same_streams() -> None:
    quiet, lively = stream(0, "xx" + "." * 898), stream(1, ("xxx" + "." * 97) * 9)
    fewer, (low, high) = fewer_a_day(KofN(3, 5), KofN(2, 5), [quiet, lively, lively, quiet], 0.5)
    assert fewer == 0.5 * 24 * 60  # one alarm fewer in every second minute
    assert low >= 0.0
    assert high == 24 * 60
    assert fewer_a_day(KofN(3, 5), KofN(3, 5), [quiet, lively], 0.5) == (0.0, (0.0, 0.0))


def attack(text: str, scores: str, appears: int = 4, patch: str = "p") -> Stream:
    fooled = tuple(letter == "f" for letter in text)
    return Stream("attack", "0", tuple(float(s == "x") for s in scores), "dim", appears, fooled, patch)


def test_the_time_to_alarm_runs_from_the_first_fooled_frame_and_missed_ones_count() -> None:
    found = attack_outcome(
        KofN(3, 5),
        [
            attack("....ffffffff", "....xxx....."),  # the third fooled frame
            attack("....__ffffff", "......xxx..."),  # it fools from its third frame on
            attack("....ffffffff", "....x..x...."),  # never
            attack("....ffffffff", "xxxxxxxxxxxx"),  # an alert stood before
            attack("....f_______", "....xxxxxxxx"),  # it fools too seldom: no attack
        ],
        0.5,
    )
    assert (found.attacks, found.already, found.found, found.missed) == (4, 1, 2, 1)
    assert (found.median, found.ninety) == (3.0, None)
    assert found.within == pytest.approx(2 / 3)


def measured(name: str, upper: float, within: float, ninety: float | None, median: float = 3.0) -> Measured:
    benign = BenignOutcome(10.0, 0, 4, 0, 0.0, (0.0, upper), (0.0, 0.0))
    return Measured(Candidate(name), benign, AttackOutcome(20, 0, 20, median, ninety, within))


def test_the_fastest_policy_that_is_quiet_enough_is_chosen() -> None:
    rows = [measured("first", 900, 1.0, 1), measured("quick", 0.9, 0.98, 4), measured("slow", 0.1, 0.97, 9)]
    assert choose(rows).candidate.kind == "quick"


def test_where_none_is_quiet_enough_the_quietest_that_is_soon_enough_is_chosen() -> None:
    rows = [
        measured("first", 900, 1.0, 1),
        measured("quiet, slower", 40, 0.96, 9),
        measured("quiet", 40, 0.96, 8),
        measured("quieter but too late", 20, 0.5, None),
    ]
    assert choose(rows).candidate.kind == "quiet"


def test_the_halves_share_no_patch_and_each_has_every_light() -> None:
    streams = [stream(number, ".") for number in range(16)]
    streams += [attack("....f", "....x", patch=f"p{number % 5}") for number in range(20)]
    first, second = halves(streams)
    assert {one.light for one in first.benign} == {one.light for one in second.benign} == set(LIGHTS)
    assert not {one.patch for one in first.attacks} & {one.patch for one in second.attacks}
    assert len(first.benign) + len(second.benign) == 16
    assert len(first.attacks) + len(second.attacks) == 20


def test_a_benign_stream_is_the_same_each_time_and_another_for_another_number() -> None:
    prints = read_patches(None)
    first, again, other = (benign_stream(number, 3, None, prints, 5.0) for number in (2, 2, 3))
    assert np.array_equal(first.render(17), again.render(17))
    assert not np.array_equal(first.render(17), other.render(17))
    assert not any(first.ground_truth(index).attacked for index in range(75))


def test_the_patch_comes_at_the_frame_that_is_said_and_its_control_too() -> None:
    shown = next(attack_scenes(5, 0, None, read_patches(None)[0], 1))
    before, after = shown.appears - 1, shown.appears
    assert not shown.scene.ground_truth(before).attacked
    assert shown.scene.ground_truth(after).attacked
    assert np.array_equal(shown.scene.render(before), shown.control.render(before))
    assert not np.array_equal(shown.scene.render(after), shown.control.render(after))


def test_patches_are_read_from_pictures_and_from_arrays(tmp_path: Path) -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 2] = 255  # OpenCV's order
    cv2.imwrite(str(tmp_path / "a.png"), red)
    np.savez(tmp_path / "b.npz", patch=np.stack([np.ones((8, 8)), np.zeros((8, 8)), np.zeros((8, 8))]))
    np.savez(tmp_path / "parts.npz", pixels=np.zeros(3))
    found: dict[str, Patch] = {patch.name: patch for patch in read_patches(tmp_path)}
    assert set(found) == {"on-sign", "beside", "a", "b"}
    assert np.array_equal(found["a"].picture, red)
    assert np.array_equal(found["b"].picture, red)


def test_a_folder_without_patches_and_a_file_that_is_none_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder, or neither"):
        read_patches(tmp_path / "missing")
    (tmp_path / "broken.npz").write_bytes(b"not arrays")
    with pytest.raises(UsageError, match=r"broken\.npz is no file of arrays"):
        read_patches(tmp_path)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(votes, [str(argument) for argument in arguments])


def few(work: Path, out: Path, *more: str | Path) -> Result:
    """The smallest run that has all parts: eight streams of two seconds and a few attacks, before drawn streets."""
    return run("--hours", "0.001", "--stream-seconds", "2", "--attacks", "2", "--work", work, "--out", out, *more)


def test_the_command_chooses_a_policy_and_a_second_run_scores_nothing_anew(tmp_path: Path) -> None:
    video = write_video(tmp_path / "walk.mp4", footage(20))
    out, work = tmp_path / "votes.json", tmp_path / "work"
    done = few(work, out, "--footage", video)
    assert done.exit_code == 0, (done.output, done.exception)
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    document = json.loads(out.read_text())
    names = [row["name"] for row in document["rows"]]
    assert document["chosen"] in names
    assert document["default"] in names
    hours = document["rows"][0]["reporting"]["benign"]["hours"]
    assert math.isclose(hours, 4 * 30 / 15 / 3600)
    assert document["footage"][0]["streams"] == 1
    assert f"**Chosen: {document['chosen']}.**" in out.with_suffix(".md").read_text()
    kept = {path: path.stat().st_mtime_ns for path in (work / "scores").iterdir()}
    assert few(work, tmp_path / "again.json", "--footage", video, "--no-picture").exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in (work / "scores").iterdir()} == kept
    assert json.loads((tmp_path / "again.json").read_text())["rows"] == document["rows"]
    assert not (tmp_path / "again.png").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--footage", "nowhere"), "nowhere does not exist"),
        (("--scenes", "nowhere.tar"), "no such folder or archive"),
        (("--patches", "nowhere"), "no such folder, or neither"),
        (("--calibration", "nowhere.json"), "nowhere.json"),
        (("--out", f"{__file__}/votes.json"), "its folder cannot be made"),
    ],
)
def test_what_is_not_there_is_named_in_one_sentence(arguments: tuple[str, str], sentence: str, tmp_path: Path) -> None:
    done = few(tmp_path / "work", tmp_path / "votes.json", *arguments)
    assert isinstance(done.exception, Exception)
    assert sentence in str(done.exception)
    assert not (tmp_path / "votes.json").exists()
