"""Groups of cameras: what one process of the fleet watches, and its part of the configuration. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from taintwatch.alerts.endpoints import parse_endpoint
from taintwatch.config.sections import CameraSection, Config
from taintwatch_models.errors import ConfigError, UsageError

__all__ = ["CameraGroup", "config_of", "groups_of"]


@dataclass(frozen=True, slots=True)
class CameraGroup:
    """Some cameras that are watched by one process. Its name stays the same wherever it runs."""

    name: str
    """Names its chain in the history: site, dash, number."""
    cameras: tuple[CameraSection, ...]


def groups_of(config: Config) -> tuple[CameraGroup, ...]:
    """Return the cameras in groups of `[fleet] cameras_per_group`, in the order of the file.

    Raises `UsageError` where there is no camera, `ConfigError` where the evidence could not move with a group.
    """
    if not config.camera:
        raise UsageError("there is nothing to watch: the fleet's configuration has no [[camera]] table")
    _check(config)
    size = config.fleet.cameras_per_group
    starts = range(0, len(config.camera), size)
    return tuple(
        CameraGroup(f"{config.site[:56]}-{number:04}", config.camera[start : start + size])
        for number, start in enumerate(starts)
    )


def config_of(config: Config, group: CameraGroup) -> Config:
    """Return the configuration of one group: its cameras, an endpoint with any free port, a chain of its own.

    Page and metrics are the fleet's; each group's evidence has a folder of its own below the fleet's.
    """
    evidence = config.evidence
    if evidence.folder is not None:
        changes: dict[str, object] = {"folder": str(Path(evidence.folder) / group.name)}
        if evidence.database is not None:
            changes["daemon"] = group.name
        evidence = evidence.model_copy(update=changes)
    return config.model_copy(
        update={
            "camera": group.cameras,
            "evidence": evidence,
            "publish": config.publish.model_copy(update={"bind": _any_port(config.publish.bind, group)}),
            "web": config.web.model_copy(update={"bind": None}),
            "metrics": config.metrics.model_copy(update={"enabled": False}),
        }
    )


def _check(config: Config) -> None:
    evidence = config.evidence
    if evidence.replay is not None:
        raise ConfigError("[evidence] replay names one endpoint, and each group of a fleet has its own; leave it out")
    if evidence.folder is not None and evidence.images and evidence.database is not None and evidence.media is None:
        raise ConfigError(
            "[evidence] media is missing: pictures in a group's own folder are not seen from elsewhere; give a folder"
            " that all machines mount, or s3://..., or set images = false"
        )


def _any_port(bind: str, group: CameraGroup) -> str:
    """Return the endpoint with any free port: two groups may run on one machine."""
    try:
        transport = parse_endpoint(bind).transport
    except ValueError as error:
        raise ConfigError(f"Alerts cannot be published on '{bind}': {error}.") from error
    return f"{bind.rpartition(':')[0]}:*" if transport == "tcp" else f"{bind}.{group.name}"
