"""The pipeline from frames to alerts, on fakes: what a user of the generator sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from taintwatch.alerts.incidents import AlertTracker
from taintwatch.pipeline import Step, watch
from taintwatch.records import AlertState
from taintwatch.subjects.expander import Expander, Expansion, SubjectFrame
from taintwatch.vote.policies import KofN
from taintwatch.vote.voter import Hold, Voter
from taintwatch_models.classifier import Rejected
from taintwatch_models.errors import BadFrame
from taintwatch_models.records import Frame, Prediction, Region
from tests.fakes import FakeClassifier, FakeDetector, FakeSupply, a_frame

BRIGHT = 255  # FakeClassifier says toaster, FakeDetector suspects it


def run(
    batches: Sequence[Sequence[Frame]], classifier: FakeClassifier | None = None, expander: Expander | None = None
) -> list[tuple[Step, ...]]:
    voter = Voter(KofN(2, 3), hold=Hold(0, 0))
    return list(
        watch(
            FakeSupply(batches),
            classifier or FakeClassifier(),
            [FakeDetector()],
            voter,
            AlertTracker(),
            expander,
            max_batch=8,
            wait_s=0,
            stopping=lambda: False,
        )
    )


def test_every_frame_comes_out_once_and_in_order() -> None:
    batches = run([[a_frame(0), a_frame(1)], [a_frame(2)]])
    assert [[step.frame.index for step in batch] for batch in batches] == [[0, 1], [2]]
    assert all(isinstance(step.outcome, Prediction) for batch in batches for step in batch)


def test_an_attack_is_raised_at_the_kth_frame_and_cleared_after_it() -> None:
    frames = [a_frame(index, brightness=BRIGHT if 3 <= index < 6 else 0) for index in range(12)]
    steps = [step for batch in run([[frame] for frame in frames]) for step in batch]
    alerts = [(step.frame.index, step.alert.state) for step in steps if step.alert is not None]
    assert alerts[0] == (4, AlertState.RAISED)
    assert alerts[-1] == (8, AlertState.CLEARED)
    assert len({step.alert.event_id for step in steps if step.alert}) == 1


def test_a_failed_batch_is_rejected_frame_by_frame_and_the_next_goes_on() -> None:
    batches = run([[a_frame(0), a_frame(1)], [a_frame(2)]], FakeClassifier(fails_on=[1]))
    assert [type(step.outcome) for batch in batches for step in batch] == [Rejected, Rejected, Prediction]


def test_a_rejected_frame_neither_raises_nor_clears() -> None:
    frames = [a_frame(index, brightness=BRIGHT) for index in range(3)]
    steps = [step for batch in run([frames], FakeClassifier(rejects=[1])) for step in batch]
    assert isinstance(steps[1].outcome, Rejected)
    assert steps[1].votes == ()
    assert steps[2].alert is not None


def test_a_wait_without_frames_gives_an_empty_batch_and_calls_no_model() -> None:
    classifier = FakeClassifier()
    assert run([[], [a_frame(0)]], classifier)[0] == ()
    assert classifier.batches == [1]


def test_two_cameras_do_not_share_an_attack() -> None:
    frames = [a_frame(index, camera, BRIGHT) for index in range(2) for camera in ("door", "yard")]
    alerts = [step.alert for batch in run([frames]) for step in batch if step.alert]
    assert [alert.camera for alert in alerts] == ["door", "yard"]
    assert alerts[0].event_id != alerts[1].event_id


def test_it_stops_when_told_to() -> None:
    told = iter([False, True])
    supply = FakeSupply([[a_frame(index)] for index in range(5)])
    steps = watch(
        supply,
        FakeClassifier(),
        [FakeDetector()],
        Voter(),
        AlertTracker(),
        max_batch=1,
        wait_s=0,
        stopping=lambda: next(told),
    )
    assert len(list(steps)) == 1


class Shifted:
    """The transform of a crop that begins `x` pixels from the left."""

    def __init__(self, x: int) -> None:
        self._x = x

    def region_to_picture(self, region: Region, height: int, width: int) -> Region:
        x, y, w, h = region.box
        return replace(region, box=(x + self._x, y, w, h))


class Halves:
    """Expands each frame into its two halves; refuses the frames that it is told to."""

    def __init__(self, refuses: Sequence[int] = (), ends: int | None = None) -> None:
        self._refuses, self._ends = refuses, ends

    def __call__(self, frame: Frame) -> Expansion:
        if frame.index in self._refuses:
            raise BadFrame("no picture")
        if frame.index == self._ends:
            return Expansion((), ("left", "right"))
        middle = frame.image.shape[1] // 2
        halves = {"left": (0, frame.image[:, :middle]), "right": (middle, frame.image[:, middle:])}
        return Expansion(
            tuple(
                SubjectFrame(frame, replace(frame, image=image, subject=name), Shifted(x))
                for name, (x, image) in halves.items()
            )
        )

    def forget(self, camera: str) -> None:
        pass


def half_bright(index: int) -> Frame:
    frame = a_frame(index)
    image = frame.image.copy()
    image[:, 12:] = BRIGHT
    return replace(frame, image=image)


def test_all_subjects_of_a_batch_are_classified_in_batches_of_at_most_max_batch() -> None:
    classifier = FakeClassifier()
    (steps,) = run([[a_frame(index) for index in range(5)]], classifier, Halves())
    assert classifier.batches == [8, 2]
    assert [step.frame.index for step in steps if step.first] == [0, 1, 2, 3, 4]


def test_each_subject_is_voted_on_by_itself_and_its_region_told_in_the_frames_pixels() -> None:
    steps = [step for batch in run([[half_bright(index)] for index in range(3)], expander=Halves()) for step in batch]
    alerts = [step.alert for step in steps if step.alert is not None]
    assert [(alert.subject, alert.frame_index) for alert in alerts] == [("right", 1)]
    assert alerts[0].region is not None
    assert alerts[0].region.box == (14, 2, 8, 8)  # the fake's (2, 2, 8, 8), half a frame to the right


def test_the_alert_of_a_subject_that_has_left_is_cleared() -> None:
    steps = [
        step for batch in run([[half_bright(index)] for index in range(3)], expander=Halves(ends=2)) for step in batch
    ]
    assert [step.alert.state for step in steps if step.alert] == [AlertState.RAISED, AlertState.CLEARED]
    assert steps[-1].outcome is None


def test_a_frame_that_cannot_be_expanded_is_rejected_and_the_next_goes_on() -> None:
    (steps,) = run([[a_frame(0), a_frame(1)]], expander=Halves(refuses=[0]))
    assert [type(step.outcome) for step in steps] == [Rejected, Prediction, Prediction]
