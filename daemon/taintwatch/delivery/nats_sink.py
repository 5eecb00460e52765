"""NATS JetStream as a sink: each record a message that the server has on its disk, and takes once.

Subjects are the topics with dots: `taintwatch.v1.SITE.CAMERA.alert`; a dot in a name is `%2E`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from taintwatch.config.delivery import NatsSection
from taintwatch.delivery.forwarder import OutgoingRecord
from taintwatch.secret_files import read_secret, read_token
from taintwatch.sources.url import describe_url
from taintwatch_models.errors import ConfigError, TaintwatchError

__all__ = ["NatsSink", "subject_of"]

T = TypeVar("T")

CALL_S = 5.0  # a server that does not answer for so long has failed
SUBJECTS = "taintwatch.v1.*.*.alert"
REPEATS_S = 600.0  # a record that comes again within so long is told from its first coming
DAY_S = 86_400


class NatsSink:
    """One connection, used by one thread. Raises `ConfigError` for credentials that are unfit, or without nats-py."""

    name = "nats"

    def __init__(self, section: NatsSection) -> None:
        try:
            import nats
        except ImportError as error:
            raise ConfigError(
                "[nats] needs nats-py. Run: pip install 'taintwatch[fleet]', or leave [nats] url out."
            ) from error
        self._nats: Any = nats
        self._section = section
        self._credentials = _credentials(section)
        self._loop = asyncio.new_event_loop()
        self._client: Any = None
        self._stream: Any = None

    def send(self, records: Sequence[OutgoingRecord]) -> None:
        """Publish the records and wait until the server has each on its disk."""
        self._do(self._send(records), CALL_S + 0.05 * len(records))

    def idle(self) -> None:
        """Answer the server's pings."""
        if self._client is not None:
            self._loop.run_until_complete(asyncio.sleep(0))

    def close(self) -> None:
        """Close the connection and its loop."""
        if self._loop.is_closed():
            return
        self._loop.run_until_complete(self._drop())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T], limit_s: float) -> T:
        """Run in the loop. Whatever fails lets the connection go: the next attempt makes a new one."""
        try:
            return self._loop.run_until_complete(asyncio.wait_for(work, limit_s))
        except (self._nats.errors.Error, OSError, TimeoutError) as error:
            self._loop.run_until_complete(self._drop())
            reason = str(error).strip() or type(error).__name__
            raise TaintwatchError(f"{describe_url(self._section.url or '')}: {reason}") from error

    async def _send(self, records: Sequence[OutgoingRecord]) -> None:
        if self._client is None:
            await self._connect()
        for record in records:
            await self._stream.publish(
                subject_of(record.topic), record.json.encode(), timeout=CALL_S, headers={"Nats-Msg-Id": record.key}
            )

    async def _connect(self) -> None:
        self._client = await self._nats.connect(
            self._section.url,
            name="taintwatch",
            connect_timeout=CALL_S,
            allow_reconnect=False,  # the forwarder tries again, and knows what was not confirmed
            error_cb=_ignore,
            **self._credentials,
        )
        self._stream = self._client.jetstream(timeout=CALL_S)
        if self._section.create:
            await self._create()

    async def _create(self) -> None:
        """Make the stream where there is none; one that is there stays as it is."""
        from nats.js.api import RetentionPolicy, StorageType, StreamConfig
        from nats.js.errors import NotFoundError

        try:
            await self._stream.stream_info(self._section.stream)
        except NotFoundError:
            config = StreamConfig(
                name=self._section.stream,
                subjects=[SUBJECTS],
                storage=StorageType.FILE,
                retention=RetentionPolicy.LIMITS,
                max_age=self._section.keep_days * DAY_S,
                max_bytes=self._section.max_mb * 1_000_000,
                duplicate_window=min(REPEATS_S, self._section.keep_days * DAY_S),
                num_replicas=self._section.replicas,
            )
            await self._stream.add_stream(config)

    async def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            try:
                await asyncio.wait_for(client.close(), 1.0)
            except (self._nats.errors.Error, OSError, TimeoutError):
                return


def subject_of(topic: str) -> str:
    """Return the subject of a topic (`taintwatch/v1/SITE/CAMERA/alert/`)."""
    return ".".join(part.replace(".", "%2E") for part in topic.strip("/").split("/"))


def _credentials(section: NatsSection) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if section.credentials is not None:
        path = Path(section.credentials)
        read_secret(path, "[nats] credentials")  # it must be private
        found["user_credentials"] = str(path)
    if section.token_file is not None:
        found["token"] = read_token(Path(section.token_file), "nats.token_file")
    if section.user is not None and section.password_file is not None:
        found["user"] = section.user
        found["password"] = read_token(Path(section.password_file), "nats.password_file", shortest=1)
    if section.tls_ca is not None:
        found["tls"] = ssl.create_default_context(cafile=section.tls_ca)
    return found


async def _ignore(error: Exception) -> None:
    """A failure is raised by the call that it concerns."""
