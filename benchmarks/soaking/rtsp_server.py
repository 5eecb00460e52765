"""An RTSP server of H.264, GStreamer's. Run by the system's Python, which has its bindings: rtsp_server.py PORT."""

from __future__ import annotations

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - only after the versions are chosen

PIPELINE = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=160,height=120,framerate=10/1 ! videoconvert ! "
    "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=5 threads=1 ! rtph264pay name=pay0 pt=96 )"
)


def main() -> None:
    """Serve /live until killed; print `ready` once it listens."""
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(sys.argv[1])
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(PIPELINE)
    factory.set_shared(True)
    server.get_mount_points().add_factory("/live", factory)
    if server.attach(None) == 0:
        sys.exit(f"port {sys.argv[1]} cannot be used")
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
