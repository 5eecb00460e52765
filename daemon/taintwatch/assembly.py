"""From a configuration to a service's runtime: the only place that knows all the packages."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import replace

from taintwatch.alerts.incidents import AlertTracker
from taintwatch.alerts.outbox import Identity, new_instance_id
from taintwatch.alerts.publisher import Publisher
from taintwatch.alerts.security import Security
from taintwatch.cameras import Camera, CameraSet
from taintwatch.config.digest import config_hash
from taintwatch.config.sections import CameraSection, Config, VoteSection
from taintwatch.deadlines import Deadlines
from taintwatch.evidence.evidence import Evidence
from taintwatch.faces.assembly import make_face_detection
from taintwatch.keeping import open_evidence, open_replay, security_of
from taintwatch.recovery import RecoveringClassifier
from taintwatch.runtime import DetectionStack, RunLimits, Runtime
from taintwatch.sources.factory import open_source
from taintwatch.sources.paced import PacedSource
from taintwatch.vote.hold import Hold
from taintwatch.vote.settings import policy_from_settings
from taintwatch.vote.voter import Voter
from taintwatch_models.errors import ConfigError, UsageError
from taintwatch_models.loading import LoadedModel, ModelSettings, load_model

__all__ = [
    "assemble",
    "identity_of",
    "limits_of",
    "make_camera",
    "make_detection",
    "make_publisher",
    "make_voter",
    "model_settings",
]

_log = logging.getLogger(__name__)

REPLAY_LIMIT_S = 30.0  # an answer from the store that takes longer hangs


def assemble(config: Config, deadlines: Deadlines) -> Runtime:
    """Build everything that `config` names; cameras are not started yet. Every worker is added to `deadlines`.

    Raises `UsageError`, `SourceError` or one of the configuration's errors, the cheapest checks first.
    """
    if not config.camera:
        raise UsageError("there is nothing to watch; give --source, or a [[camera]] table in the configuration")
    security = security_of(config)
    cameras = CameraSet(
        [make_camera(camera, deadlines) for camera in config.camera], gather_s=config.limits.batch_wait_ms / 1e3
    )
    model, detection = make_detection(config, deadlines)
    identity = identity_of(config, model, new_instance_id())
    if not config.publish.enabled:
        if config.evidence.folder is not None:
            _log.warning("no alerts are kept: [evidence] keeps what is published, and publishing is switched off")
        return Runtime(cameras, detection, None, identity)
    publisher, evidence = make_publisher(config, identity, security, deadlines)
    return Runtime(cameras, detection, publisher, identity, evidence)


def make_detection(config: Config, deadlines: Deadlines) -> tuple[LoadedModel, DetectionStack]:
    """Load the model and make what judges with it, the cheapest checks first."""
    if "face" in config.detect.detectors:
        if config.gate.enabled:
            raise ConfigError("the detector 'face' needs every face checked; switch [gate] off")
        return make_face_detection(config, model_settings(config), deadlines)
    voter = make_voter(config.vote, config.detect.detectors)
    tracker = AlertTracker(update_every_s=config.publish.update_s)
    settings = model_settings(config)
    model = load_model(settings)
    deadline = deadlines.add("model")
    on_cpu = replace(settings, device="cpu", providers=(), require_device=False)
    classifier = RecoveringClassifier(
        model.classifier,
        lambda: load_model(settings).classifier,
        (lambda: load_model(on_cpu).classifier) if config.model.fallback == "cpu" else None,
        deadline=deadline,
    )

    def release() -> None:
        classifier.close()
        deadlines.remove(deadline)

    return model, DetectionStack(classifier, model.detectors, voter, tracker, classifier.degraded, release, model)


def identity_of(config: Config, model: LoadedModel, instance: str) -> Identity:
    """Return what every message says about this daemon."""
    card = model.classifier.card
    return Identity(
        site=config.site,
        model_hash=card.model_hash,
        config_hash=config_hash(config),
        provider=card.provider,
        calibrated=model.calibration.calibrated,
        instance=instance,
    )


def limits_of(config: Config) -> RunLimits:
    """Return the limits and intervals of a run."""
    return RunLimits(
        max_batch=config.limits.max_batch,
        max_frames=config.limits.max_frames,
        status_s=config.publish.status_s,
        stop_s=config.limits.stop_s,
        inference_s=config.limits.inference_s,
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
        precision=config.gpu.precision,
        cuda_graph=config.gpu.cuda_graph,
        gate_random_share=config.gate.random_share if config.gate.enabled else None,
    )


def make_camera(section: CameraSection, deadlines: Deadlines) -> Camera:
    """Return a camera that is not started yet. Raises `SourceError`, `UsageError`."""
    source = open_source(
        section.source,
        open_timeout_s=section.open_timeout_s,
        read_timeout_s=section.read_timeout_s,
        loop=section.loop,
    )
    return Camera(
        section.name,
        PacedSource(source) if section.realtime and not source.live else source,
        fps=section.fps,
        stale_after_s=section.stale_after_s,
        call_limit_s=max(section.open_timeout_s, section.read_timeout_s),
        deadline=deadlines.add(f"camera {section.name}"),
    )


def make_voter(section: VoteSection, detectors: tuple[str, ...]) -> Voter:
    """Return a vote that has seen nothing yet."""
    policy = policy_from_settings(section.policy, **section.options())
    hold = Hold(section.minimum_hold_s, section.cool_down_s)
    return Voter(
        policy, combine=section.combine, detectors=section.detectors or detectors, hold=hold, gap_s=section.gap_s
    )


def make_publisher(
    config: Config, identity: Identity, security: Security, deadlines: Deadlines
) -> tuple[Publisher, Evidence | None]:
    """Return the publisher, and what keeps the alerts before it sends them. What was opened is closed on failure."""
    with ExitStack() as opened:
        evidence = open_evidence(config)
        replay = None
        if evidence is not None:
            opened.callback(evidence.close)
            deadline = deadlines.add("replay")
            replay = open_replay(config, evidence, security, lambda: deadline.arm(REPLAY_LIMIT_S))
            evidence.serve(replay)
        publisher = Publisher(
            identity,
            config.publish.bind,
            cameras=[camera.name for camera in config.camera],
            heartbeat_s=config.publish.heartbeat_s,
            security=security,
            store=None if evidence is None else evidence.store,
            replay=None if replay is None else replay.endpoint,
            deadline=deadlines.add("publisher"),
        )
        opened.pop_all()
    return publisher, evidence
