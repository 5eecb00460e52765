"""From a configuration to a service's parts: the only place that knows all the packages."""

from __future__ import annotations

from taintwatch.alerts.lifecycle import AlertBook
from taintwatch.alerts.publisher import Publisher
from taintwatch.alerts.writer import Identity, new_instance_id
from taintwatch.cameras import Camera, CameraSet
from taintwatch.config.digest import config_hash
from taintwatch.config.sections import CameraSection, Config, VoteSection
from taintwatch.service import Parts, Plan
from taintwatch.sources.factory import open_source
from taintwatch.vote.hold import Hold
from taintwatch.vote.settings import policy_from_settings
from taintwatch.vote.voter import Voter
from taintwatch_models.errors import UsageError
from taintwatch_models.loading import LoadedModel, ModelSettings, load_model

__all__ = ["assemble", "model_settings", "plan_of"]


def assemble(config: Config) -> Parts:
    """Build everything that `config` names; cameras are not started yet.

    Raises `UsageError`, `SourceError` or one of the configuration's errors, the cheapest checks first.
    """
    if not config.camera:
        raise UsageError("there is nothing to watch; give --source, or a [[camera]] table in the configuration")
    cameras = CameraSet([_camera(camera) for camera in config.camera])
    voter = _voter(config.vote, config.detect.detectors)
    book = AlertBook(update_every_s=config.publish.update_s)
    model = load_model(model_settings(config))
    publisher = _publisher(config, model) if config.publish.enabled else None
    return Parts(cameras, model.classifier, model.detectors, voter, book, publisher)


def plan_of(config: Config) -> Plan:
    """Return the limits and intervals of a run."""
    return Plan(
        max_batch=config.limits.max_batch,
        max_frames=config.limits.max_frames,
        status_s=config.publish.status_s,
        stop_s=config.limits.stop_s,
        config_hash=config_hash(config),
    )


def model_settings(config: Config) -> ModelSettings:
    """Return what the model packages need to know."""
    model = config.model
    return ModelSettings(
        path=model.path,
        preprocessing=model.preprocessing,
        labels=model.labels,
        calibration=model.calibration,
        cmag=model.cmag,
        device=model.device,
        require_device=model.require_device,
        providers=model.providers,
        threads=model.threads,
        variants=config.detect.detectors,
        fill=config.detect.fill,
        # A live camera gives one frame at a time; several cameras, or a file, fill the batch.
        batches=tuple(sorted({1, config.limits.max_batch})),
    )


def _camera(section: CameraSection) -> Camera:
    source = open_source(
        section.source,
        open_timeout_s=section.open_timeout_s,
        read_timeout_s=section.read_timeout_s,
        loop=section.loop,
    )
    return Camera(section.name, source, fps=section.fps, stale_after_s=section.stale_after_s)


def _voter(section: VoteSection, detectors: tuple[str, ...]) -> Voter:
    policy = policy_from_settings(section.policy, **section.options())
    hold = Hold(section.minimum_hold_s, section.cool_down_s)
    return Voter(policy, combine=section.combine, detectors=detectors, hold=hold, gap_s=section.gap_s)


def _publisher(config: Config, model: LoadedModel) -> Publisher:
    card = model.classifier.card
    identity = Identity(
        site=config.site,
        model_hash=card.model_hash,
        config_hash=config_hash(config),
        provider=card.provider,
        calibrated=model.calibration.calibrated,
        instance=new_instance_id(),
    )
    names = [camera.name for camera in config.camera]
    return Publisher(identity, config.publish.bind, cameras=names, heartbeat_s=config.publish.heartbeat_s)
