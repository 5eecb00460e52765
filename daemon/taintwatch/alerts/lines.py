"""One line for each event: for people, and as JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime

from rich.text import Text

from taintwatch.alerts.bodies import Heartbeat
from taintwatch.alerts.gaps import Missed, Restarted
from taintwatch.alerts.link import Refused
from taintwatch.alerts.messages import Message, as_json
from taintwatch.alerts.subscriber import Event, Malformed
from taintwatch.cameras.camera_status import CameraState, CameraStatus
from taintwatch.printable import escaped, printable
from taintwatch.records import Alert, AlertState

__all__ = ["json_line", "place", "pretty_line"]

ALERT_STYLES = {
    AlertState.RAISED: "bold red",
    AlertState.UPDATED: "yellow",
    AlertState.CLEARED: "green",
    AlertState.INTERRUPTED: "magenta",
}
BAD_STATES = (CameraState.STALE, CameraState.LOST)


def json_line(event: Event) -> str:
    """Return a message as it came, and anything else as an object with its own `kind`."""
    if isinstance(event, Message):
        return escaped(as_json(event))
    return json.dumps({"kind": type(event).__name__.lower()} | asdict(event), allow_nan=False)


def pretty_line(event: Event) -> Text:
    """Return one line for people. The time is that of the frame or the message, in this machine's time zone."""
    if isinstance(event, Message):
        return _message_line(event)
    if isinstance(event, Missed):
        plural = "message was" if event.count == 1 else "messages were"
        return Text(f"         {event.count} {plural} missed on {printable(event.topic)}", style="magenta")
    if isinstance(event, Restarted):
        return Text(f"         the daemon of site {printable(event.site)} was restarted", style="magenta")
    if isinstance(event, Refused):
        return Text(f"         refused by {printable(event.endpoint)}: {printable(event.reason)}", style="magenta")
    return _malformed_line(event)


def _malformed_line(event: Malformed) -> Text:
    return Text(f"         {printable(event.reason)}", style="magenta")


def _message_line(message: Message) -> Text:
    body = message.body
    if isinstance(body, Alert):
        return _alert_line(body)
    start = f"{_time(message.envelope.wall_ns)} {message.envelope.camera}  "
    if isinstance(body, Heartbeat):
        return Text(f"{start}heartbeat after {body.uptime_s:.0f} s, {body.dropped} dropped", style="dim")
    return Text(start + _status_words(body), style="red" if body.state in BAD_STATES else "dim")


def _alert_line(alert: Alert) -> Text:
    line = Text(f"{_time(alert.wall_ns)} {place(alert)}  ")
    line.append(f"{alert.state.value:<7}", ALERT_STYLES[alert.state])
    line.append(f"  {printable(alert.label_name)}")
    if alert.recovered_name is not None:
        line.append(f" -> {printable(alert.recovered_name)}")
    line.append(f"  score {alert.score:.3g} / {alert.threshold:.3g}", "bold")
    line.append(f"  {printable(', '.join(alert.detectors))}, {alert.suspicious_frames} frames", "dim")
    return line


def place(alert: Alert) -> str:
    """Return the camera of an alert, with the subject where there is one: `door, face 3`."""
    return printable(alert.camera) if alert.subject is None else f"{alert.camera}, {printable(alert.subject)}"


def _status_words(status: CameraStatus) -> str:
    words = f"{status.state.value}: {status.frames} frames, {status.dropped} dropped, {status.rejected} rejected"
    if status.fps is not None:
        words += f", {status.fps:.1f} frames/s"
    return words if status.reason is None else f"{words} ({printable(status.reason)})"


def _time(wall_ns: int) -> str:
    try:
        return datetime.fromtimestamp(wall_ns / 1e9).astimezone().strftime("%H:%M:%S")
    except (OverflowError, OSError, ValueError):  # a foreign message may hold any number
        return "--:--:--"
