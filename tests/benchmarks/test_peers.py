"""Every peer on a small classifier: its scores are well made, and tell an obvious attack from benign pictures."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.peers import PEERS, Peer, Recoverer
from benchmarks.peers.comdefend import ComDefend
from benchmarks.peers.defense_gan import DefenseGan
from benchmarks.peers.magnet import MagNet
from benchmarks.peers.pixeldefend import PixelDefend
from benchmarks.peers.sac import SegmentAndComplete
from benchmarks.peers.subnetwork import DetectorSubnetwork
from taintwatch.demo.play import load_attack
from taintwatch.demo.sign_scene import placed_scene
from taintwatch.sources.scene import SceneSettings
from taintwatch_calibration.rates import area_under_roc
from taintwatch_models.bundled import bundled_radar
from taintwatch_models.errors import BadFrame, UsageError
from taintwatch_models.graph.prepare import prepare
from taintwatch_models.model_description import read_description
from taintwatch_models.radar_file import RadarFile
from tests.craft_scene import SIZE, write_classifier

MAKERS = {
    **PEERS,
    "magnet": partial(MagNet, epochs=4),
    "defense_gan": partial(DefenseGan, steps=10, iterations=10, restarts=2),
    "comdefend": partial(ComDefend, epochs=4),
    "pixeldefend": partial(PixelDefend, epochs=3),
    "subnetwork": partial(DetectorSubnetwork, rounds=40),
    "subnetwork_dynamic": partial(DetectorSubnetwork, rounds=60, dynamic=True),
    "sac": partial(SegmentAndComplete, steps=40),
}
FINE = ("squeezing", "magnet", "defense_gan", "comdefend", "pixeldefend", "subnetwork", "subnetwork_dynamic")
"""What was made for changes that cover the picture."""


@pytest.fixture(scope="module")
def radar(tmp_path_factory: pytest.TempPathFactory) -> RadarFile:
    """`scene` where it is bright, `toaster` where enough is magenta."""
    path = write_classifier(tmp_path_factory.mktemp("model") / "model.onnx")
    return prepare(path, read_description(path.with_suffix(".toml"))).radar


def greys(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth grey pictures of differing light, with a little magenta in some."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(-20, 20, SIZE)[:, None, None] * rng.uniform(size=(count, 1, 1, 1))
    pictures = rng.integers(90, 180, (count, 1, 1, 1)) + ramp + rng.normal(0, 2, (count, SIZE, SIZE, 3))
    pictures[::4, 4:9, 20:25, 1] -= 60
    return np.clip(pictures, 0, 255).astype(np.uint8)


def with_patch(pictures: NDArray[np.uint8], seed: int = 1) -> NDArray[np.uint8]:
    """A magenta patch with black pixels in it, of 0.375 of the side, anywhere."""
    rng = np.random.default_rng(seed)
    attacked = pictures.copy()
    for picture in attacked:
        top, left = rng.integers(0, SIZE - 12 + 1, 2)
        picture[top : top + 12, left : left + 12] = np.where(
            rng.uniform(size=(12, 12, 1)) < 0.8, (255, 0, 255), (0, 0, 0)
        )
    return attacked


def with_dots(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Magenta dots of one pixel over all of the picture: what squeezing and rebuilding take away."""
    attacked = pictures.copy()
    attacked[:, ::2, ::2] = (255, 0, 255)
    return attacked


@pytest.fixture(scope="module", params=PEERS)
def peer(request: pytest.FixtureRequest, radar: RadarFile) -> Peer:
    return MAKERS[request.param](radar, greys(40), threads=1, seed=0)


def test_a_peer_tells_the_attacks_that_it_was_made_for_from_benign_pictures(peer: Peer) -> None:
    if peer.name == "watermarking":
        pytest.skip("this classifier's gradient is the same everywhere: test_peers_rebuilding has its steps")
    fresh = greys(16, seed=5)
    attacked = with_dots(fresh) if peer.name in FINE else with_patch(fresh)
    assert area_under_roc(peer.scores(fresh), peer.scores(attacked)) > 0.95


def test_scores_are_finite_finely_graded_and_one_for_each_picture(peer: Peer) -> None:
    pictures = np.concatenate([greys(8, seed=2), with_patch(greys(4, seed=3))])
    scores = peer.scores(pictures)
    assert scores.shape == (12,)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    # SentiNet counts whom it fools: all or none, by a classifier as sure as this one. Watermarking fills nothing.
    assert len(np.unique(scores)) >= {"sentinet": 2, "watermarking": 1}.get(peer.name, 10)


def test_a_picture_has_the_same_score_alone_and_among_others(peer: Peer) -> None:
    pictures = np.concatenate([greys(3, seed=2), with_patch(greys(2, seed=3))])
    alone = np.concatenate([peer.scores(picture[None]) for picture in pictures])
    assert peer.scores(pictures) == pytest.approx(alone, rel=1e-4, abs=1e-4)
    assert peer.scores(pictures[:0]).shape == (0,)


def test_the_same_seed_gives_the_same_scores(peer: Peer, radar: RadarFile) -> None:
    again = MAKERS[peer.name](radar, greys(40), threads=1, seed=0)
    pictures = with_patch(greys(3, seed=2))
    assert again.scores(pictures) == pytest.approx(peer.scores(pictures), rel=1e-4, abs=1e-4)


def test_a_peer_carries_its_name_and_how_often_it_asks_the_classifier(peer: Peer) -> None:
    assert peer.name in PEERS
    worst = {
        "sentinet": 42, "lgs": 2, "squeezing": 4, "magnet": 2, "defense_gan": 1,
        "double_masking_3": 9 + 36, "double_masking_6": 36 + 630, "minority_3": 10, "minority_6": 37,
        "watermarking": 3, "comdefend": 2, "pixeldefend": 1, "subnetwork": 1, "subnetwork_dynamic": 1, "patchguard": 1,
        "sac": 2,
    }  # fmt: skip
    assert peer.forwards <= worst[peer.name]
    assert peer.forwards >= 1


def test_pictures_of_another_size_are_refused_in_one_sentence(peer: Peer) -> None:
    with pytest.raises(BadFrame, match=r"this model takes \(N, 32, 32, 3\)"):
        peer.scores(np.zeros((2, 31, 32, 3), np.uint8))


@pytest.mark.parametrize("name", ["sentinet", "magnet", "defense_gan", "comdefend", "pixeldefend", "subnetwork", "sac"])
def test_what_must_be_fitted_says_how_many_benign_pictures_it_needs(name: str, radar: RadarFile) -> None:
    with pytest.raises(UsageError, match=f"the peer '{name}' fits itself on at least 8 benign pictures, there are 7"):
        PEERS[name](radar, greys(7))


def test_defences_answer_with_a_label(peer: Peer) -> None:
    if not isinstance(peer, Recoverer):
        pytest.skip("a detector alone")
    benign = greys(6, seed=4)
    assert (peer.labels(benign) == 0).mean() >= 0.8
    assert peer.labels(benign[:0]).shape == (0,)
    if peer.name in ("patchguard", "sac", "double_masking_3"):  # made for patches
        assert (peer.labels(with_patch(benign)) == 0).mean() >= 0.5


def test_importing_the_peers_needs_no_torch(repository: Path) -> None:
    code = "import sys, benchmarks.peers; sys.exit('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr


def simulated(radar: RadarFile, seeds: range, *, attacked: bool) -> NDArray[np.uint8]:
    """Frames of the demo's scenes, with its patch on the sign or without, as the bundled model sees them."""
    attack = load_attack("on-sign")
    scenes = [
        placed_scene(
            attack.placement, attack.picture if attacked else None, SceneSettings(fps=5, duration=20.0, seed=seed)
        )
        for seed in seeds
    ]
    return np.stack([radar.info.preprocessing.pixels(scene.render(index)) for scene in scenes for index in (30, 60)])


@pytest.mark.parametrize("name", ["sentinet", "minority_6"])
def test_the_demos_patch_on_a_sign_is_told_from_the_sign_alone(name: str) -> None:
    radar = bundled_radar()
    peer = PEERS[name](radar, simulated(radar, range(6), attacked=False))
    benign, attacked = (peer.scores(simulated(radar, range(20, 24), attacked=on)) for on in (False, True))
    assert area_under_roc(benign, attacked) > 0.9
