"""From a configuration to the runtime of a service: the only place that knows all the packages."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

from taintwatch.alerts.incidents import AlertTracker
from taintwatch.alerts.outbox import Identity, new_instance_id
from taintwatch.approval import require_approved
from taintwatch.arming import LearningPlan
from taintwatch.cameras.camera import Camera
from taintwatch.cameras.camera_set import CameraSet
from taintwatch.config.digest import config_hash
from taintwatch.config.load import is_there
from taintwatch.config.sections import CameraSection, Config, VoteSection
from taintwatch.deadlines import Deadlines
from taintwatch.detection_stack import ConfigurationChange, DetectionStack
from taintwatch.known_attack import require_known_attack
from taintwatch.learner import Learner
from taintwatch.publication import make_publisher, security_of
from taintwatch.recovery import RecoveringClassifier
from taintwatch.references import References, make_general, open_learnt, state_folder, wants_learning
from taintwatch.runtime import Runtime
from taintwatch.secret_files import read_token
from taintwatch.sources.factory import open_source
from taintwatch.sources.source import PacedSource, SourceSettings
from taintwatch.subjects.wiring import load_subject_model, make_expander, make_face_finder
from taintwatch.vote.policies import policy_from_settings
from taintwatch.vote.voter import Hold, Voter
from taintwatch_models.errors import UsageError
from taintwatch_models.loading import LoadedModel, load_radar_file
from taintwatch_models.model_files import ModelSettings, SecondLookLimits, chosen_fpr
from taintwatch_models.onnx_session import SessionSettings

__all__ = [
    "assemble",
    "identity_of",
    "learnable_cameras",
    "make_camera",
    "make_detection",
    "make_learner",
    "make_voter",
    "model_settings",
    "prepare_change",
    "second_looks",
    "source_settings",
]

_log = logging.getLogger(__name__)

DAY_S = 86_400.0


def assemble(config: Config, deadlines: Deadlines, stopped: Callable[[], bool] = lambda: False) -> Runtime:
    """Build everything that `config` names; cameras are not started yet. Every worker is added to `deadlines`.

    `stopped` is asked while general pictures are learnt. Raises `StoppedError` where it says so; `UsageError`,
    `SourceError` or one of the configuration's errors, the cheapest checks first.
    """
    if not config.camera:
        raise UsageError("there is nothing to watch; give --source, or a [[camera]] table in the configuration")
    security = security_of(config)
    cameras = CameraSet(
        [make_camera(camera, deadlines) for camera in config.camera], gather_s=config.limits.batch_wait_ms / 1e3
    )
    model, detection = make_detection(config, deadlines, stopped=stopped)
    identity = identity_of(config, model, new_instance_id())
    if not config.publish.enabled:
        if config.evidence.folder is not None:
            _log.warning("no alerts are kept: [evidence] keeps what is published, and publishing is switched off")
        return Runtime(config, cameras, detection, None, identity)
    publisher, evidence = make_publisher(config, identity, security, deadlines)
    return Runtime(config, cameras, detection, publisher, identity, evidence)


def prepare_change(old: Config, new: Config, identity: Identity | None, deadlines: Deadlines) -> ConfigurationChange:
    """Load what differs from `old` to `new`. Cameras that stay the same are left alone, and so is the model.

    `identity`: what messages say of the daemon now; None where nothing is published. Raises what `assemble` raises;
    then nothing was changed.
    """
    if not new.camera:
        raise UsageError("the new configuration has no camera to watch")
    before, after = [_source_settings(camera) for camera in old.camera], [_source_settings(c) for c in new.camera]
    removed = tuple(camera.name for camera in before if camera not in after)
    added = tuple(make_camera(camera, deadlines) for camera in after if camera not in before)
    identity = None if identity is None else replace(identity, config_hash=config_hash(new))
    detection = None
    if _detection_settings(old) != _detection_settings(new):
        model, detection = make_detection(new, deadlines, apart=True)
        identity = None if identity is None else identity_of(new, model, identity.instance)
    return ConfigurationChange(new, removed, added, detection, identity)


def _detection_settings(config: Config) -> tuple[object, ...]:
    """Return the settings that the detection stack is made of."""
    speed = config.limits.max_batch, config.limits.second_look_share, config.gate, config.gpu
    parts = [(camera.name, camera.region, camera.mask) for camera in config.camera if camera.region or camera.mask]
    subjects = config.faces, config.objects, parts
    return config.learn, config.model, config.detect, config.vote, config.publish.update_s, *speed, *subjects


def _source_settings(camera: CameraSection) -> CameraSection:
    """Return a camera without what is judged in its picture: that may change while it runs."""
    return camera.model_copy(update={"region": (), "mask": ()})


def make_detection(
    config: Config,
    deadlines: Deadlines,
    *,
    learning: bool = True,
    apart: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[LoadedModel, DetectionStack]:
    """Load the model and make what judges with it, the cheapest checks first.

    `learning` False: what is learnt before the cameras does not count, and nothing is learnt. `apart`: whatever is in
    a model's file keeps nobody waiting who runs already.
    """
    find = make_face_finder(config)
    settings = replace(model_settings(config), second_looks=second_looks(config), apart=apart)
    require_approved(config, settings)
    load: Callable[[ModelSettings], LoadedModel] = partial(load_subject_model, config)
    if learning and learnable_cameras(config):
        load = partial(_load_learnt, config, stopped)
    model = load(settings)
    if config.model.path is None:
        require_known_attack(model)
    voter = make_voter(config.vote, tuple(detector.name for detector in model.detectors))
    tracker = AlertTracker(update_every_s=config.publish.update_s)
    expander = make_expander(config, find, model.classifier.card.input_size[0])
    deadline = deadlines.add("model")
    session = replace(settings.session, device="cpu", providers=(), require_device=False, server=None)
    on_cpu = replace(settings, session=session)
    classifier = RecoveringClassifier(
        model.classifier,
        lambda: load(settings).classifier,
        (lambda: load(on_cpu).classifier) if config.model.fallback == "cpu" else None,
        deadline=deadline,
    )

    def release() -> None:
        classifier.close()
        deadlines.remove(deadline)

    return model, DetectionStack(
        classifier, model.detectors, voter, tracker, classifier.degraded, release, model, expander
    )


def second_looks(config: Config) -> SecondLookLimits | None:
    """Share and bound the second looks where all cameras are live: of a recording every frame is judged by itself."""
    for camera in config.camera:
        on_disk = not str(camera.source).startswith("/dev/") and is_there(Path(str(camera.source)))
        if on_disk or not open_source(camera.source, source_settings(camera)).live:
            return None
    return SecondLookLimits(share=config.limits.second_look_share)


def learnable_cameras(config: Config) -> tuple[str, ...]:
    """Return the cameras that are learnt before they are armed: live ones, where the model has no calibration."""
    if "face" in config.detect.detectors or not wants_learning(config, model_settings(config)):
        return ()
    return tuple(camera.name for camera in config.camera if open_source(camera.source, source_settings(camera)).live)


def _load_learnt(config: Config, stopped: Callable[[], bool], settings: ModelSettings) -> LoadedModel:
    """Load a model that judges each camera by what was learnt before it; the general reference is made first."""
    radar = load_radar_file(settings)
    references = References(state_folder(config), radar.info.source_sha256)
    make_general(references, radar, settings.session.threads, _said, stopped)
    return open_learnt(radar, settings, references, [camera.name for camera in config.camera])


def _said(done: int, total: int) -> None:
    """Say at every tenth how far the general reference is."""
    if done * 10 // total != max(0, done - 16) * 10 // total:
        _log.warning("learning general pictures, once for this model: %d%%", done * 100 // total)


def make_learner(runtime: Runtime, deadlines: Deadlines) -> Learner | None:
    """Return what learns the cameras that are not armed yet; None where there is nothing to learn."""
    config = runtime.config
    cameras = learnable_cameras(config)
    if not cameras:
        return None
    settings = model_settings(config)
    radar = load_radar_file(settings)

    def prepare() -> ConfigurationChange:
        model, detection = make_detection(runtime.config, deadlines)
        identity = runtime.identity
        if identity is not None:
            identity = identity_of(runtime.config, model, identity.instance)
        return ConfigurationChange(runtime.config, detection=detection, identity=identity)

    plan = LearningPlan(
        config.learn.minutes * 60, config.learn.frames, settings.session.threads, chosen_fpr(settings),
        None if config.learn.refit_days is None else config.learn.refit_days * DAY_S,
    )  # fmt: skip
    references = References(state_folder(config), radar.info.source_sha256)
    return Learner(
        radar, references, cameras, plan, prepare, audit=None if runtime.evidence is None else runtime.evidence.audit,
        deadline=deadlines.add("learning"),
    )  # fmt: skip


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


def model_settings(config: Config) -> ModelSettings:
    """Return what the model packages need to know."""
    model = config.model
    session = SessionSettings(
        device=model.device,
        require_device=model.require_device,
        providers=model.providers,
        threads=model.threads,
        precision=config.gpu.precision,
        cuda_graph=config.gpu.cuda_graph,
        server=model.server,
    )
    return ModelSettings(
        path=model.path,
        preprocessing=model.preprocessing,
        labels=model.labels,
        output=model.output,
        calibration=model.calibration,
        cmag=model.cmag,
        session=session,
        reference=model.reference,
        target_fpr=config.detect.target_fpr,
        detectors=config.detectors,
        fill=config.detect.fill,
        # A live camera gives one frame at a time; several cameras, or a file, fill the batch.
        batches=tuple(sorted({1, config.limits.max_batch})),
        gate_random_share=config.gate.random_share if config.gate.enabled else None,
    )


def make_camera(section: CameraSection, deadlines: Deadlines) -> Camera:
    """Return a camera that is not started yet. Raises `SourceError`, `UsageError`."""
    source = open_source(section.source, source_settings(section))
    return Camera(
        section.name,
        PacedSource(source) if section.realtime and not source.live else source,
        fps=section.fps,
        stale_after_s=section.stale_after_s,
        call_limit_s=max(section.open_timeout_s, section.read_timeout_s),
        deadline=deadlines.add(f"camera {section.name}"),
    )


def source_settings(section: CameraSection) -> SourceSettings:
    """Return what a camera's section says of its source. Raises `ConfigError` for a password file that is unfit."""
    names = {field.name for field in fields(SourceSettings)} - {"password"}
    given = {name: getattr(section, name) for name in names}
    file = section.password_file
    password = None if file is None else read_token(Path(file), "camera.password_file", shortest=1)
    return SourceSettings(password=password, **given)


def make_voter(section: VoteSection, detectors: tuple[str, ...]) -> Voter:
    """Return a vote that has seen nothing yet."""
    policy = policy_from_settings(section.policy, **section.options())
    hold = Hold(section.minimum_hold_s, section.cool_down_s, section.clear_after_s)
    counted = section.detectors or detectors
    return Voter(
        policy, combine=section.combine, detectors=counted, hold=hold, gap_s=section.gap_s, agree=section.agree
    )
