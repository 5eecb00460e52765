"""Who may see the page: loopback or the token, and no other site on somebody's behalf."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers

from taintwatch.evidence.audit import AuditLog, read_audit
from taintwatch.secret_files import read_token
from taintwatch.web.address import is_known_host, parse_address
from taintwatch.web.authentication import COOKIE, CSRF_HEADER, SESSION_S, Sessions
from taintwatch.web.live import LiveState
from taintwatch.web.server import WebServer
from taintwatch_models.errors import ConfigError
from tests.web_scene import PATIENCE_S, TOKEN, a_status, ask, detection, records_of, serving, watching, web_config

BUSY_S = 6.0  # on a machine that runs other tests beside; `benchmarks.siege` measures it alone
EVERYTHING = [
    "/", "/static/app.js", "/static/style.css", "/stream", "/api/about", "/api/config", "/api/calibration",
    "/api/alerts", "/api/alerts/e1", "/api/trials", "/alerts/e1/frame", "/alerts/e1/clip", "/export.zip",
    "/trials/a/report.html", "/no/such/thing", "/login",
]  # fmt: skip


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def guarded(token_file: Path) -> Iterator[WebServer]:
    with serving(web_config(token_file=str(token_file))) as server:
        yield server


def cookie_of(server: WebServer) -> str:
    answer = ask(server, "/login", "POST", f"token={quote(TOKEN)}".encode())
    assert answer.status == 303
    return answer.headers["set-cookie"].partition(";")[0]


def wait_for_hanging_up(client: socket.socket) -> None:
    """Wait until the other side hangs up. Raises `TimeoutError` where it does not."""
    client.settimeout(PATIENCE_S)
    with contextlib.suppress(ConnectionError):
        while client.recv(4096):
            pass


def test_log_ins_right_and_wrong_stand_in_the_audit_log(token_file: Path, tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    with serving(web_config(token_file=str(token_file)), audit=log) as server:
        ask(server, "/login", "POST", b"token=wrong")
        ask(server, "/api/about", authorization="Bearer wrong")
        cookie_of(server)
    entries = read_audit(tmp_path / "audit.jsonl", None).entries
    assert [entry["action"] for entry in entries] == ["login_failed", "login_failed", "login"]
    assert {entry["who"] for entry in entries} == {"page 127.0.0.1"}
    assert TOKEN not in (tmp_path / "audit.jsonl").read_text()


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
def test_a_connection_on_which_no_whole_request_comes_is_closed(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr("taintwatch.web.http.REQUEST_S", 0.3)
    monkeypatch.setattr("taintwatch.connections.SILENT_S", 1)
    with serving(web_config()) as server, socket.create_connection(server.address) as client:
        client.sendall(said)
        wait_for_hanging_up(client)


def test_the_next_request_on_a_connection_is_not_waited_for_without_end_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("taintwatch.web.http.REQUEST_S", 1.0)
    with serving(web_config()) as server, socket.create_connection(server.address, timeout=PATIENCE_S) as client:
        for _ in range(2):
            client.sendall(b"GET /static/icon.svg HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while b"</svg>" not in answer:
                answer += client.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200")
        client.sendall(b"GET /static/ic")
        wait_for_hanging_up(client)


def test_an_answer_that_takes_longer_than_a_request_may_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taintwatch.web.http.REQUEST_S", 1.5)
    live = LiveState()
    live.progress(a_status())
    with serving(web_config(), live) as server, watching(server, "pictures=0") as stream:
        beats = (told for told, _ in records_of(stream) if told["kind"] == "beat")
        assert next(beats)  # the first comes after two seconds


def test_a_body_that_never_comes_whole_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taintwatch.web.body.BODY_S", 0.3)
    with serving(web_config()) as server, socket.create_connection(server.address, timeout=PATIENCE_S) as client:
        csrf = ask(server, "/api/about").json()["csrf"]
        lines = ("POST /api/alerts/e1/note HTTP/1.1", "Host: localhost", "Content-Length: 9", f"{CSRF_HEADER}: {csrf}")
        client.sendall("\r\n".join((*lines, "", '{"note')).encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 400")


def test_a_stranger_without_the_token_gets_401_everywhere(guarded: WebServer) -> None:
    assert {path: ask(guarded, path).status for path in EVERYTHING} == dict.fromkeys(EVERYTHING, 401)
    posts = ["/api/alerts/e1/acknowledge", "/api/alerts/e1/note", "/", "/stream"]
    assert {path: ask(guarded, path, "POST", b"{}").status for path in posts} == dict.fromkeys(posts, 401)


@pytest.mark.parametrize("value", ["", "wrong", TOKEN[:-1], TOKEN + "x", "a" * 10_000, "%00", "%ff"])
def test_a_wrong_token_opens_nothing_and_is_not_repeated(guarded: WebServer, value: str) -> None:
    answer = ask(guarded, "/login", "POST", f"token={value}".encode())
    assert (answer.status, answer.headers["set-cookie"]) == (401, None)
    assert value == "" or value.encode() not in answer.body
    assert ask(guarded, "/", Authorization=f"Bearer {value}").status == 401
    assert ask(guarded, "/", Cookie=f"{COOKIE}={value}").status == 401


def test_the_token_opens_a_session_that_scripts_and_other_sites_cannot_use(guarded: WebServer) -> None:
    answer = ask(guarded, "/login", "POST", f"token={TOKEN}".encode())
    flags = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= flags
    assert TOKEN not in answer.headers["set-cookie"]
    assert ask(guarded, "/api/about", Cookie=cookie_of(guarded)).status == 200


def test_a_program_may_give_the_token_itself(guarded: WebServer) -> None:
    assert ask(guarded, "/api/about", Authorization=f"Bearer {TOKEN}").status == 200


def test_a_session_ends() -> None:
    now = [0.0]
    keys = Sessions(TOKEN, clock=lambda: now[0])
    secret = keys.open_session()
    headers = Headers({"cookie": f"{COOKIE}={secret}"})
    assert keys.admits(headers)
    now[0] = SESSION_S + 1
    assert not keys.admits(headers)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "", "127.0.0.1.nip.io", "a b", "[::1", "[gg]"]
)
def test_a_name_that_was_pointed_here_gets_nothing(host: str) -> None:
    with serving(web_config()) as server:
        assert ask(server, "/api/about", host=host or " ").status == 400


def test_known_names_are_addresses_localhost_and_those_given() -> None:
    names = frozenset({"gate.example"})
    for host in ("127.0.0.1:8080", "localhost", "[::1]:80", "192.0.2.7", "GATE.example:8443"):
        assert is_known_host(host, names), host
    assert not is_known_host("other.example", names)


def test_other_sites_can_neither_write_nor_read() -> None:
    with serving(web_config()) as server:
        csrf = ask(server, "/api/about").json()["csrf"]
        write = "/api/alerts/e1/note"
        body = b'{"note": "x"}'
        assert ask(server, write, "POST", body).status == 403
        assert ask(server, write, "POST", body, X_Taintwatch_CSRF="guess").status == 403
        for header in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}):
            assert ask(server, write, "POST", body, X_Taintwatch_CSRF=csrf, **header).status == 403
        # With both it gets as far as the alert, which is not there.
        assert ask(server, write, "POST", body, X_Taintwatch_CSRF=csrf).status == 400
        assert "access-control-allow-origin" not in ask(server, "/", Origin="https://evil.example").headers


def test_every_answer_tells_browsers_what_to_refuse() -> None:
    with serving(web_config()) as server:
        for path in ("/", "/api/about", "/static/app.js", "/nothing"):
            headers = ask(server, path).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"


def test_the_page_brings_everything_along_and_has_no_inline_script() -> None:
    with serving(web_config()) as server:
        html = ask(server, "/").body.decode()
        names = re.findall(r'(?:src|href)="([^"#]+)"', html)
        assert all(name.startswith("/static/") or name == "/export.zip" for name in names)
        assert not re.search(r"<script(?![^>]*src=)|\son[a-z]+=|style=", html)
        for name in ("app", "live", "draw", "alerts", "settings", "stream", "dom"):
            script = ask(server, f"/static/{name}.js")
            assert script.status == 200
            assert b"http://" not in script.body.replace(b"http://www.w3.org/2000/svg", b"")
            assert b"innerHTML" not in script.body


@pytest.mark.parametrize(
    "path",
    ["/static/../server.py", "/static/..%2Fserver.py", "/static/%2e%2e/server.py", "/static//etc/passwd",
     "/alerts/../../etc/passwd", "/alerts/..%2F..%2Fx/frame", "/alerts/e1/..%2Falerts.db",
     "/trials/..%2F..%2Fetc/passwd",
     "/trials/x/..%2F..%2F..%2Fetc%2Fpasswd", "/alerts/%00/frame"],
)  # fmt: skip
def test_no_path_leads_out(path: str, tmp_path: Path) -> None:
    with serving(web_config(f'[evidence]\nfolder = "{tmp_path / "e"}"', trials=str(tmp_path))) as server:
        assert ask(server, path).status in (400, 404)


def test_beyond_loopback_a_token_is_needed() -> None:
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0:0, which other machines may reach; set web\.token_file"):
        WebServer(lambda: web_config(bind="0.0.0.0:0"), detection, LiveState())


@pytest.mark.parametrize("bind", ["8080", "localhost", ":80", "127.0.0.1:99999", "http://x:80", "[::1"])
def test_an_address_that_is_none_is_named(bind: str) -> None:
    with pytest.raises(ConfigError, match=r"web\.bind is .* must be like 127\.0\.0\.1:8080"):
        parse_address("web.bind", bind)


def test_a_port_that_is_taken_is_named() -> None:
    with serving(web_config()) as server:
        taken = web_config(bind=f"127.0.0.1:{server.address[1]}")
        with pytest.raises(ConfigError, match=r"web\.bind is .* cannot be used"):
            WebServer(lambda: taken, detection, LiveState())


def test_a_token_that_others_may_read_is_refused(token_file: Path) -> None:
    token_file.chmod(0o644)
    with pytest.raises(ConfigError, match="can be read or changed by other users"):
        read_token(token_file, "web.token_file")
    token_file.chmod(0o600)
    token_file.write_text("short")
    with pytest.raises(ConfigError, match="fewer than 16 characters"):
        read_token(token_file, "web.token_file")
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_token(token_file.with_name("none"), "web.token_file")


def test_a_certificate_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("not a certificate")
    config = web_config(certificate=str(tmp_path / "c"), private_key=str(tmp_path / "c"))
    with pytest.raises(ConfigError, match=r"web\.certificate and web\.private_key cannot be used"):
        WebServer(lambda: config, detection, LiveState())


def raw(server: WebServer, *lines: str, body: str = "") -> bytes:
    """Send lines as they are; return the answer's first line."""
    with socket.create_connection(server.address, timeout=PATIENCE_S) as client:
        client.sendall("\r\n".join((*lines, "Connection: close", "", body)).encode("latin-1"))
        return client.recv(4096).partition(b"\r\n")[0]


@pytest.mark.parametrize(
    "cookie", ['a="' + "\\" * 16_000 + '"', "a=b;" * 4000, 'a="' + "\\101" * 4000 + '"', '"' * 16_000]
)
def test_no_cookie_takes_longer_than_it_is_long(guarded: WebServer, cookie: str) -> None:
    began = time.monotonic()
    assert raw(guarded, "GET / HTTP/1.1", "Host: localhost", f"Cookie: {cookie}").split()[1] in (b"401", b"431", b"400")
    assert time.monotonic() - began < 2.0


def test_headers_without_end_are_refused(guarded: WebServer) -> None:
    many = [f"X-{number}: {'x' * 1000}" for number in range(200)]
    with contextlib.suppress(ConnectionError):  # it hung up while we were still speaking
        assert raw(guarded, "GET / HTTP/1.1", "Host: localhost", *many).split()[1] in (b"400", b"431")
    assert ask(guarded, "/api/about", Authorization=f"Bearer {TOKEN}").status == 200


def test_crowds_that_say_nothing_or_half_of_it_keep_no_owner_waiting(guarded: WebServer) -> None:
    with contextlib.ExitStack() as crowd:
        for number in range(1500):
            client = crowd.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(guarded.address)
            if number % 3 == 0:
                with contextlib.suppress(OSError):
                    client.send(b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\ntoken=")
        began = time.monotonic()
        assert ask(guarded, "/api/about", Authorization=f"Bearer {TOKEN}").status == 200
        assert time.monotonic() - began < BUSY_S


def test_wrong_tokens_are_logged_and_slowed_and_the_right_one_is_not(
    guarded: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    began = time.monotonic()
    for _ in range(3):
        assert ask(guarded, "/login", "POST", b"token=wrong").status == 401
    assert time.monotonic() - began > 1.0
    assert "a wrong token was given from 127.0.0.1 (3 attempts of late)" in caplog.text
    assert "wrong\n" not in caplog.text
    began = time.monotonic()
    assert ask(guarded, "/login", "POST", f"token={TOKEN}".encode()).status == 303
    assert time.monotonic() - began < 1.0


@pytest.mark.parametrize("path", ["/export.zip", "/stream", "/api/alerts", "/static/app.js"])
def test_another_site_cannot_make_a_browser_fetch_from_a_page_without_a_token(path: str) -> None:
    with serving(web_config()) as server:
        assert ask(server, path, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors").status == 403
        assert ask(server, "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status == 200
        assert ask(server, "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors").status == 403


@given(st.binary(max_size=600))
@settings(max_examples=100, deadline=None)
def test_whatever_is_sent_is_answered_or_hung_up_on_and_nothing_breaks(said: bytes) -> None:
    with serving(web_config()) as server:
        with socket.create_connection(server.address, timeout=PATIENCE_S) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: " + said + b"\r\nConnection: close\r\n\r\n")
            client.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while client.recv(4096):
                    pass
        assert ask(server, "/static/icon.svg").status == 200
