"""The face model of the benchmark: embedding and identity layer, prepared, run, and as a Torch module to attack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.face_trials.chunks import in_chunks
from taintwatch_calibration.craft.physical import normaliser
from taintwatch_calibration.faces.face_model import fill_path, write_face_model
from taintwatch_calibration.faces.identity_fit import IdentityLayer
from taintwatch_models.calibration_file import Calibration, PaperCalibration, TightCalibration
from taintwatch_models.faces.bands import Bands, region_statistics
from taintwatch_models.faces.embedding import Embedder
from taintwatch_models.graph.prepare import prepare
from taintwatch_models.graph.split import classifier_of
from taintwatch_models.graph.transforms import keep_outputs
from taintwatch_models.model_description import ModelDescription
from taintwatch_models.onnx_radar import OnnxRadar
from taintwatch_models.onnx_session import SessionSettings, open_session
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.torch_graph import TorchGraph

__all__ = ["FaceModel", "pictures", "pixels"]


@dataclass(frozen=True, slots=True, eq=False)
class FaceModel:
    """One model in all the forms that the benchmark needs."""

    path: Path
    preprocessing: Preprocessing
    radar: OnnxRadar
    bands: Bands
    torch_model: Callable[[Tensor], Tensor]
    """RGB in [0, 1], (B, 3, H, W), to logits."""

    @classmethod
    def make(
        cls, embed: Embedder, layer: IdentityLayer, names: tuple[str, ...], mean: NDArray[np.uint8], work: Path,
        *, saliency_threshold: float, threads: int,
    ) -> FaceModel:  # fmt: skip
        folder = work / "model"
        folder.mkdir(parents=True, exist_ok=True)
        path = write_face_model(folder, embed, layer, names, mean)
        fill = fill_path(folder)
        radar = prepare(path, ModelDescription(embed.preprocessing, names)).radar
        calibration = Calibration(
            tight=TightCalibration(saliency_threshold=saliency_threshold, fill=str(fill)),
            paper=PaperCalibration(fill=str(fill)),
        )
        session = open_session(
            keep_outputs(radar.proto, ["logits"]).SerializeToString(), SessionSettings(device="cpu", threads=threads)
        )[0]
        plain, split = classifier_of(radar)
        graph, normalise = TorchGraph(plain, split), normaliser(embed.preprocessing)
        return cls(
            path,
            embed.preprocessing,
            OnnxRadar(radar, ("tight", "paper"), calibration, session=SessionSettings(device="cpu", threads=threads)),
            Bands(lambda inputs: session.run(None, {radar.info.input: inputs})[0], embed.preprocessing([mean])),
            lambda rgb: graph(normalise(rgb)),
        )

    def statistics(self, faces: NDArray[np.uint8], folder: Path) -> dict[str, NDArray[Any]]:
        """Return every statistic, the label and its probability of each face, (N,) each."""

        def score_rows(rows: slice) -> dict[str, NDArray[Any]]:
            return self._judge(self.preprocessing(list(faces[rows])))

        return in_chunks(folder, len(faces), score_rows)

    def _judge(self, inputs: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        parts = []
        for start in range(0, len(inputs), 16):
            batch = inputs[start : start + 16]
            outputs = self.radar(batch)
            bands = self.bands(batch, outputs["logits"])
            for index, band in enumerate(bands):
                logits = outputs["logits"][index]
                parts.append(
                    region_statistics(outputs, index)
                    | {"band_margin": band.margin, "band_swing": band.swing}
                    | {"paper": float(outputs["paper_rank"][index]), "rank": float(outputs["tight_rank"][index])}
                    | {"label": int(logits.argmax()), "probability": float(_softmax(logits).max())}
                    | {"after": int(outputs["tight_label"][index]), "runner_up": band.runner_up}
                )
        return {name: np.array([part[name] for part in parts]) for name in parts[0]}


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    shares = np.exp(logits - logits.max())
    return np.asarray(shares / shares.sum(), np.float32)


def pixels(faces: NDArray[np.uint8]) -> Tensor:
    """(N, H, W, 3) uint8 blue-green-red to (N, 3, H, W) RGB in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(faces[..., ::-1])).permute(0, 3, 1, 2).float() / 255


def pictures(worn: Tensor) -> NDArray[np.uint8]:
    """The other way round, rounded as a camera would."""
    return np.ascontiguousarray((worn * 255).round().byte().permute(0, 2, 3, 1).numpy()[..., ::-1])
