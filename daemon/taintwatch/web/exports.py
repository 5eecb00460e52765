"""Zip files of alerts on their way to somebody: a few at once, and none is left behind on the disk."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from taintwatch.evidence.reader import Filter
from taintwatch.web.shelf import Shelf
from taintwatch_models.errors import TaintwatchError

__all__ = ["Exports"]

MOST = 2  # at once: each may be as large as all the evidence


class Exports:
    """Makes them. Used by the page's event loop alone."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._under_way = 0

    async def answer(self, wanted: Filter) -> Response:
        """Return an answer that sends the alerts and then removes the file. Raises `TaintwatchError`."""
        if self._under_way >= MOST:
            raise TaintwatchError("Other exports are on their way; try again later.")
        self._under_way += 1
        scratch = Path(tempfile.mkdtemp(prefix="taintwatch-export-"))
        try:
            target = await run_in_threadpool(self._shelf.export, wanted, scratch)
        except BaseException:
            self._end(scratch)
            raise
        return _Passing(target, self, scratch)

    def _end(self, scratch: Path) -> None:
        self._under_way -= 1
        shutil.rmtree(scratch, ignore_errors=True)


class _Passing(FileResponse):
    """A file that goes once it was sent, or once that broke off."""

    def __init__(self, target: Path, exports: Exports, scratch: Path) -> None:
        super().__init__(target, filename="taintwatch-alerts.zip")
        self._exports, self._scratch = exports, scratch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._exports._end(self._scratch)
