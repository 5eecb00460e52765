"""Single pictures: load a model, check pictures, learn what is benign. The Python API over the packages below."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from taintwatch.evidence.media import draw_region
from taintwatch.picture_input import Colours, Image, Picture, benign_pixels, read_picture
from taintwatch_models.classifier import ModelCard, Rejected
from taintwatch_models.detection.detector import COMBINED, explain
from taintwatch_models.detection.general import general_pictures
from taintwatch_models.detection.learning import Progress, learn
from taintwatch_models.detection.reference import Reference, write_reference
from taintwatch_models.detectors import DETECTOR_NAMES
from taintwatch_models.errors import BadFrame, ConfigError, UsageError
from taintwatch_models.loading import LoadedModel, load_model, load_radar_file, open_model
from taintwatch_models.model_files import ModelSettings, default_detectors, reference_path
from taintwatch_models.onnx_session import SessionSettings
from taintwatch_models.records import Frame, Prediction, Region, Verdict, read_only

__all__ = ["Detector", "PictureVerdict"]

_BATCH = 8


@dataclass(frozen=True, slots=True, eq=False)
class PictureVerdict:
    """What the classifier and one detector say of one picture."""

    file: Path | None
    """Where it came from; None: an array."""
    label: int
    label_name: str
    confidence: float
    """Softmax probability of `label`, in [0, 1]."""
    detector: str
    suspicious: bool
    score: float
    """Larger is more suspicious; `suspicious` is `score > threshold`."""
    threshold: float
    region: Region | None
    """In pixels of the picture; None where it is not suspicious, or the detector has no region."""
    recovered_label: int | None
    """The label once the region is filled, where it differs from `label`: often the true one."""
    recovered_name: str | None
    reason: str
    """Why, in a few words; empty where the detector gives no reason."""
    statistics: Mapping[str, float]
    """The detector's statistics by name."""
    _image: Image
    _colours: Colours

    def overlay(self) -> Image:
        """Return a copy of the picture, (height, width, 3) uint8 in its own channel order, the region outlined."""
        drawn = draw_region(self._image.copy(), self.region)
        return drawn if self._colours == "bgr" else np.ascontiguousarray(drawn[:, :, ::-1])

    def to_json(self) -> dict[str, Any]:
        """Return what `taintwatch check --json` prints: scalars, strings and lists."""
        return {
            "file": None if self.file is None else str(self.file),
            "label": self.label,
            "label_name": self.label_name,
            "confidence": self.confidence,
            "detector": self.detector,
            "suspicious": self.suspicious,
            "score": self.score,
            "threshold": self.threshold,
            "box": None if self.region is None else list(self.region.box),
            "recovered_label": self.recovered_label,
            "recovered_name": self.recovered_name,
            "reason": self.reason,
        }


class Detector:
    """A classifier and a detector that says which pictures have taken it over. Use it from one thread at a time."""

    def __init__(self, settings: ModelSettings) -> None:
        """`Detector.load` is the way to make one."""
        self._settings = settings
        self._model = load_model(settings)
        self._learnt: Reference | None = None

    @classmethod
    def load(
        cls,
        model: str | Path | None = None,
        *,
        detector: str | None = None,
        target_fpr: float | None = None,
        reference: str | Path | None = None,
        calibration: str | Path | None = None,
        preprocessing: str | Path | None = None,
        labels: str | Path | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        threads: int = 0,
    ) -> Detector:
        """Load a classifier and what belongs to it.

        `model`: an ONNX file, plain or prepared, or `torchvision:NAME`; None: the bundled recogniser of traffic signs.
        `detector`: `combined`, `tight`, `paper`, `cmag` or `joint`; None: `combined` where the model was learnt, else
        `tight`. `target_fpr`: of `combined`, 0.001 or 0.02 a frame; None: 0.001. `reference` (what was learnt),
        `calibration`, `preprocessing`, `labels`: None takes the files beside the model. `threads`: of one inference; 0
        leaves it to ONNX Runtime. Raises `ModelError`, `CalibrationError`, `DeviceError`, `ConfigError`.
        """
        if detector is not None and detector not in DETECTOR_NAMES:
            raise ConfigError(f"there is no detector '{detector}'; there are {', '.join(DETECTOR_NAMES)}")
        settings = ModelSettings(
            path=_text(model),
            preprocessing=_text(preprocessing),
            labels=_text(labels),
            calibration=_text(calibration),
            reference=_text(reference),
            target_fpr=target_fpr,
            session=SessionSettings(device=device, threads=threads),
        )
        names = default_detectors(settings) if detector is None else (detector,)
        return cls(replace(settings, detectors=names))

    @property
    def model(self) -> LoadedModel:
        """The classifier and the detector behind it."""
        return self._model

    @property
    def card(self) -> ModelCard:
        """The model's name, hash, labels and input size, and the provider that runs it."""
        return self._model.classifier.card

    @property
    def calibrated(self) -> bool:
        """Whether the thresholds were chosen for this model; otherwise expect false alarms."""
        return self._model.calibration.calibrated

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before trusting it, one sentence each."""
        return self._model.warnings

    # mypy: a str is a sequence of str too; it is a file's name here.
    @overload
    def check(self, picture: Picture, *, colours: Colours = "rgb") -> PictureVerdict: ...  # type: ignore[overload-overlap]

    @overload
    def check(self, picture: Sequence[Picture], *, colours: Colours = "rgb") -> list[PictureVerdict]: ...

    def check(
        self, picture: Picture | Sequence[Picture], *, colours: Colours = "rgb"
    ) -> PictureVerdict | list[PictureVerdict]:
        """Check one picture, or a list of pictures of any sizes.

        `colours`: the channel order of arrays (OpenCV's is `bgr`). Raises `BadFrame` for a picture that cannot be read
        or used, `InferenceError` where the model fails.
        """
        if isinstance(picture, str | Path):
            return next(self.check_all([picture], colours=colours))
        if isinstance(picture, np.ndarray):
            if picture.ndim == 4:
                raise UsageError("a batch of pictures is a list: give list(array)")
            return next(self.check_all([picture], colours=colours))
        return list(self.check_all(picture, colours=colours))

    def check_all(self, pictures: Iterable[Picture], *, colours: Colours = "rgb") -> Iterator[PictureVerdict]:
        """Check any number of pictures, a few at a time, in order. Raises what `check` raises."""
        rest = iter(pictures)
        while batch := list(islice(rest, _BATCH)):
            frames = [_frame(index, picture, colours) for index, picture in enumerate(batch)]
            for picture, outcome in zip(batch, self._model.classifier(frames), strict=True):
                yield self._verdict(picture, outcome, colours)

    def learn(
        self,
        benign: str | Path | Iterable[Picture],
        *,
        footage: bool | None = None,
        most: int = 600,
        colours: Colours = "rgb",
        progress: Progress = lambda done, total: None,
    ) -> None:
        """Learn what is benign, and judge by `combined` from now on. `save` keeps what was learnt.

        `benign`: a folder of pictures, a video, or pictures, at least 100, without any attack. `footage`: neighbouring
        pictures are alike (None: those of a video are). Beyond `most` they are thinned evenly. Takes some seconds.
        Raises `CalibrationError` for too few pictures, `SourceError` and `BadFrame` for what cannot be read.
        """
        pictures = benign_pixels(benign, self._model.preprocessing, colours, most)
        alike = pictures.footage if footage is None else footage
        radar = load_radar_file(self._settings)
        general = general_pictures(radar.info.preprocessing)
        self._learnt = learn(
            radar, pictures.pixels, general, footage=alike, description=pictures.description,
            threads=self._settings.session.threads, progress=progress,
        )  # fmt: skip
        self._settings = replace(self._settings, detectors=(COMBINED,))
        self._model = open_model(radar, self._settings, self._learnt)

    def save(self, path: str | Path | None = None) -> Path:
        """Write what was learnt beside the model, where `load` finds it, or to `path`; return where it is.

        Raises `UsageError` where nothing was learnt, or the model is the bundled one and no path is given.
        """
        if self._learnt is None:
            raise UsageError("nothing was learnt yet; call learn() with benign pictures first")
        if path is None and self._settings.path is None:
            raise UsageError("the bundled model's own files are not written over; give save() a path")
        target = reference_path(self._settings) if path is None else Path(path)
        write_reference(self._learnt, target)
        return target

    def _verdict(self, picture: Picture, outcome: Prediction | Rejected, colours: Colours) -> PictureVerdict:
        file = None if isinstance(picture, np.ndarray) else Path(picture)
        if isinstance(outcome, Rejected):
            raise BadFrame(f"{file or 'a picture'}: {outcome.reason}")
        found = self._model.detectors[0](outcome)
        return _picture_verdict(file, outcome, found, colours)


def _picture_verdict(file: Path | None, outcome: Prediction, found: Verdict, colours: Colours) -> PictureVerdict:
    return PictureVerdict(
        file=file,
        label=outcome.label,
        label_name=outcome.label_name,
        confidence=outcome.confidence,
        detector=found.detector,
        suspicious=found.suspicious,
        score=found.score,
        threshold=found.threshold,
        region=found.region,
        recovered_label=found.recovered_label,
        recovered_name=found.recovered_name,
        reason=explain(found),
        statistics=found.statistics,
        _image=outcome.frame.image,
        _colours=colours if file is None else "rgb",
    )


def _frame(index: int, picture: Picture, colours: Colours) -> Frame:
    """Return the picture as a frame. Raises `BadFrame`."""
    image = read_picture(picture, colours)
    # A still picture has no time; what follows looks at none.
    return Frame(camera="picture", index=index, image=read_only(image), captured_ns=0, wall_ns=0)


def _text(value: str | Path | None) -> str | None:
    return None if value is None else str(value)
