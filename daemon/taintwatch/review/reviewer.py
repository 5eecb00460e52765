"""Between verdict and vote: what people dismissed is not suspicious while it looks as it did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from taintwatch.review.dismissals import Dismissal, Known, Reason
from taintwatch_models.records import Frame, Verdict

__all__ = ["Reviewer"]


class Reviewer:
    """Marks verdicts of dismissed things. Used by the pipeline's thread only.

    A verdict is dismissed where camera, place and *appearance* are those of a dismissal: what lies on the place and was
    not there before is judged as before. The label does not matter: of a thing that it does not know, and with people
    passing beside it, a classifier says one thing now and another then.
    """

    def __init__(self, known: Callable[[str], tuple[Known, ...]]) -> None:
        """`known` gives what counts at a camera now."""
        self._known = known

    def __call__(self, frame: Frame, verdicts: Sequence[Verdict], *, alert_open: bool) -> tuple[Verdict, ...]:
        """Return the verdicts; a dismissed one is not `suspicious` and says by which `dismissal`.

        `frame`: the camera's, whose pixels the regions count. `alert_open`: whether an alert stands there: what is
        merely acknowledged keeps it up, and raises no new one.
        """
        return tuple(
            verdict if not verdict.suspicious else self._judged(frame, verdict, alert_open) for verdict in verdicts
        )

    def _judged(self, frame: Frame, verdict: Verdict, alert_open: bool) -> Verdict:
        for known in self._known(frame.camera):
            if _counts(known.dismissal, alert_open) and _looks(known, frame, verdict):
                return replace(verdict, suspicious=False, dismissal=known.dismissal.event_id)
        return verdict


def _counts(dismissal: Dismissal, alert_open: bool) -> bool:
    return not (alert_open and dismissal.reason is Reason.ACKNOWLEDGED)


def _looks(known: Known, frame: Frame, verdict: Verdict) -> bool:
    return verdict.region is not None and known.appearance.shows(frame.image, verdict.region.box)
