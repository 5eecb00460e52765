"""The server of page and metrics: an answer that is under way is brought to its end, whoever else comes."""

from __future__ import annotations

import http.client
import socket
from contextlib import ExitStack

import pytest
from starlette.types import Receive, Scope, Send

from taintwatch.web.http import HttpServer, Listener
from tests.web_scene import PATIENCE_S

LONG = 16 << 20  # bytes: more than the kernel takes at once


async def long_answer(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["state"]["connection"].hold()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(LONG).encode())]})
    await send({"type": "http.response.body", "body": bytes(LONG)})


@pytest.mark.parametrize("close", [True, False])
def test_a_crowd_does_not_cut_off_what_is_complete_but_not_sent_yet(close: bool) -> None:
    listener = Listener("web", "127.0.0.1:0", long_answer, token=False, most=8)
    with HttpServer([listener]) as server, ExitStack() as stack:
        owner = http.client.HTTPConnection(*server.address("web"), timeout=PATIENCE_S)
        stack.callback(owner.close)
        owner.request("GET", "/", headers={"Connection": "close"} if close else {})
        answer = owner.getresponse()
        for _ in range(16):
            stack.enter_context(socket.create_connection(server.address("web"))).sendall(b"GET /")
        while not server.connections("web").evicted:
            pass
        assert len(answer.read()) == LONG
