"""Exported detectors give what their libraries find: what made three of them differ, on the smallest that have it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead

from benchmarks.objects.detector_exports import EXPORTS, Outputs, settled
from benchmarks.objects.layouts import compared_export

SIDE = 48


class Maps(nn.Module):
    """Two levels of maps from three convolutions with batch norms."""

    def __init__(self) -> None:
        super().__init__()
        wide = [(3, 8), (8, 8), (8, 8)]
        self.steps = nn.ModuleList(
            nn.Sequential(nn.Conv2d(given, made, 3, 2, 1, bias=False), nn.BatchNorm2d(made), nn.ReLU6())
            for given, made in wide
        )

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        half = self.steps[1](self.steps[0](pixels))
        return {"0": half, "1": self.steps[2](half)}


def small_ssdlite() -> nn.Module:
    anchors = DefaultBoxGenerator([[2], [2]], min_ratio=0.2, max_ratio=0.9)
    norm = nn.BatchNorm2d
    head = SSDLiteHead([8, 8], anchors.num_anchors_per_location(), 4, norm)
    model: nn.Module = SSD(Maps(), anchors, (SIDE, SIDE), 4, head=head, detections_per_img=20, score_thresh=0.0)
    return model


@pytest.mark.filterwarnings("ignore")  # the exporter's own, of traced shapes
def test_the_boxes_of_a_small_ssdlite_are_torchvision_s(tmp_path: Path) -> None:
    export = replace(EXPORTS["torchvision SSDlite"], make=small_ssdlite, side=SIDE)
    found = compared_export(export, tmp_path / "model.onnx")
    assert found["boxes"] == 20
    assert found["box_difference"] < 0.01
    assert found["score_difference"] < 1e-4


class Scores(nn.Module):
    """What two convolutions with batch norms say of each cell, by transformers' names; half of it dropped in training.

    Before it is settled the scores of a random picture are all but one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.steps = Maps()
        self.head = nn.Linear(8, 3)
        self.drop = nn.Dropout(0.5)

    def forward(self, pixel_values: Tensor) -> Scores:
        cells = self.steps(pixel_values)["1"].flatten(2).transpose(1, 2)
        self.logits = self.drop(self.head(cells))
        self.pred_boxes = self.logits.sigmoid()
        return self


def scores(model: nn.Module, pixels: Tensor) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(model(pixel_values=pixels).logits.numpy())


def test_random_scores_differ_once_the_batch_norms_know_their_maps() -> None:
    torch.manual_seed(0)
    pixels, model = torch.rand(1, 3, SIDE, SIDE), Scores().eval()
    before = scores(model, pixels).std(1).min()
    assert scores(settled(model, SIDE), pixels).std(1).min() > 3 * before


@pytest.mark.filterwarnings("ignore")
def test_the_older_exporter_leaves_a_transformer_without_drop_out(tmp_path: Path) -> None:
    model = settled(Scores(), SIDE)
    pixels = torch.rand(1, 3, SIDE, SIDE)
    before = scores(model, pixels)
    torch.onnx.export(Outputs(model), (pixels,), str(tmp_path / "model.onnx"), dynamo=False, opset_version=17)
    assert (scores(model, pixels) == before).all()
