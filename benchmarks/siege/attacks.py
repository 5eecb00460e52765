"""The attacks: each is done over and over until the siege ends, from processes and sockets of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.utils.monitor import recv_monitor_message

from benchmarks.siege.site import SiegeSite
from benchmarks.soaking.cameras import MjpegCamera, Mode
from benchmarks.soaking.daemon import Daemon
from taintwatch.alerts.replay import Request, encode_request
from tests.ports import free_port

__all__ = ["ATTACKS", "FLOOD", "INSIDE", "Siege"]

ANSWER_S = 10.0  # an honest client is answered within
CROWD = 2000  # silent connections at once, on each address
BLINDING = ("NaN", "Infinity", "1e999", "9" * 4000, "1e300")
HOSTILE_LABEL = "stop\\u001b]0;owned\\u0007\\u009b31mRED\\u202egnp.exe"
FLOOD = """
import os, sys, time, zmq
attacker = zmq.Context().socket(zmq.XSUB)
attacker.sndhwm = attacker.linger = 0
attacker.connect(sys.argv[1])
for _ in range(20_000):
    attacker.send(b"\\x01" + os.urandom(int(sys.argv[2])))
time.sleep(60)
"""
"""A program that asks for twenty thousand topics of so many random bytes: ADDRESS SIZE."""


@dataclass
class Siege:
    """What every attack works with."""

    site: SiegeSite
    daemon: Daemon | None = None
    """None in the attackers' own processes."""
    mjpeg: MjpegCamera | None = None
    failures: dict[str, list[str]] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)
    """Seconds that each honest client waited for its replay."""

    def fail(self, attack: str, sentence: str) -> None:
        """Note that an attack had an effect that it must not have."""
        self.failures.setdefault(attack, []).append(sentence)


def silent_connections(siege: Siege) -> None:
    """Thousands of connections on every address that say nothing, or begin to speak and stop."""
    with contextlib.ExitStack() as crowd:
        for port in siege.site.ports.values():
            for number in range(CROWD):
                client = crowd.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", port))
                if number % 5 == 0:
                    with contextlib.suppress(OSError):
                        client.send(b"GET /" if number % 2 else b"\xff\0")
        time.sleep(3.0)


def cookies(siege: Siege) -> None:
    """Cookies that a quadratic parser takes a minute for, without the token."""
    for cookie in (b'a="' + b"\\" * 15_000 + b'"', b'a="' + b"\\" * 30_000 + b'"', b"a=b;" * 3500):
        with contextlib.suppress(OSError), _connection(siege, "page") as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: " + cookie + b"\r\n\r\n")
            client.recv(100)
    time.sleep(0.5)


def subscriptions(siege: Siege) -> None:
    """Twenty thousand random prefixes, long ones and short ones."""
    for size in ("1000", "100", "8"):
        with subprocess.Popen([sys.executable, "-c", FLOOD, siege.site.endpoint, size]) as process:
            time.sleep(4.0)
            process.kill()


def replays_of_the_departed(siege: Siege) -> None:
    """Twenty clients ask for everything 120 times and go; an honest one is answered in good time."""
    request = encode_request(Request(1, 1, "taintwatch/v1/siege/door/alert/", "nobody", 1, 200))
    with zmq.Context() as context:
        for _ in range(20):
            with context.socket(zmq.DEALER) as attacker:
                attacker.linger = 100
                attacker.connect(siege.site.replay)
                for _ in range(120):
                    attacker.send(request)
        _ask_honestly(siege, context, request)
    time.sleep(1.0)


def _ask_honestly(siege: Siege, context: zmq.Context[zmq.Socket[bytes]], request: bytes) -> None:
    """Ask for a replay, note how long the answer took, and where it took too long what the connection went through."""
    with context.socket(zmq.DEALER) as honest, honest.get_monitor_socket() as monitor:
        began, story = time.monotonic(), []
        honest.linger = 0
        honest.connect(siege.site.replay)
        honest.send(request)
        while (left_s := began + ANSWER_S - time.monotonic()) > 0 and not honest.poll(round(min(left_s, 0.1) * 1000)):
            while monitor.poll(0):
                story.append(
                    f"{zmq.Event(recv_monitor_message(monitor)['event']).name} {time.monotonic() - began:.1f} s"
                )
        siege.waits.append(time.monotonic() - began)
        if left_s <= 0:
            sentence = f"an honest client waited for more than {ANSWER_S:g} s: {', '.join(story)}"
            siege.fail("replays_of_the_departed", sentence)
        honest.disable_monitor()


def blinding_calibrations(siege: Siege) -> None:
    """Reloads with calibrations whose thresholds never alarm: each is refused, the old one stays."""
    path = siege.site.folder / "blind.calibration.json"
    if siege.daemon is None:
        return
    for number in BLINDING:
        tight = f'{{"threshold": {number}}}'
        path.write_text(f'{{"format": "taintwatch-calibration/1", "model_name": "tiny", "tight": {tight}}}')
        siege.site.configure(calibration=path)
        siege.daemon.hang_up()
        deadline = time.monotonic() + 30.0
        while "reload refused" not in siege.daemon.status:
            if time.monotonic() > deadline:
                siege.fail("blinding_calibrations", f"{number[:20]} was not refused")
                break
            time.sleep(0.05)
        siege.site.configure()
        siege.daemon.hang_up()
        time.sleep(1.0)


def wrong_tokens(siege: Siege) -> None:
    """Guesses at the page's token, and requests in another site's name."""
    for _ in range(5):
        with contextlib.suppress(OSError), _connection(siege, "page") as client:
            client.sendall(b"GET /api/config HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer guess\r\n\r\n")
            if b" 200 " in client.recv(100)[:20]:
                siege.fail("wrong_tokens", "a wrong token was let in")


def trial_folders(siege: Siege) -> None:
    """Trial folders with nonsense, pipes and links in them: the others are still listed."""
    root = siege.site.folder / "trials"
    for name, text in (("deep", "[" * 100_000), ("good", '{"title": "A good one"}'), ("broken", "{")):
        (root / name).mkdir(exist_ok=True)
        (root / name / "report.html").write_text("<p>")
        (root / name / "report.json").write_text(text)
    (root / "pipe").mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (root / "pipe" / "report.html").write_text("<p>")
        os.mkfifo(root / "pipe" / "report.json")
    titles = {trial["title"] for trial in siege.site.ask("/api/trials")}
    if "A good one" not in titles:
        siege.fail("trial_folders", f"only {sorted(titles)} are listed")
    time.sleep(1.0)


def rogue_publisher(siege: Siege) -> None:
    """A publisher of hostile messages: `taintwatch watch --json` gives strict, printable lines, and goes on."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    program = str(Path(sys.executable).with_name("taintwatch"))
    command = [program, "watch", "--connect", endpoint, "--json", "--count", "2", "--timeout", "120"]
    with (
        zmq.Context() as context,
        context.socket(zmq.XPUB) as rogue,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher,
    ):
        rogue.linger = 0
        rogue.bind(endpoint)
        if rogue.poll(100_000):
            rogue.recv()
            time.sleep(0.5)
            for frames in _hostile_messages(siege.site.folder):
                rogue.send_multipart(frames)
                time.sleep(0.02)
        output, _ = watcher.communicate(timeout=150)
    if watcher.returncode != 0:
        siege.fail("rogue_publisher", f"watch ended with {watcher.returncode}")
    for line in output.splitlines():
        json.loads(line, parse_constant=lambda constant: siege.fail("rogue_publisher", f"{constant} in its JSON"))
        if not line.isprintable():
            siege.fail("rogue_publisher", "a line could move the cursor")


def hostile_stream(siege: Siege) -> None:
    """The soak's faults: a camera that goes silent, hangs up in a picture, sends garbage, changes its size."""
    for mode in (Mode.SILENT, Mode.TRUNCATED, Mode.GARBAGE, Mode.LARGE, Mode.GOOD):
        if siege.mjpeg is not None:
            siege.mjpeg.mode = mode
        time.sleep(3.0)


def slow_subscribers(siege: Siege) -> None:
    """The soak's faults: subscribers that take nothing, and two hundred that come and go at once."""
    with zmq.Context() as context:
        crowd = [context.socket(zmq.SUB) for _ in range(200)]
        for each in crowd:
            each.linger, each.rcvhwm = 0, 1
            each.subscribe(b"")
            each.connect(siege.site.endpoint)
        time.sleep(3.0)
        for each in crowd:
            each.close(linger=0)
    time.sleep(3.0)


def slow_readers(siege: Siege) -> None:
    """Browsers that ask for everything and take nothing."""
    with contextlib.ExitStack() as crowd:
        for _ in range(40):
            client = http.client.HTTPConnection("127.0.0.1", siege.site.ports["page"], timeout=5)
            crowd.callback(client.close)
            with contextlib.suppress(OSError):
                client.request("GET", "/stream")
        time.sleep(3.0)


@contextmanager
def _connection(siege: Siege, name: str) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", siege.site.ports[name]), timeout=15) as client:
        yield client


def _hostile_messages(folder: Path) -> Iterator[list[bytes]]:
    """Yield messages made of a real alert; the last two are well-formed."""
    import sqlite3

    with contextlib.closing(sqlite3.connect(f"{(folder / 'evidence' / 'alerts.db').as_uri()}?mode=ro", uri=True)) as it:
        topic, text = it.execute("SELECT topic, json FROM records ORDER BY id LIMIT 1").fetchone()
    score = json.dumps(json.loads(text)["body"]["score"])
    for number in ("10" + "0" * 400, "1e308", "-1e999", "NaN", "9" * 5000):
        yield [topic.encode(), text.replace(score, number, 1).encode()]
    for nonsense in (b"[" * 200_000, b'{"a":' * 50_000, b'{"a":"\xff"}', b"", b'{"schema":1,"\\u009b31m":"\\ud800"}'):
        yield [topic.encode(), nonsense]
    yield [b"\x9b31mtopic\n", text.encode()]
    label = json.dumps(json.loads(text)["body"]["label_name"])
    for sequence in (10**6, 10**6 + 1):
        hostile = text.replace(f'"label_name":{label}', f'"label_name":"{HOSTILE_LABEL}"', 1)
        known = json.loads(text)["sequence"]
        yield [topic.encode(), hostile.replace(f'"sequence":{known}', f'"sequence":{sequence}', 1).encode()]


ATTACKS: Mapping[str, Callable[[Siege], None]] = {
    each.__name__: each
    for each in (
        silent_connections,
        cookies,
        subscriptions,
        replays_of_the_departed,
        blinding_calibrations,
        wrong_tokens,
        trial_folders,
        rogue_publisher,
        hostile_stream,
        slow_subscribers,
        slow_readers,
    )
}

INSIDE = ("blinding_calibrations", "trial_folders", "hostile_stream")
"""Those that need what the siege itself holds; all others run in processes of their own."""
