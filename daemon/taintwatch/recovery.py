"""A classifier that is made again when it fails: the GPU was lost, the driver died, the runtime gave up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from taintwatch.cameras.pacing import Backoff
from taintwatch.deadlines import Deadline
from taintwatch_models.classifier import Classifier, ModelCard, Rejected
from taintwatch_models.errors import InferenceError, TaintwatchError
from taintwatch_models.records import Frame, Prediction

__all__ = ["LOAD_LIMIT_S", "RecoveringClassifier"]

_log = logging.getLogger(__name__)

LOAD_LIMIT_S = 600.0  # loading a model that takes longer hangs (TensorRT builds an engine for minutes)
FAILURES = 3  # batches that must fail one after the other: a single one may have met a busy GPU
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0


class RecoveringClassifier:
    """Stands before a classifier and takes a new one in its place once it has failed `FAILURES` times in a row.

    `rebuild` makes the classifier again; `fallback` makes one that is worse but works (on the CPU), where that is
    wanted. Both may take long and run in a thread of their own: meanwhile every batch fails at once with
    `InferenceError`, so that capture, status and watchdog go on. While the fallback works, `rebuild` is tried on.
    A rebuilt one that runs on another provider than the first did is not accepted without a fallback.
    Called by one thread; `close` and `degraded` by any.
    """

    def __init__(
        self,
        classifier: Classifier,
        rebuild: Callable[[], Classifier],
        fallback: Callable[[], Classifier] | None = None,
        *,
        backoff: Backoff | None = None,
        deadline: Deadline | None = None,
    ) -> None:
        self._current: Classifier | None = classifier
        self._card = classifier.card
        self._provider = classifier.card.provider
        self._rebuild = rebuild
        self._fallback = fallback
        self._backoff = backoff or Backoff(FIRST_WAIT_S, LONGEST_WAIT_S)
        self._deadline = deadline or Deadline("model")
        self._failures = 0
        self._reason: str | None = None
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # guards what the thread exchanges: _current, _card, _reason, _thread

    @property
    def card(self) -> ModelCard:
        """The card of the classifier at work; of the last one while there is none."""
        return self._card

    def degraded(self) -> str | None:
        """Return why it does not run as it did at the start, as one sentence; None while it does."""
        return self._reason

    def __call__(self, frames: Sequence[Frame]) -> list[Prediction | Rejected]:
        """Classify as the classifier does. Raises `InferenceError` also while there is none."""
        current = self._current
        if current is None:
            raise InferenceError(self._reason or "the model is being loaded again")
        try:
            outcomes = current(frames)
        except InferenceError as error:
            self._failures += 1
            if self._failures >= FAILURES:
                self._break(current, str(error))
            raise
        self._failures = 0
        if self._reason is None:
            self._backoff.reset()
        return outcomes

    def close(self) -> None:
        """Try no more."""
        self._closed.set()
        self._deadline.disarm()

    def _break(self, broken: Classifier, reason: str) -> None:
        """Take the classifier out of use and start making another, unless that is being done already."""
        with self._lock:
            if self._current is not broken:
                return
            self._current, self._failures = None, 0
            self._reason = f"the model failed and is being loaded again: {reason}"
            _log.error("degraded: %s", self._reason)
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._recover, args=(reason,), name="model", daemon=True)
                self._thread.start()

    # What follows runs in the thread.

    def _recover(self, reason: str) -> None:
        while not self._wait():
            failure = self._try_rebuild()
            if failure is None:
                return
            if self._fallback is not None and self._current is None:
                self._try_fallback(self._fallback, reason)
            _log.warning("the model cannot be loaded again: %s", failure)

    def _wait(self) -> bool:
        wait_s = self._backoff.next_s()
        self._deadline.arm(wait_s + LOAD_LIMIT_S)
        return self._closed.wait(wait_s)

    def _try_rebuild(self) -> str | None:
        """Make it again; return why that failed."""
        try:
            classifier = self._rebuild()
        except TaintwatchError as error:
            return str(error)
        if classifier.card.provider != self._provider:
            return f"it would run on {classifier.card.provider}, not on {self._provider}"
        with self._lock:
            self._current, self._card, self._reason = classifier, classifier.card, None
            self._thread = None
        self._deadline.disarm()
        _log.warning("recovered: the model runs on %s again", classifier.card.provider)
        return None

    def _try_fallback(self, fallback: Callable[[], Classifier], reason: str) -> None:
        try:
            classifier = fallback()
        except TaintwatchError as error:
            _log.error("the fallback cannot be loaded either: %s", error)
            return
        with self._lock:
            self._current, self._card = classifier, classifier.card
            self._reason = (
                f"running on {classifier.card.provider} because the model failed on {self._provider}: {reason}"
            )
        _log.warning("degraded: %s", self._reason)
