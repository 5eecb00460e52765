"""An RTSP server of H.264, GStreamer's. Run by the system's Python, which has its bindings: rtsp_server.py PORT.

`rtsp_server.py PORT WIDTH HEIGHT FPS` serves the newest of the raw pictures (BGR) that come in on standard input.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - only after the versions are chosen

PIPELINE = (
    "( {source} ! videoconvert ! video/x-raw,format=I420 ! "
    "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=5 threads=1 ! rtph264pay name=pay0 pt=96 )"
)
BALL = "videotestsrc is-live=true pattern=ball ! video/x-raw,width=160,height=120,framerate=10/1"
GIVEN = (
    "appsrc name=given is-live=true do-timestamp=true format=time "
    "caps=video/x-raw,format=BGR,width={width},height={height},framerate={fps}/1"
)


class Pictures:
    """The newest picture of standard input, given to whatever watches, so many times a second."""

    def __init__(self, width: int, height: int, fps: int) -> None:
        self._size, self._every_ms = width * height * 3, 1000 // fps
        self._newest = bytes(self._size)
        threading.Thread(target=self._read, daemon=True).start()

    def configure(self, factory: Any, media: Any) -> None:
        """Begin to give pictures to a stream that is set up."""
        source = media.get_element().get_child_by_name("given")
        GLib.timeout_add(self._every_ms, self._push, source)

    def _push(self, source: Any) -> bool:
        return bool(source.emit("push-buffer", Gst.Buffer.new_wrapped(self._newest)) == Gst.FlowReturn.OK)

    def _read(self) -> None:
        while len(picture := sys.stdin.buffer.read(self._size)) == self._size:
            self._newest = picture


def main() -> None:
    """Serve /live until killed; print `ready` once it listens."""
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(sys.argv[1])
    factory = GstRtspServer.RTSPMediaFactory()
    if len(sys.argv) > 2:
        width, height, fps = map(int, sys.argv[2:5])
        factory.set_launch(PIPELINE.format(source=GIVEN.format(width=width, height=height, fps=fps)))
        factory.connect("media-configure", Pictures(width, height, fps).configure)
    else:
        factory.set_launch(PIPELINE.format(source=BALL))
    factory.set_shared(True)
    server.get_mount_points().add_factory("/live", factory)
    if server.attach(None) == 0:
        sys.exit(f"port {sys.argv[1]} cannot be used")
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
