"""Everything that may be set, with its default and its limits: one class for each table of the configuration file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from taintwatch.config.faces import FacesSection
from taintwatch.config.fields import Name, Seconds, Section, Text, Texts
from taintwatch.config.speed import FootageSection, GateSection, GpuSection, LimitsSection
from taintwatch.vote.hold import Hold
from taintwatch.vote.settings import policy_from_settings
from taintwatch_models.errors import ConfigError

__all__ = [
    "CameraSection",
    "Config",
    "CurveSection",
    "DetectSection",
    "EvidenceSection",
    "LimitsSection",
    "MetricsSection",
    "ModelSection",
    "Name",
    "PublishSection",
    "VoteSection",
    "WebSection",
]


DetectorName = Literal["tight", "paper", "cmag", "joint", "face"]


class ModelSection(Section):
    """The classifier."""

    path: Text | None = Field(
        default=None, description="ONNX or torch model, or torchvision:NAME; none: the bundled one."
    )
    preprocessing: Text | None = Field(
        default=None, description="TOML that declares the model's input; MODEL.toml beside it."
    )
    labels: Text | None = Field(default=None, description="Class names: a .json list or a .txt with one name a line.")
    calibration: Text | None = Field(default=None, description="Thresholds made by `taintwatch calibrate thresholds`.")
    cmag: Text | None = Field(
        default=None, description="Reconstructors made by `taintwatch cmag train`; MODEL.cmag.onnx."
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
    fallback: Literal["none", "cpu"] = Field(
        default="none", description="cpu: a model that fails while running goes on there until it can be loaded again."
    )

    @model_validator(mode="after")
    def _keeps_its_word(self) -> ModelSection:
        if self.require_device and self.fallback == "cpu":
            raise ValueError("'fallback' is cpu, but require_device says never to fall back; drop one of them")
        return self


class CameraSection(Section):
    """One camera, stream, video file, folder of pictures or simulated scene."""

    name: Name = Field(description="Stands in topics and alerts: letters, digits, dot, dash and underscore.")
    source: Text = Field(description="0, /dev/video0, rtsp://..., http://..., video.mp4, a folder, or sim:...")
    fps: Annotated[float, Field(gt=0, le=1000)] | None = Field(
        default=None, description="At most so many frames a second."
    )
    loop: bool = Field(default=False, description="Start a file again at its end, for ever.")
    realtime: bool = Field(default=False, description="Play a video file at its own speed, not as fast as possible.")
    open_timeout_s: Seconds = Field(default=10.0, description="How long opening may take.")
    read_timeout_s: Seconds = Field(default=5.0, description="How long one picture may take.")
    stale_after_s: Seconds = Field(
        default=10.0, description="A live camera that is silent for so long is called stale."
    )


class DetectSection(Section):
    """What judges each frame."""

    detectors: Annotated[tuple[DetectorName, ...], Field(strict=False, min_length=1)] = Field(
        default=("tight",),
        description="tight: two forwards; paper: TaintRadar as published, three; cmag: reconstruction; "
        "joint: tight and cmag at one false-positive rate; face: a face camera (docs/faces.md).",
    )
    fill: Text | None = Field(
        default=None, description="mean, noise, fresh-noise, blur, inpaint or a picture; none: as calibrated."
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
    gap_s: Seconds = Field(default=3.0, description="Frames further apart do not add up to one alert.")

    @model_validator(mode="after")
    def _fits_the_policy(self) -> VoteSection:
        try:
            policy_from_settings(self.policy, **self.options())
            Hold(self.minimum_hold_s, self.cool_down_s)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    def options(self) -> dict[str, Any]:
        """Return the policy's own settings that were given."""
        shared = {"policy", "combine", "detectors", "minimum_hold_s", "cool_down_s", "gap_s"}
        return self.model_dump(exclude=shared, exclude_none=True)


class CurveSection(Section):
    """Encryption of what is published, for listed clients only; without it only this machine may listen."""

    key: Text | None = Field(
        default=None,
        description="The daemon's .key_secret file; a bare name is also looked for in systemd's credentials.",
    )
    clients: Text | None = Field(default=None, description="Folder with the public keys of those that may connect.")

    @model_validator(mode="after")
    def _both_or_none(self) -> CurveSection:
        if (self.key is None) != (self.clients is None):
            missing = "clients" if self.clients is None else "key"
            raise ValueError(f"'{missing}' is missing; key and clients belong together (see `taintwatch keys --help`)")
        return self


class PublishSection(Section):
    """Where alerts go."""

    enabled: bool = Field(default=True, description="Publish over ZeroMQ.")
    bind: Text = Field(default="tcp://127.0.0.1:5556", description="Endpoint of the publishing socket.")
    heartbeat_s: Seconds = Field(default=1.0, description="Seconds between heartbeats.")
    status_s: Seconds = Field(default=5.0, description="Seconds between status messages.")
    update_s: Seconds = Field(default=1.0, description="A raised alert is updated at most this often.")
    curve: CurveSection = Field(default=CurveSection(), description="Encryption: the next table.")


class EvidenceSection(Section):
    """What is kept of alerts, and for how long. Nothing is kept where no folder is given."""

    folder: Text | None = Field(default=None, description="Where to; made, 0700, where it is not there.")
    images: bool = Field(default=True, description="Keep pictures and clips; false: only what the messages say.")
    clip_before_s: Annotated[float, Field(ge=0, le=60)] = Field(
        default=3.0, description="Seconds before the alert that its clip shows."
    )
    clip_after_s: Annotated[float, Field(ge=0, le=60)] = Field(
        default=5.0, description="Seconds after it; both 0: no clips."
    )
    clip_fps: Annotated[float, Field(gt=0, le=60)] = Field(default=10.0, description="Pictures a second in a clip.")
    clip_width: Annotated[int, Field(ge=16, le=3840)] = Field(default=640, description="Width of a clip at most.")
    keep_days: Annotated[float, Field(gt=0, le=36_500)] = Field(
        default=30.0, description="Alerts raised longer ago are removed."
    )
    max_mb: Annotated[float, Field(gt=0, le=1e9)] = Field(
        default=2000.0, description="Megabytes of it all; beyond, the oldest pictures go first."
    )
    min_free_mb: Annotated[float, Field(ge=0, le=1e9)] = Field(
        default=500.0, description="Megabytes to leave free on the disk."
    )
    power_safe: bool = Field(
        default=False,
        description="Flush each alert to the disk before it is published, not within a second; costs the disk's time.",
    )
    replay: Text | None = Field(
        default=None, description="Endpoint that answers for missed alerts; none: the port after that of bind."
    )


class MetricsSection(Section):
    """What monitoring reads: /metrics, /healthz and /readyz over HTTP."""

    enabled: bool = Field(default=False, description="Serve them.")
    bind: Text = Field(default="127.0.0.1:9108", description="Address and port; beyond loopback a token is needed.")
    token_file: Text | None = Field(
        default=None, description="File with the bearer token that whoever asks must give; only its owner may read it."
    )


class WebSection(Section):
    """The page: live pictures, alerts, trials. It is served only where an address is given."""

    bind: Text | None = Field(
        default=None, description="Address and port, like 127.0.0.1:8080; beyond loopback a token is needed."
    )
    token_file: Text | None = Field(
        default=None, description="File with the token that visitors must give; only its owner may read it."
    )
    certificate: Text | None = Field(default=None, description="TLS: the certificate's file (PEM) ...")
    private_key: Text | None = Field(default=None, description="... and its key's.")
    hosts: Texts = Field(
        default=(), description="Names by which browsers may reach it, beside localhost and addresses."
    )
    trials: Text | None = Field(default=None, description="Folder with the bench's report folders.")
    fps: Annotated[float, Field(gt=0, le=60)] = Field(
        default=10.0, description="Pictures a second for a viewer at most."
    )
    width: Annotated[int, Field(ge=64, le=3840)] = Field(default=960, description="Width of a picture at most.")
    viewers: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=64, description="Viewers at once; more are turned away."
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> WebSection:
        if (self.certificate is None) != (self.private_key is None):
            missing = "certificate" if self.certificate is None else "private_key"
            raise ValueError(f"'{missing}' is missing; certificate and private_key belong together")
        return self


class Config(Section):
    """The whole configuration of one daemon."""

    site: Name = Field(default="site", description="Names this place in topics and alerts.")
    model: ModelSection = ModelSection()
    camera: Annotated[tuple[CameraSection, ...], Field(strict=False)] = Field(
        default=(), description="One table per camera."
    )
    detect: DetectSection = DetectSection()
    vote: VoteSection = VoteSection()
    publish: PublishSection = PublishSection()
    evidence: EvidenceSection = EvidenceSection()
    limits: LimitsSection = LimitsSection()
    metrics: MetricsSection = MetricsSection()
    web: WebSection = WebSection()
    faces: FacesSection = FacesSection()
    gate: GateSection = GateSection()
    gpu: GpuSection = GpuSection()
    footage: FootageSection = FootageSection()

    @model_validator(mode="after")
    def _voters_judge(self) -> Config:
        for name in self.vote.detectors:
            if name not in self.detect.detectors:
                judging = ", ".join(self.detect.detectors)
                raise ValueError(f"vote.detectors names {name!r}, which does not judge; detect.detectors has {judging}")
        return self

    @model_validator(mode="after")
    def _keeps_faces_private(self) -> Config:
        if "face" not in self.detect.detectors:
            return self
        if {"cmag", "joint"} & set(self.detect.detectors):
            raise ValueError("detect.detectors: beside 'face' only tight and paper can judge faces")
        if not self.faces.names and (self.web.bind is not None or (self.evidence.folder and self.evidence.images)):
            raise ValueError(
                "faces.names is false, so no picture may be kept or shown: set evidence.images = false, and no web.bind"
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
