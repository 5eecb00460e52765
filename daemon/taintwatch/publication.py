"""From a configuration to where alerts go: the publisher, what keeps them, and what answers for missed ones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from taintwatch.alerts.endpoints import parse_endpoint
from taintwatch.alerts.outbox import Identity
from taintwatch.alerts.publisher import Publisher
from taintwatch.alerts.replay_server import ReplayServer
from taintwatch.alerts.security import LoopbackOnly, Security
from taintwatch.config.outputs import EvidenceSection
from taintwatch.config.sections import Config
from taintwatch.deadlines import Deadlines
from taintwatch.evidence.evidence import Evidence, EvidenceSettings
from taintwatch.evidence.folder import EvidenceFolder
from taintwatch.evidence.reader import AlertReader
from taintwatch.evidence.recorder import ClipSettings
from taintwatch_models.errors import ConfigError

__all__ = ["make_publisher", "replay_beside", "security_of"]

REPLAY_LIMIT_S = 30.0  # an answer from the store that takes longer hangs


def make_publisher(
    config: Config, identity: Identity, security: Security, deadlines: Deadlines
) -> tuple[Publisher, Evidence | None]:
    """Return the publisher, and what keeps the alerts before it sends them. What was opened is closed on failure."""
    with ExitStack() as opened:
        evidence = _open_evidence(config)
        replay = None
        if evidence is not None:
            opened.callback(evidence.close)
            security.report_to(evidence.audit)
            deadline = deadlines.add("replay")
            replay = _open_replay(config, evidence, security, lambda: deadline.arm(REPLAY_LIMIT_S))
            evidence.serve(replay)
        _forward(config, evidence)
        publisher = Publisher(
            identity,
            config.publish.bind,
            cameras=[camera.name for camera in config.camera],
            heartbeat_s=config.publish.heartbeat_s,
            security=security,
            store=None if evidence is None else evidence.store,
            replay=None if replay is None else replay.endpoint,
            seal=None if evidence is None else evidence.seal,
            deadline=deadlines.add("publisher"),
        )
        opened.pop_all()
    return publisher, evidence


def security_of(config: Config) -> Security:
    """Return what decides who may connect. Raises `ConfigError` for keys that are missing, damaged or not private."""
    curve = config.publish.curve
    if curve.key is None or curve.clients is None:
        return LoopbackOnly()
    from taintwatch.alerts.security import CurveServer  # with its asyncio, which nobody else needs

    return CurveServer.from_files(Path(curve.key), Path(curve.clients))


def _open_evidence(config: Config) -> Evidence | None:
    """Open the evidence folder; None where alerts are not to be kept. Raises `ConfigError`."""
    settings = _evidence_settings(config.evidence, config.site)
    return None if settings is None else Evidence(settings)


def _evidence_settings(section: EvidenceSection, site: str) -> EvidenceSettings | None:
    """Return what is to be kept; None: nothing."""
    if section.folder is None:
        return None
    clips = ClipSettings(section.clip_before_s, section.clip_after_s, section.clip_fps, section.clip_width)
    return EvidenceSettings(
        folder=Path(section.folder),
        place=EvidenceFolder.of_section(section, site),
        images=section.images,
        clips=clips,
        keep_days=section.keep_days,
        max_mb=section.max_mb,
        min_free_mb=section.min_free_mb,
        power_safe=section.power_safe,
        signing_key=None if section.signing_key is None else Path(section.signing_key),
    )


def _forward(config: Config, evidence: Evidence | None) -> None:
    """Begin to send what is stored to the brokers that the configuration names. Raises `ConfigError`."""
    if config.nats.url is None:
        return
    if evidence is None:
        raise ConfigError("[nats] needs [evidence] folder: what the broker has not taken yet waits there.")
    from taintwatch.delivery.nats_sink import NatsSink  # asyncio, which nobody else needs

    evidence.forward(NatsSink(config.nats))


def _open_replay(config: Config, evidence: Evidence, security: Security, alive: Callable[[], None]) -> ReplayServer:
    """Bind the socket that answers for missed alerts. Raises `PublishError`, `ConfigError`."""
    endpoint = config.evidence.replay or replay_beside(config.publish.bind)
    return ReplayServer(AlertReader(evidence.folder.history), endpoint, security=security, alive=alive)


def replay_beside(bind: str) -> str:
    """Return the endpoint next to the one where alerts are published. Raises `ConfigError` where there is none."""
    try:
        parsed = parse_endpoint(bind)
    except ValueError as error:
        raise ConfigError(f"Alerts cannot be published on '{bind}': {error}.") from error
    if parsed.transport != "tcp":
        return f"{bind}.replay"
    start = bind.rpartition(":")[0]
    if parsed.port == "*":
        return bind
    if int(parsed.port) >= 65_535:
        raise ConfigError(f"No port follows that of {bind}. Give [evidence] a replay endpoint of its own.")
    return f"{start}:{int(parsed.port) + 1}"
