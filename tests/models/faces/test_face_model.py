"""From embedding and identity layer to a verdict: bands, scales, the settings beside the model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from taintwatch_models.errors import CalibrationError, ModelError
from taintwatch_models.faces.bands import BANDS, BandEvidence, band_evidence, band_rows, combined, fill_bands
from taintwatch_models.faces.detector import FaceDetector
from taintwatch_models.faces.embedding import Embedder, read_embedding, with_identity
from taintwatch_models.faces.face_file import FaceFile, Scale, read_face_file, settings_path, write_face_file
from taintwatch_models.graph.prepare import prepare
from taintwatch_models.model_description import ModelDescription
from taintwatch_models.preprocessing import Preprocessing
from taintwatch_models.records import Frame, Prediction, RadarStatistics, read_only
from tests.face_scene import write_embedding
from tests.tiny_model import write_model

SETTINGS = FaceFile(
    model_sha256="ab" * 32,
    stranger_below=0.6,
    fill="faces.mean.png",
    saliency_threshold=0.5,
    scales=(Scale("margin", -4.0, 2.0), Scale("band_margin", -3.0, 3.0)),
    threshold=1.0,
    target_fpr=0.05,
    benign=100,
)


def test_bands_cover_every_row_and_overlap() -> None:
    rows = band_rows(112)
    covered = np.zeros(112, int)
    for band in rows:
        covered[band] += 1
    assert len(rows) == BANDS
    assert covered.min() >= 1
    assert {band.stop - band.start for band in rows} == {28}


def test_each_copy_has_one_band_of_the_fill_and_the_rest_of_the_face() -> None:
    faces = np.zeros((2, 3, 16, 16), np.float32)
    filled = fill_bands(faces, np.ones((1, 3, 16, 16), np.float32))
    assert filled.shape == (2, BANDS, 3, 16, 16)
    for index, band in enumerate(band_rows(16)):
        assert (filled[:, index, :, band] == 1).all()
        assert filled[:, index].sum() == 2 * 3 * 4 * 16
    assert (faces == 0).all()


def test_the_band_that_hurts_the_name_most_decides() -> None:
    before = np.array([5.0, 1.0, 0.0], np.float32)
    after = np.array([[5.0, 1.0, 0.0], [2.0, 1.0, 4.5], [4.0, 3.0, 0.0]], np.float32)
    assert band_evidence(before, after) == BandEvidence(margin=2.5, swing=6.5, band=1, runner_up=2)


def test_the_statistic_that_is_most_anomalous_on_its_benign_scale_is_the_score() -> None:
    assert combined({"margin": -2.0, "band_margin": 3.0}, SETTINGS.scales) == pytest.approx(2.0)
    assert combined({"margin": 2.0, "band_margin": 3.0}, SETTINGS.scales) == pytest.approx(3.0)


def test_the_identity_layer_is_added_behind_the_embedding(tmp_path: Path) -> None:
    path = write_embedding(tmp_path / "embedding.onnx")
    embedding = read_embedding(path)
    rng = np.random.default_rng(0)
    weights, bias = rng.normal(size=(8, 5)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    whole = tmp_path / "faces.onnx"
    onnx.save(with_identity(embedding, weights, bias), str(whole))
    faces = rng.integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    embed = Embedder(path)
    inputs = embed.preprocessing(list(faces))
    logits = ort.InferenceSession(str(whole), providers=["CPUExecutionProvider"]).run(None, {"face": inputs})[0]
    np.testing.assert_allclose(logits, embed(faces) @ weights + bias, rtol=1e-4, atol=1e-4)


def test_the_whole_is_prepared_with_its_gradient_cell_by_cell(tmp_path: Path) -> None:
    embedding = read_embedding(write_embedding(tmp_path / "embedding.onnx"))
    weights = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    whole = tmp_path / "faces.onnx"
    onnx.save(with_identity(embedding, weights, np.zeros(4, np.float32)), str(whole))
    info = prepare(whole, ModelDescription(Preprocessing((112, 112)))).radar.info
    assert (info.channels, info.cells, info.classes) == (24, (7, 7), 4)
    assert "Conv > Flatten > Gemm > Gemm" in info.head


@pytest.mark.parametrize(("weights", "bias"), [((7, 4), (4,)), ((8, 4), (3,))])
def test_a_layer_that_does_not_fit_is_refused(tmp_path: Path, weights: tuple[int, ...], bias: tuple[int, ...]) -> None:
    embedding = read_embedding(write_embedding(tmp_path / "embedding.onnx"))
    with pytest.raises(ValueError, match="do not fit an embedding of 8"):
        with_identity(embedding, np.zeros(weights, np.float32), np.zeros(bias, np.float32))


def test_what_is_no_embedding_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such embedding file"):
        read_embedding(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(ModelError, match="not a valid ONNX model"):
        read_embedding(tmp_path / "text.onnx")
    with pytest.raises(ModelError, match="one input and one output"):
        read_embedding(write_model(tmp_path / "two.onnx", outputs=2))


def test_an_embedding_that_declares_nothing_is_refused(tmp_path: Path) -> None:
    path = write_embedding(tmp_path / "embedding.onnx")
    path.with_suffix(".toml").unlink()
    with pytest.raises(ModelError, match=r"put embedding\.toml beside it"):
        Embedder(path)
    path.with_suffix(".toml").write_text("[preprocessing]\nsize = [96, 96]\n")
    with pytest.raises(ModelError, match="both must be the same square"):
        Embedder(path)


def test_settings_are_read_as_they_were_written_and_by_their_owner_only(tmp_path: Path) -> None:
    path = settings_path(tmp_path / "faces.onnx")
    write_face_file(SETTINGS, path)
    assert path.name == "faces.faces.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_face_file(path, model_sha256=SETTINGS.model_sha256) == SETTINGS


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": "taintwatch-faces/0"}, "written by another version"),
        ({"scales": []}, r"damaged \(scales\)"),
        ({"saliency_thresholds": 3}, "damaged"),
        ({"scales": [{"statistic": "margin"}]}, "damaged"),
    ],
)
def test_damaged_settings_are_refused(tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    path = tmp_path / "faces.faces.json"
    write_face_file(SETTINGS, path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match=sentence):
        read_face_file(path, model_sha256=SETTINGS.model_sha256)


def test_settings_of_another_model_or_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "faces.faces.json"
    with pytest.raises(ModelError, match="a face model is made by `taintwatch face train`"):
        read_face_file(path, model_sha256="")
    write_face_file(SETTINGS, path)
    with pytest.raises(CalibrationError, match="belongs to another face model"):
        read_face_file(path, model_sha256="cd" * 32)


def a_prediction(probability: float, margin: float, tight_label: int = 0) -> Prediction:
    image = read_only(np.zeros((112, 112, 3), np.uint8))
    mask = np.zeros((112, 112), bool)
    mask[40:60, 20:90] = True
    radar = RadarStatistics(
        saliency_concentration=3.0,
        tight_mask=mask,
        tight_label=tight_label,
        tight_rank=0,
        tight_margin=margin,
        tight_swing=1.0,
    )
    logits = read_only(np.array([4.0, 1.0, 0.0], np.float32))
    return Prediction(Frame("door", 7, image, 0, 0), logits, 0, "Ada", probability, 1.0, radar)


class StillBands:
    """Bands whose fill changes nothing much."""

    def __call__(self, inputs: object, before: object) -> tuple[BandEvidence, ...]:
        return (BandEvidence(-5.0, 1.0, 2, 2),)


def detector() -> FaceDetector:
    return FaceDetector(SETTINGS, StillBands(), ("Ada", "Bob", "Cleo"), Preprocessing((112, 112)))  # type: ignore[arg-type]


def test_a_name_that_does_not_survive_the_fill_is_suspicious_and_the_one_behind_it_is_told() -> None:
    verdict = detector()(a_prediction(0.99, margin=1.0, tight_label=1))
    assert verdict.suspicious
    assert verdict.score == pytest.approx(2.5)
    assert (verdict.label_name, verdict.recovered_name) == ("Ada", "Bob")
    assert verdict.region is not None
    assert verdict.region.box == (20, 40, 70, 20)


def test_where_the_name_still_leads_the_runner_up_is_told() -> None:
    verdict = detector()(a_prediction(0.99, margin=-0.5))
    assert verdict.suspicious
    assert verdict.recovered_name == "Cleo"


def test_a_name_that_survives_is_not_suspicious() -> None:
    verdict = detector()(a_prediction(0.99, margin=-6.0))
    assert not verdict.suspicious
    assert (verdict.region, verdict.recovered_label) == (None, None)


def test_a_stranger_is_never_suspicious() -> None:
    assert not detector()(a_prediction(0.3, margin=5.0)).suspicious
