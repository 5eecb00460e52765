"""The whole chain on a simulated scene: quiet while it is benign, an alert once the patch is there, cleared after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.system.program import records, taintwatch
from tests.tiny_model import footage, write_model

FPS = 15
START_S, END_S, DURATION_S = 1.0, 2.0, 3.0
WITHIN = 10  # frames


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, a background and a patch that this model falls for."""
    folder = tmp_path_factory.mktemp("scene")
    write_model(folder / "tiny.onnx")
    cv2.imwrite(str(folder / "wall.png"), cv2.GaussianBlur(footage(1, size=(120, 160))[0], (0, 0), 3))
    cv2.imwrite(str(folder / "patch.png"), np.full((64, 64, 3), (255, 0, 255), np.uint8))
    return folder


def watch(scene: Path, spec: str) -> list[dict[str, Any]]:
    source = f"sim:{scene / 'wall.png'}?duration={DURATION_S}&fps={FPS}&pace=0&width=160&height=120&{spec}"
    done = taintwatch(
        "run", "--source", source, "--model", scene / "tiny.onnx", "--vote-clear-after", "0", "--json", "--no-publish"
    )
    assert done.returncode == 0, done.stderr
    return records(done.stdout)


@pytest.mark.parametrize("camera", ["plain", "office"])
def test_an_attack_is_alerted_within_ten_frames_and_cleared_after_it(scene: Path, camera: str) -> None:
    attack = f"patch={scene / 'patch.png'}&start={START_S}&end={END_S}&size=0.6&camera={camera}"
    seen = watch(scene, attack)
    raised, *_, cleared = [record for record in seen if record["kind"] == "alert"]
    first, last = round(START_S * FPS), round(END_S * FPS)
    assert raised["state"] == "raised"
    assert first <= raised["frame_index"] < first + WITHIN
    assert cleared["state"] == "cleared"
    assert last <= cleared["frame_index"] < last + WITHIN
    assert (seen[-1]["frames"], seen[-1]["alerts"]) == (round(DURATION_S * FPS), 1)


@pytest.mark.parametrize("camera", ["plain", "office"])
def test_a_benign_scene_raises_nothing(scene: Path, camera: str) -> None:
    seen = watch(scene, f"camera={camera}&motion=0.2")
    assert [record for record in seen if record["kind"] == "alert"] == []
    assert seen[-1]["frames"] == round(DURATION_S * FPS)
