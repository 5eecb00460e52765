"""From a configuration to what protects the sockets and keeps the alerts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from taintwatch.alerts.endpoints import parse_endpoint
from taintwatch.alerts.replay_server import ReplayServer
from taintwatch.alerts.security import LoopbackOnly, Security
from taintwatch.config.sections import Config, EvidenceSection
from taintwatch.evidence.evidence import Evidence, EvidenceSettings
from taintwatch.evidence.reader import AlertReader
from taintwatch.evidence.recorder import ClipSettings
from taintwatch_models.errors import ConfigError

__all__ = ["evidence_settings", "open_evidence", "open_replay", "replay_beside", "security_of"]


def security_of(config: Config) -> Security:
    """Return what decides who may connect. Raises `ConfigError` for keys that are missing, damaged or not private."""
    curve = config.publish.curve
    if curve.key is None or curve.clients is None:
        return LoopbackOnly()
    from taintwatch.alerts.security import CurveServer  # with its asyncio, which nobody else needs

    return CurveServer.from_files(Path(curve.key), Path(curve.clients))


def open_evidence(config: Config) -> Evidence | None:
    """Open the evidence folder; None where alerts are not to be kept. Raises `ConfigError`."""
    settings = evidence_settings(config.evidence)
    return None if settings is None else Evidence(settings)


def evidence_settings(section: EvidenceSection) -> EvidenceSettings | None:
    """Return what is to be kept; None: nothing."""
    if section.folder is None:
        return None
    clips = ClipSettings(section.clip_before_s, section.clip_after_s, section.clip_fps, section.clip_width)
    return EvidenceSettings(
        folder=Path(section.folder),
        images=section.images,
        clips=clips,
        keep_days=section.keep_days,
        max_mb=section.max_mb,
        min_free_mb=section.min_free_mb,
        power_safe=section.power_safe,
    )


def open_replay(config: Config, evidence: Evidence, security: Security, alive: Callable[[], None]) -> ReplayServer:
    """Bind the socket that answers for missed alerts. Raises `PublishError`, `ConfigError`."""
    endpoint = config.evidence.replay or replay_beside(config.publish.bind)
    return ReplayServer(AlertReader(evidence.folder.database), endpoint, security=security, alive=alive)


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
