"""The daemon's half of replay: a ROUTER socket in a thread of its own answers from the store."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

import zmq

from taintwatch.alerts.guard import REPLAY_LIMITS, Guard
from taintwatch.alerts.messages import MessageError
from taintwatch.alerts.replay import (
    LARGEST_REQUEST,
    MOST_MESSAGES,
    Request,
    decode_request,
    encode_answer,
    encode_failure,
)
from taintwatch.alerts.security import LoopbackOnly, Security, bind_again, bind_socket
from taintwatch_models.errors import TaintwatchError

__all__ = ["Archive", "ReplayServer"]

STEP_MS = 1000  # how soon a revoked client's connection is ended
WAITING_REQUESTS = 4  # of one client; the others wait with it, and go with it. Clients have turns (ROUTER is fair)
WAITING_ANSWERS = 100  # for one client that does not take them; further ones are dropped


class Archive(Protocol):
    """Whatever knows what was published: an `AlertReader`."""

    def published(self, topic: str, instance: str, first: int, last: int, limit: int) -> list[str]:
        """Return JSON, in order. Raises `TaintwatchError`."""
        ...

    def published_since(self, topic: str, instance: str, first: int, before: str, limit: int) -> list[str]:
        """Return JSON, in order, of that start and later ones. Raises `TaintwatchError`."""
        ...


class ReplayServer:
    """Answers requests for missed alerts. A context manager.

    `alive` is told about once a second that the thread lives. Raises `PublishError` where `endpoint` cannot be bound.
    """

    def __init__(
        self,
        archive: Archive,
        endpoint: str,
        *,
        security: Security | None = None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._archive = archive
        self._security = security or LoopbackOnly()
        self._alive = alive
        self._context: zmq.Context[Any] = zmq.Context()
        self._stopping = threading.Event()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._guard: Guard | None = None
        self.answered = 0
        """Requests answered since the start."""
        self.refused = 0
        """Requests that were none, or that the store could not answer."""
        bound: Future[str] = Future()
        self._thread = threading.Thread(target=self._run, args=(bound, endpoint), name="replay", daemon=True)
        self._thread.start()
        try:
            self.endpoint = bound.result()
        except BaseException:
            self.close()
            raise

    def close(self, timeout_s: float = 2.0) -> None:
        """Stop answering, within `timeout_s`. May be called again."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        os.write(self._wake_write, b"!")
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            os.close(self._wake_read)
            os.close(self._wake_write)
            self._context.term()
            if self._guard is not None:
                self._guard.close()

    def __enter__(self) -> ReplayServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, bound: Future[str], endpoint: str) -> None:
        try:
            try:
                revision = self._security.revision()  # before the socket: whoever connects later is looked at later
                socket, endpoint = self._open(endpoint)
            except Exception as error:  # whatever it is, it is raised where the server is made, which waits for it
                bound.set_exception(error)
                return
            bound.set_result(endpoint)
            with contextlib.suppress(zmq.ContextTerminated):
                current: zmq.Socket[bytes] | None = socket
                while current is not None and self._serve(current, revision):
                    revision = self._security.revision()
                    current = bind_again(lambda: self._open(endpoint)[0], self._stopping, self._alive)
        finally:
            self._security.release(self._context)

    def _open(self, endpoint: str) -> tuple[zmq.Socket[bytes], str]:
        socket: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        try:
            socket.sndhwm = WAITING_ANSWERS
            socket.rcvhwm = WAITING_REQUESTS
            socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_REQUEST)
            bound, self._guard = bind_socket(
                socket, endpoint, self._security, REPLAY_LIMITS, "Missed alerts", self._guard
            )
            return socket, bound
        except BaseException:
            socket.close(linger=0)
            raise

    def _serve(self, socket: zmq.Socket[bytes], revision: int) -> bool:
        """Answer until told to stop (False), or until every connection must be made anew (True)."""
        with socket:
            look_s = time.monotonic() + STEP_MS / 1000
            poller = zmq.Poller()
            poller.register(socket, zmq.POLLIN)
            poller.register(self._wake_read, zmq.POLLIN)
            while not self._stopping.is_set():
                self._alive()
                ready = dict(poller.poll(STEP_MS))
                if socket in ready:
                    self._answer(socket)
                if time.monotonic() >= look_s:
                    look_s = time.monotonic() + STEP_MS / 1000
                    if self._security.revision() != revision:
                        return True
            return False

    def _answer(self, socket: zmq.Socket[bytes]) -> None:
        client, *frames = socket.recv_multipart()
        try:
            request = decode_request(frames[0] if len(frames) == 1 else b"")
        except MessageError:
            self.refused += 1
            return  # whoever speaks like that does not understand an answer either
        with contextlib.suppress(zmq.Again):  # ROUTER drops for a client that takes nothing; that is its own loss
            socket.send_multipart([client, *self._frames(request)], zmq.NOBLOCK)
        self.answered += 1

    def _frames(self, request: Request) -> list[bytes]:
        topic, instance, first, limit = request.topic, request.instance, request.first, MOST_MESSAGES + 1
        try:
            if request.last is None:
                found = self._archive.published_since(topic, instance, first, request.before or "", limit)
            else:
                found = self._archive.published(topic, instance, first, request.last, limit)
            return encode_answer(request, found[:MOST_MESSAGES], more=len(found) > MOST_MESSAGES)
        except TaintwatchError as error:
            self.refused += 1
            return encode_failure(request, str(error))
