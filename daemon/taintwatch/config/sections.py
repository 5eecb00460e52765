"""Everything that may be set, with its default and its limits: one class for each table of the configuration file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from taintwatch.config.camera import CameraSection
from taintwatch.config.delivery import NatsSection
from taintwatch.config.fields import Count, Name, Seconds, Section, Text, Texts
from taintwatch.config.fleet import FleetSection, FootageSection
from taintwatch.config.notify import NotifySection
from taintwatch.config.outputs import EvidenceSection, MetricsSection, PublishSection, WebSection
from taintwatch.config.performance import GateSection, GpuSection
from taintwatch.config.subjects import FacesSection, ObjectsSection
from taintwatch.vote.policies import policy_from_settings
from taintwatch.vote.voter import Hold
from taintwatch_models.errors import ConfigError

__all__ = [
    "CameraSection",
    "Config",
    "DetectSection",
    "GateSection",
    "GpuSection",
    "LearnSection",
    "LimitsSection",
    "ModelSection",
    "VoteSection",
]


DetectorName = Literal["combined", "tight", "paper", "cmag", "joint", "face", "objects"]


class ModelSection(Section):
    """The classifier."""

    path: Text | None = Field(
        default=None, description="ONNX or torch model, or torchvision:NAME; none: the bundled one."
    )
    preprocessing: Text | None = Field(
        default=None, description="TOML that declares the model's input; MODEL.toml beside it."
    )
    labels: Text | None = Field(default=None, description="Class names: a .json list or a .txt with one name a line.")
    output: Text | None = Field(default=None, description="Output that gives the logits, where there are several.")
    calibration: Text | None = Field(default=None, description="Thresholds made by `taintwatch calibrate thresholds`.")
    reference: Text | None = Field(
        default=None, description="What combined knows of benign pictures; MODEL.reference.npz."
    )
    cmag: Text | None = Field(
        default=None, description="Reconstructors made by `taintwatch cmag train`; MODEL.cmag.onnx."
    )
    signed_by: Text | None = Field(
        default=None, description="Public key (.pub): take only files that `taintwatch calibrate sign` signed with it."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Where the model runs.")
    require_device: bool = Field(
        default=False, description="Refuse to start where `device` is not there, never fall back."
    )
    providers: Texts = Field(
        default=(), description="ONNX Runtime providers, in order, in place of what `device` means."
    )
    threads: int = Field(
        default=0, ge=0, le=256, description="CPU threads of one inference; 0 leaves it to the runtime."
    )
    server: Text | None = Field(
        default=None, description="Triton server that runs it, like triton://host:8001; none: this machine."
    )
    fallback: Literal["none", "cpu"] = Field(
        default="none", description="cpu: a model that fails while running goes on there until it can be loaded again."
    )

    @model_validator(mode="after")
    def _keeps_its_word(self) -> ModelSection:
        if self.require_device and self.fallback == "cpu":
            raise ValueError("'fallback' is cpu, but require_device says never to fall back; drop one of them")
        return self


class DetectSection(Section):
    """What judges each frame."""

    detectors: Annotated[tuple[DetectorName, ...], Field(strict=False)] = Field(
        default=(),
        description="None named: combined where the model was learnt, else tight. combined: anomaly, necessity and "
        "sufficiency of the suspect window; tight: two forwards; paper: TaintRadar as published, "
        "three; cmag: reconstruction; joint: tight and cmag at one false-positive rate; face: a face camera "
        "(docs/faces.md); objects: an object detector itself (docs/objects.md).",
    )
    target_fpr: Annotated[float, Field(gt=0, le=0.5)] | None = Field(
        default=None,
        description="False-positive rate per frame whose threshold combined judges by: 0.001 or 0.02; none: 0.001.",
    )
    fill: Text | None = Field(
        default=None, description="mean, noise, fresh-noise, blur, inpaint or a picture; none: as calibrated."
    )


class LearnSection(Section):
    """Learning each live camera before it is armed, where the model has no calibration and detect names no detector."""

    enabled: bool = Field(default=True, description="Learn; false: judge by rough thresholds.")
    minutes: Annotated[float, Field(gt=0, le=10_080)] = Field(
        default=10.0, description="How long each camera's own frames are taken; keep attacks away from it meanwhile."
    )
    frames: Annotated[int, Field(ge=125, le=2000)] = Field(
        default=400, description="How many are taken, spread over that time."
    )
    refit_days: Annotated[float, Field(gt=0, le=3650)] | None = Field(
        default=None, description="Learn a camera again after so many days, of frames that do not look suspicious."
    )
    folder: Text | None = Field(
        default=None,
        description="Keeps what is learnt; none: $STATE_DIRECTORY, or ~/.local/state/taintwatch.",
    )


class VoteSection(Section):
    """When suspicious frames become an alert. A key that is left out has the default of the chosen policy."""

    policy: Literal["exponentially-weighted", "k-of-n", "sequential-probability-ratio"] = Field(
        default="k-of-n", description="How frames are weighed."
    )
    k: int | None = Field(default=None, description="k-of-n: raised at so many suspicious frames (3) ...")
    n: int | None = Field(default=None, description="... among the last so many (5).")
    clear_at: float | int | None = Field(
        default=None, description="k-of-n: cleared at so many (0); exponentially-weighted: at this share (0.3)."
    )
    half_life_frames: float | None = Field(
        default=None, description="exponentially-weighted: frames until a weight has halved (3)."
    )
    raise_at: float | None = Field(default=None, description="exponentially-weighted: raised at this share (0.6).")
    p_benign: float | None = Field(
        default=None, description="sequential-probability-ratio: share of benign frames that look suspicious (0.06)."
    )
    p_attack: float | None = Field(
        default=None, description="sequential-probability-ratio: share of attacked frames that do (0.8)."
    )
    alpha: float | None = Field(
        default=None, description="sequential-probability-ratio: accepted probability of a false alert (0.001)."
    )
    beta: float | None = Field(
        default=None, description="sequential-probability-ratio: accepted probability of a missed attack (0.01)."
    )
    after_decision: Literal["restart", "hold"] | None = Field(
        default=None, description="sequential-probability-ratio: what becomes of the evidence (restart)."
    )
    detectors: Texts = Field(
        default=(), description="Detectors that count; the others are only looked at. None named: all of them."
    )
    combine: Literal["all", "any"] = Field(default="any", description="Which detectors must be raised for an alert.")
    minimum_hold_s: float = Field(default=1.0, description="An alert stays raised at least so long.")
    cool_down_s: float = Field(default=2.0, description="No new alert within so long after one was cleared.")
    clear_after_s: float = Field(
        default=5.0, description="An alert is cleared once the vote has been down for so long: flicker is one alert."
    )
    agree: bool = Field(default=True, description="Suspicious frames count together only where label or region agree.")
    gap_s: Seconds = Field(default=3.0, description="Frames further apart do not add up to one alert.")

    @model_validator(mode="after")
    def _fits_the_policy(self) -> VoteSection:
        try:
            policy_from_settings(self.policy, **self.options())
            Hold(self.minimum_hold_s, self.cool_down_s, self.clear_after_s)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    def options(self) -> dict[str, Any]:
        """Return the policy's own settings that were given."""
        shared = {"policy", "combine", "detectors", "minimum_hold_s", "cool_down_s", "clear_after_s", "agree", "gap_s"}
        return self.model_dump(exclude=shared, exclude_none=True)


class LimitsSection(Section):
    """What bounds a run."""

    max_batch: Annotated[int, Field(ge=1, le=256)] = Field(default=4, description="Frames in one inference call.")
    batch_wait_ms: Annotated[float, Field(ge=0, le=1000)] = Field(
        default=0.0, description="How long a frame waits for those of other live cameras, to share a batch with them."
    )
    second_look_share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.3,
        description="Share of the time that combined's second looks at live cameras may take; beyond it they wait.",
    )
    max_frames: Count | None = Field(default=None, description="End after so many frames.")
    stop_s: Annotated[float, Field(gt=0, le=60)] = Field(default=2.0, description="How long a clean stop may take.")
    inference_s: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=30.0, description="A batch that takes longer hangs: the watchdog is no longer fed."
    )


class Config(Section):
    """The whole configuration of one daemon."""

    site: Name = Field(default="site", description="Names this place in topics and alerts.")
    model: ModelSection = ModelSection()
    camera: Annotated[tuple[CameraSection, ...], Field(strict=False)] = Field(
        default=(), description="One table per camera."
    )
    detect: DetectSection = DetectSection()
    learn: LearnSection = LearnSection()
    vote: VoteSection = VoteSection()
    publish: PublishSection = PublishSection()
    evidence: EvidenceSection = EvidenceSection()
    notify: NotifySection = NotifySection()
    limits: LimitsSection = LimitsSection()
    metrics: MetricsSection = MetricsSection()
    web: WebSection = WebSection()
    faces: FacesSection = FacesSection()
    objects: ObjectsSection = ObjectsSection()
    gate: GateSection = GateSection()
    gpu: GpuSection = GpuSection()
    footage: FootageSection = FootageSection()
    fleet: FleetSection = FleetSection()
    nats: NatsSection = NatsSection()

    @property
    def detectors(self) -> tuple[str, ...]:
        """What judges each frame: what is named, or the model's default (looked up anew: a model may be learnt)."""
        from taintwatch_models.model_files import ModelSettings, default_detectors  # brings onnx, which takes a while

        model = self.model
        return self.detect.detectors or default_detectors(ModelSettings(path=model.path, reference=model.reference))

    @model_validator(mode="after")
    def _voters_judge(self) -> Config:
        for name in self.vote.detectors:
            if name not in self.detectors:
                judging = ", ".join(self.detectors)
                raise ValueError(f"vote.detectors names {name!r}, which does not judge; detect.detectors has {judging}")
        return self

    @model_validator(mode="after")
    def _guards_a_detector(self) -> Config:
        if "objects" not in self.detect.detectors:
            return self
        if len(self.detect.detectors) > 1:
            raise ValueError("detect.detectors: 'objects' judges boxes and the others a label; name it alone")
        if self.objects.model is None:
            raise ValueError("the detector 'objects' guards objects.model; name its file")
        if self.gate.enabled:
            raise ValueError("the detector 'objects' has a gate of its own; switch [gate] off")
        return self

    @model_validator(mode="after")
    def _keeps_faces_private(self) -> Config:
        if "face" not in self.detect.detectors:
            return self
        if self.objects.model is not None or any(camera.region for camera in self.camera):
            raise ValueError("the detector 'face' looks for faces itself; leave objects.model and camera.region out")
        if {"cmag", "joint"} & set(self.detect.detectors):
            raise ValueError("detect.detectors: beside 'face' only tight and paper can judge faces")
        sent = self.publish.pictures or (self.notify.mqtt.host is not None and self.notify.mqtt.snapshots)
        kept = self.evidence.folder and self.evidence.images
        if not self.faces.names and (self.web.bind is not None or kept or sent):
            raise ValueError(
                "faces.names is false, so no picture may be kept, sent or shown: set evidence.images, "
                "publish.pictures and notify.mqtt.snapshots to false, and no web.bind"
            )
        return self

    @field_validator("camera")
    @classmethod
    def _names_differ(cls, cameras: tuple[CameraSection, ...]) -> tuple[CameraSection, ...]:
        names = [camera.name for camera in cameras]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two cameras are named {twice!r}; give each its own name")
        return cameras
