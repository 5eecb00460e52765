"""What people see of a stream's address."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taintwatch.sources.url import describe_url, url_scheme

SECRET = "S3cr3tPassw0rd"  # noqa: S105 - what must never be seen

schemes = st.sampled_from(["rtsp", "rtsps", "http", "https", "RTSP"])
hosts = st.sampled_from(["camera.lan", "192.168.1.9", "[fe80::1]", "CAM-7"])
ports = st.one_of(st.just(""), st.integers(1, 65535).map(lambda port: f":{port}"))
words = st.text(alphabet="abcXYZ019._~-", max_size=8)
anything = st.text(max_size=12)
with_secret = st.tuples(anything, anything).map(lambda parts: parts[0] + SECRET + parts[1])


@given(schemes, hosts, ports, anything, with_secret, words)
def test_an_encoded_password_is_never_shown_and_the_host_is(
    scheme: str, host: str, port: str, user: str, password: str, path: str
) -> None:
    user, password = quote(user, safe="", errors="replace"), quote(password, safe="", errors="replace")
    shown = describe_url(f"{scheme}://{user}:{password}@{host}{port}/{path}")
    assert shown == f"{scheme.lower()}://{host.lower()}{port}/{path}"


@given(schemes, hosts, anything, with_secret, anything)
def test_a_password_in_raw_form_is_never_shown(scheme: str, host: str, user: str, password: str, path: str) -> None:
    assert SECRET not in describe_url(f"{scheme}://{user}:{password}@{host}/{path}")


@given(schemes, hosts, words, with_secret)
def test_a_secret_in_the_query_or_fragment_is_never_shown(scheme: str, host: str, path: str, secret: str) -> None:
    for mark in "?#":
        assert SECRET not in describe_url(f"{scheme}://{host}/{path}{mark}token={secret}")


@given(st.text(max_size=60))
def test_any_text_at_all_is_described_without_an_error(text: str) -> None:
    assert describe_url(text).isprintable()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://admin:pw@10.0.0.2:554/Streaming/Channels/101", "rtsp://10.0.0.2:554/Streaming/Channels/101"),
        ("rtsp://10.0.0.2/user=admin_password=pw_channel=1.sdp", "rtsp://10.0.0.2/..."),
        ("http://10.0.0.2/mjpg/video.mjpg?pwd=pw", "http://10.0.0.2/mjpg/video.mjpg?..."),
        ("http://10.0.0.2?pwd=pw", "http://10.0.0.2?..."),
        ("rtsp://admin:p@ss@10.0.0.2/live", "rtsp://10.0.0.2/live"),
        ("rtsp://admin:p/w@10.0.0.2/live", "rtsp://..."),
        ("rtsp://admin:p#w@10.0.0.2/live", "rtsp://..."),
        ("rtsp://admin:pw", "rtsp://..."),
        ("http://[fe80::1]:8080/", "http://[fe80::1]:8080/"),
        ("no url", "..."),
    ],
)
def test_addresses_as_cameras_have_them(url: str, shown: str) -> None:
    assert describe_url(url) == shown


@pytest.mark.parametrize(
    ("spec", "scheme"), [("RTSP://x", "rtsp"), ("sim:a.png", None), ("C:\\video.mp4", None), ("a/b.mp4", None)]
)
def test_only_what_has_two_slashes_is_a_url(spec: str, scheme: str | None) -> None:
    assert url_scheme(spec) == scheme
